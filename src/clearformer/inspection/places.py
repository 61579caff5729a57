"""Places: the activations of a model that have a name, by kind, and the modules whose hooks reach them.

    kind              what                                    shape     name, such as
    stream            enters a layer, or the final norm       B T D     decoder.layers.0 … decoder.norm
    queries           enter the core of attention             B H T E   decoder.layers.0.attention.core
    keys, values      enter the core of attention             B G S E   decoder.layers.0.attention.core
    attention         weights of every head                   B H T S   decoder.layers.0.attention.core
    heads             leave the core: weights times values    B H T E   decoder.layers.0.attention.core
    attention_output  leaves multi-head attention             B T D     decoder.layers.0.attention
    neurons           enter the second matrix                 B T F     decoder.layers.0.feed_forward.linear2
    feed_forward      leaves the feed-forward layer           B T D     decoder.layers.0.feed_forward
    logits            leave the model                         B T V     output_projection (a classifier: B C)

The stream that enters layer 0 is the embedding. A hook is a function that PyTorch calls before or after a module;
models know nothing of it.
"""

import difflib
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from clearformer.blocks.attention import ScaledDotProductAttention, attention_weights
from clearformer.blocks.decoder import Decoder
from clearformer.blocks.encoder import Encoder
from clearformer.blocks.feedforward import FeedForward, GatedFeedForward
from clearformer.blocks.multihead import CrossAttention, MultiHeadAttention
from clearformer.blocks.output import OutputProjection
from clearformer.errors import InspectionError
from clearformer.models.classifier import Classifier

Reader = Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]
"""of a module, its inputs and its output"""


def _enters(number: int) -> Reader:
    return lambda _module, inputs, _output: inputs[number]


def _leaves(_module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    return output


def _weights(core: Any, inputs: tuple[Any, ...], _output: Tensor) -> Tensor:
    """By the formula: the fused kernel does not return them."""
    q, k, _, mask, bias = (*inputs, None, None)[:5]
    T, S = q.shape[-2], k.shape[-2]  # noqa: N806
    return attention_weights(q, k, core.mask(T, S, mask, q.device), core.bias(T, S, bias))


READERS: dict[str, Reader] = {
    "stream": _enters(0),
    "queries": _enters(0),
    "keys": _enters(1),
    "values": _enters(2),
    "attention": _weights,
    "heads": _leaves,
    "attention_output": _leaves,
    "neurons": _enters(0),
    "feed_forward": _leaves,
    "logits": _leaves,
}
"""kind -> how it is read, in a hook after the module"""
REPLACEABLE = ("stream", "heads", "attention_output", "neurons", "feed_forward")
"""the kinds that `ablate` and `patch` change: of each module one, so that its name is enough"""
ENTERING = ("stream", "neurons")


def places(model: nn.Module) -> dict[str, dict[str, nn.Module]]:
    """The module of every place: kind -> name -> module, in the order of the model."""
    found: dict[str, dict[str, nn.Module]] = {kind: {} for kind in READERS}
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        match module:
            case Encoder() | Decoder():
                found["stream"] |= {f"{prefix}layers.{index}": layer for index, layer in enumerate(module.layers)}
                found["stream"][f"{prefix}norm"] = module.norm
            case ScaledDotProductAttention():
                for kind in ("queries", "keys", "values", "attention", "heads"):
                    found[kind][name] = module
            case MultiHeadAttention() | CrossAttention():
                found["attention_output"][name] = module
            case FeedForward() | GatedFeedForward():
                found["feed_forward"][name] = module
                found["neurons"][f"{prefix}linear2"] = module.linear2
            case OutputProjection():
                found["logits"][name] = module
            case Classifier():
                found["logits"][f"{prefix}class_projection"] = module.class_projection
            case _:
                continue
    return found


def find(model: nn.Module, name: str) -> tuple[str, nn.Module]:
    """The kind and the module of the place that can be replaced under `name`. Raises InspectionError if none can."""
    found = places(model)
    known = {name: (kind, module) for kind in REPLACEABLE for name, module in found[kind].items()}
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known, n=3) or list(known)[:3])
        raise InspectionError(f"the name of a place that can be replaced was expected, such as {near}; found {name!r}")
    return known[name]
