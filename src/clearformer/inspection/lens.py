"""Logit lens: what would the model say if it stopped early?

    lens(l) = Unembed(Norm(x_l))        x_l: the residual stream that enters layer l or, at the end, the final norm
                                        nostalgebraist 2020, "interpreting GPT: the logit lens", lesswrong.com

Unembed is the output projection; of a BERT, with the transform before it; of a classifier, the class projection of each
token, before pooling. Post-norm layers end in a norm, so no other is applied; the embedding is then read as it is.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearformer.inspection.families import family, last_stack, unembed
from clearformer.inspection.record import record


def logit_lens(model: nn.Module, inputs: Sequence[Tensor]) -> Float[Tensor, "points B T _"]:
    """Logits of every token at L + 1 points of the stack that the output is computed from: embedding, layers, end.

    `inputs` are the model's. The last point has the model's own logits. Raises InspectionError for another's model.
    """
    model = family(model)
    name, _ = last_stack(model)
    with torch.inference_mode():
        with record(model, "stream") as trace:
            model(*inputs)
        return torch.stack([unembed(model, x) for place, x in trace["stream"].items() if place.startswith(f"{name}.")])
