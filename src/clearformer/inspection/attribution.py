"""Integrated gradients: how much each input token is worth for one logit.

    IG_t = x_t · mean over a in 0 … 1 of ∂F(a x) / ∂x_t      Sundararajan et al. 2017, arXiv:1703.01365, equation 1
    sum over t of IG_t = F(x) - F(0)                         completeness, their proposition 1

x are the vectors of the token embedding and F is the logit. The baseline has zeros in their place, but keeps positions,
segments and n-gram embeddings, so that it is a text of the same length without words. The mean is a Gauss-Legendre
quadrature, which is dense at both ends: near 0 a norm makes F change fast. `gap` says how much it misses.

captum has this method, too. Here are thirty lines in place of a dependency, since its hook on a layer expects that the
layer is called once, and a translator calls its embedding for the source and again for the target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearformer.errors import InspectionError
from clearformer.inspection.families import family, in_range
from clearformer.models.build import Model
from clearformer.models.classifier import Classifier

STEPS = 64
"""points of the quadrature"""
ROWS = 16
"""of a batch: as many points at once"""


@dataclass(frozen=True)
class Attribution:
    """What each token is worth, in logits: for each text that the model reads, source before target."""

    texts: tuple[Float[Tensor, " _"], ...]
    gap: float
    """the sum over all tokens minus F(x) - F(0): the error of the quadrature"""


def integrated_gradients(
    model: nn.Module, inputs: Sequence[Tensor], token: int, position: int = -1, *, steps: int = STEPS
) -> Attribution:
    """Attribute the logit of `token`, or of a class, at a position (which a classifier ignores) to the input tokens.

    `inputs` are the model's, of one text. Raises InspectionError for several texts, another's model, one in training
    mode, or a number out of range.
    """
    model = family(model)
    if model.training or len(inputs[0]) != 1:
        raise InspectionError(
            "one text and a model without dropout were expected, found "
            f"{len(inputs[0])} and {'training' if model.training else 'evaluation'} mode; call model.eval() first"
        )
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # of -1 to 1
    scales = torch.tensor([*(nodes + 1) / 2, 0.0, 1.0]).to(next(model.parameters()))
    shares = torch.tensor([*weights / 2, 0.0, 0.0]).to(scales)
    runs = [_logits_and_products(model, inputs, rows, token, position) for rows in scales.split(ROWS)]
    logits = torch.cat([logits for logits, _ in runs])
    texts = tuple(shares @ torch.cat(products) for products in zip(*(found for _, found in runs), strict=True))
    return Attribution(texts, float(sum(text.sum() for text in texts) - (logits[-1] - logits[-2])))


def _logits_and_products(
    model: Model, inputs: Sequence[Tensor], scales: Float[Tensor, " B"], token: int, position: int
) -> tuple[Float[Tensor, " B"], list[Float[Tensor, "B _"]]]:
    """F(a x) for each scale a, and x · ∂F(a x)/∂x of each token of each text."""
    vectors: list[Tensor] = []
    scaled: list[Tensor] = []

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        vectors.append(output.detach())
        scaled.append((vectors[-1] * scales[:, None, None]).requires_grad_())
        return scaled[-1]

    embedding = model.body.get_submodule("embedding") if isinstance(model, Classifier) else model.embedding
    with torch.enable_grad(), embedding.register_forward_hook(hook):
        logits = model(*(x.expand(len(scales), -1) for x in inputs))
        if not isinstance(model, Classifier):
            logits = logits[:, in_range("position", position, logits.shape[1])]
        logits = logits[:, in_range("token", token, logits.shape[1])]
        gradients = torch.autograd.grad(logits.sum(), scaled)
    return logits.detach(), [(x * gradient).sum(-1) for x, gradient in zip(vectors, gradients, strict=True)]
