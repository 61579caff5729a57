"""Direct contributions: how much each part of a model adds to one logit.

    x = embedding + sum of heads + sum of feed-forward layers + biases                      the residual stream
    logit = w · Norm(x) + b = sum over parts of w · M part + biases
                                        Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"

A norm divides by a scale, the standard deviation or root mean square of x. With this number held as it was, the norm is
a linear map M plus a bias, so the contributions sum to the logit exactly; but they do not say how a part changes the
scale. A part of a post-norm model passes the norm of its own sub-layer and of all above, each held in this way. In a
BERT the GELU(x) = x Φ(x) before the output is held too, at its Φ(x).

Only the direct path counts: what a part does through later layers is the contribution of those. Of a logit that is
capped it is the number before the cap; of a translator, the decoder's parts.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearformer.blocks.feedforward import FeedForward, GatedFeedForward
from clearformer.blocks.multihead import CrossAttention, MultiHeadAttention
from clearformer.blocks.norm import LayerNorm, RMSNorm
from clearformer.blocks.residual import PostNormResidual
from clearformer.errors import InspectionError
from clearformer.inspection.families import family, in_range, last_stack
from clearformer.inspection.record import Trace, record
from clearformer.models.bert import BERT
from clearformer.models.build import Model
from clearformer.models.classifier import Classifier

Parts = dict[str, Tensor]
"""addends, B T D or their logits, by name; "biases" collects the biases of linear layers and norms"""


def contributions(
    model: nn.Module, inputs: Sequence[Tensor], token: int, position: int = -1
) -> dict[str, Float[Tensor, " B"]]:
    """What each part adds to the logit of `token`, or of a class, at a position (which a classifier ignores).

    Parts are "biases", "embedding" (all that enters layer 0), "layer 0 head 0", "layer 0 cross-attention head 0" and
    "layer 0 feed-forward". Raises InspectionError for another's model, one in training mode, or a number out of range.
    """
    model = family(model)
    if model.training:
        raise InspectionError(
            "a model without dropout was expected, found it in training mode; call model.eval() first"
        )
    with torch.inference_mode():
        with record(model, "stream", "heads", "feed_forward") as trace:
            model(*inputs)
        parts = _stream_parts(model, trace)
        if isinstance(model, Classifier):
            vectors = {name: model.pool(part, inputs[1]) for name, part in parts.items()}
        else:
            parts = _transformed(model, parts) if isinstance(model, BERT) else parts
            in_range("position", position, parts["biases"].shape[1])
            vectors = {name: part[:, position] for name, part in parts.items()}
        output = model.class_projection if isinstance(model, Classifier) else model.output_projection
        weight = output.weight[in_range("token", token, len(output.weight))]
        found = {name: vector @ weight for name, vector in vectors.items()}
        return _add(found, None if output.bias is None else output.bias[token])


def _stream_parts(model: Model, trace: Trace) -> Parts:
    """The parts of the vectors behind the final norm, every norm held."""
    name, stack = last_stack(model)
    embedding = trace["stream"][f"{name}.layers.0"]
    parts = {"biases": torch.zeros_like(embedding), "embedding": embedding}
    for index, layer in enumerate(stack.layers):
        for sublayer, module in layer.named_children():
            place = f"{name}.layers.{index}.{sublayer}"
            if isinstance(module, MultiHeadAttention | CrossAttention):
                bias = module.output_projection.bias
                cross = " cross-attention" * isinstance(module, CrossAttention)
                heads = _head_outputs(module.output_projection.weight, trace["heads"][f"{place}.core"])
                parts |= {f"layer {index}{cross} head {head}": part for head, part in enumerate(heads)}
            elif isinstance(module, FeedForward | GatedFeedForward):
                bias = module.linear2.bias
                output = trace["feed_forward"][place]
                parts[f"layer {index} feed-forward"] = output if bias is None else output - bias
            else:
                continue
            parts = _add(parts, bias)
            residual = layer.get_submodule(f"{sublayer}_residual")
            if isinstance(residual, PostNormResidual):
                parts = _hold(residual.norm, parts)
    return _hold(stack.norm, parts)


def _hold(norm: nn.Module, parts: Parts) -> Parts:
    """The parts of the norm of their sum, with its scale held; `nn.Identity` leaves them as they are."""
    if isinstance(norm, nn.Identity):
        return parts
    assert isinstance(norm, LayerNorm | RMSNorm)
    x = _sum(parts)
    if isinstance(norm, LayerNorm):
        parts = {name: part - part.mean(-1, keepdim=True) for name, part in parts.items()}
        x = x - x.mean(-1, keepdim=True)
    scale = norm.weight / torch.sqrt(x.square().mean(-1, keepdim=True) + norm.eps)
    parts = {name: part * scale for name, part in parts.items()}
    return _add(parts, norm.bias if isinstance(norm, LayerNorm) else None)


def _add(parts: Parts, bias: Tensor | None) -> Parts:
    """The parts with a bias added to those called biases."""
    return parts if bias is None else parts | {"biases": parts["biases"] + bias}


def _sum(parts: Parts) -> Float[Tensor, "B T D"]:
    return torch.stack(list(parts.values())).sum(0)


def _head_outputs(weight: Float[Tensor, "D width"], heads: Float[Tensor, "B H T E"]) -> Float[Tensor, "H B T D"]:
    """What each head adds to the stream: its vector times its columns of W_O."""
    return torch.einsum("bhte,dhe->hbtd", heads, weight.unflatten(1, (heads.shape[1], -1)))


def _transformed(model: BERT, parts: Parts) -> Parts:
    """The parts behind BERT's linear layer, GELU and norm."""
    parts = _add({name: part @ model.transform.weight.T for name, part in parts.items()}, model.transform.bias)
    gate = torch.special.ndtr(_sum(parts))
    return _hold(model.transform_norm, {name: part * gate for name, part in parts.items()})
