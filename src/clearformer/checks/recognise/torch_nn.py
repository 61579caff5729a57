"""`torch.nn.Transformer` and its parts, which read vectors; in their masks True means hidden."""

from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.subject import Kind, Subject

STACKS = (nn.TransformerEncoder, nn.TransformerEncoderLayer)
DECODERS = (nn.TransformerDecoder, nn.TransformerDecoderLayer)
FORWARDS = tuple(family.forward for family in (nn.Transformer, *STACKS, *DECODERS))


def recognise(model: Any, kind: Kind | None) -> Subject | None:
    """An encoder is bidirectional, unless `kind` is causal: then it gets a causal mask.

    A subclass with a `forward` of its own is the user's model, and not known here.
    """
    if not isinstance(model, (nn.Transformer, *STACKS, *DECODERS)) or type(model).forward not in FORWARDS:
        return None
    attention = next(module for module in model.modules() if isinstance(module, nn.MultiheadAttention))
    layer = next(module for module in model.modules() if hasattr(module, "norm_first"))
    swap = _unchanged if attention.batch_first else _swap_batch_and_time
    functions = _encoder(swap, causal=kind == "causal") if isinstance(model, STACKS) else _pair(swap, model)
    return Subject(
        model,
        width=attention.embed_dim,
        norm_order="pre" if layer.norm_first else "post",
        name=type(model).__name__,
        sides=("right", "left"),
        **functions,
    )


def _unchanged(x: Tensor) -> Tensor:
    return x


def _swap_batch_and_time(x: Tensor) -> Tensor:
    """[B, T, D] to [T, B, D] and back, for modules without batch_first."""
    return x.transpose(0, 1)


def _future(x: Tensor) -> Tensor:
    """[T, T], True for the keys hidden from each query."""
    T = x.shape[1]  # noqa: N806
    return torch.ones(T, T, dtype=torch.bool).triu(1)


def _encoder(swap: Any, causal: bool) -> dict[str, Any]:
    def padded(model: Any, x: Tensor, real: Tensor | None) -> Tensor:
        mask = _future(x) if causal else None
        return swap(model(swap(x), mask, src_key_padding_mask=None if real is None else ~real))

    return {
        "kind": "causal" if causal else "bidirectional",
        "call": lambda model, x: padded(model, x, None),
        "padded": padded,
    }


def _pair(swap: Any, model: nn.Module) -> dict[str, Any]:
    def all_masks(x: Tensor, source_real: Tensor, real: Tensor) -> dict[str, Tensor]:
        has_encoder = isinstance(model, nn.Transformer)
        source_mask = {"src_key_padding_mask": ~source_real} if has_encoder else {}
        return source_mask | {
            "tgt_mask": _future(x),
            "tgt_key_padding_mask": ~real,
            "memory_key_padding_mask": ~source_real,
        }

    def call(model: Any, source: Tensor, x: Tensor, masks: dict[str, Tensor]) -> Tensor:
        first, second = (source, x) if isinstance(model, nn.Transformer) else (x, source)
        return swap(model(swap(first), swap(second), **masks))

    return {
        "kind": "encoder-decoder",
        "call": lambda model, source, x: call(model, source, x, {"tgt_mask": _future(x)}),
        "padded": lambda model, source, x, source_real, real: call(model, source, x, all_masks(x, source_real, real)),
    }
