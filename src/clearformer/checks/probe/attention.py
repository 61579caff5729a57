"""Watch attention happen in any torch model: every product of queries and keys, its softmax, and what the values met.

The model's code is not read and nothing in it is named: PyTorch reports each operation that it runs, and attention is
a product of two activations whose result goes, through scaling and masking, into a softmax and on to another product.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from clearformer.checks.probe.probe import Inputs, Probe

STRAIGHT = 1e-3
"""scores are a multiple of the products up to this share of their spread, unless more is done to them"""
LARGEST = 1e3
"""a score beyond it is masked by a finite value"""

aten = torch.ops.aten
PRODUCTS = (aten.bmm.default, aten.mm.default, aten.baddbmm.default)
SOFTMAX = (aten._softmax.default, aten._safe_softmax.default)
FUSED = (
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_flash_attention.default,
)


@dataclass(frozen=True)
class Attention:
    """One softmax over attention scores. Leading axes * are as the model had them: [B, H], [B·H], or none."""

    queries: Tensor
    """[*, T, E]"""
    keys: Tensor
    """[*, S, E]"""
    products: Tensor
    """[*, T, S]: queries times keys"""
    before: float
    """what queries and keys had been multiplied by already, as scaling"""
    scores: Tensor
    """what went into the softmax: scaled and masked"""
    dim: int
    """the axis of the softmax: -1 are the keys"""
    weights: Tensor
    """what came out"""
    used: Tensor
    """what the values were multiplied by"""
    values: Tensor | None = None
    """[*, S, E]; None where the weights met nothing"""

    @property
    def scale(self) -> float | None:
        """What queries times keys are multiplied by in all; None where that cannot be told.

        What is added to the scores (a finite mask, ALiBi, relative positions) is the same in every row of a batch, so
        the rows' mean is taken off first.
        """
        seen = (self.scores.isfinite() & (self.scores.abs() < LARGEST)).all(0)
        products, scores = self.products[:, seen].double(), self.scores[:, seen].double()
        if len(scores) > 1:
            products, scores = products - products.mean(0), scores - scores.mean(0)
        square = products.square().mean()
        if not scores.numel() or square == 0:
            return None
        slope = (products * scores).mean() / square
        left = (scores - slope * products).square().mean().sqrt() / scores.square().mean().sqrt()
        return self.before * float(slope) if left < STRAIGHT else None


def record_attention(probe: Probe, inputs: Inputs) -> list[Attention]:
    """Every attention of one call, in the order of computation; none where the model is no torch code."""
    watcher = _AttentionRecorder(probe.model)
    # with gradients on, PyTorch does not take its fused layers for inference, inside which nothing can be seen
    with torch.enable_grad(), watcher:
        probe.logits(inputs)
    return watcher.found


@dataclass(frozen=True)
class _Product:
    """What a tensor was made from: queries and keys; and the number of the attention, behind its softmax."""

    queries: Tensor
    keys: Tensor
    products: Tensor
    before: float
    attention: int | None = None


def half_precision(probe: Probe, inputs: Inputs) -> list[str]:
    """The operations of one call whose results are in float16 or bfloat16, by PyTorch's names."""
    listener = _HalfPrecisionRecorder()
    with listener:
        probe.logits(inputs)
    return listener.narrow


class _Mode(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: keeping the compiler out loads it first, which takes seconds."""
        return False


class _HalfPrecisionRecorder(_Mode):
    def __init__(self) -> None:
        super().__init__()
        self.narrow: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.dtype in (torch.float16, torch.bfloat16):
            self.narrow.append(func.overloadpacket.__name__)
        return out


class _AttentionRecorder(_Mode):
    def __init__(self, model: Any) -> None:
        super().__init__()
        weights = model.parameters() if isinstance(model, nn.Module) else ()
        self.of_weights = {weight.untyped_storage().data_ptr() for weight in weights}
        self.found: list[Attention] = []
        self.made_of: dict[int, _Product] = {}
        self.factors: dict[int, float] = {}
        self.alive: list[Any] = []  # a tensor that is gone would give its id to another

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.alive.append(out)
        if func in FUSED:
            self.fused(args, kwargs or {})
        elif func in PRODUCTS:
            self.multiplied(args[-2], args[-1], out)
        elif isinstance(out, Tensor) and out.is_floating_point():
            self.changed(func, args, out)
        name = func.overloadpacket.__name__
        if args and "mm" not in name:  # bmm, addmm and their like make something new
            self.scaled(name, args, out)
        return out

    def multiplied(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        """A product of two matrices: queries and keys, weights and values, or neither."""
        made = self.made_of.get(id(a))
        if made is not None and made.attention is not None:
            attention = self.found[made.attention]
            self.found[made.attention] = replace(attention, used=_kept(a), values=_kept(b))
        elif not {tensor.untyped_storage().data_ptr() for tensor in (a, b)} & self.of_weights:
            before = self.factors.get(id(a), 1.0) * self.factors.get(id(b), 1.0)
            products = a.detach() @ b.detach()  # not `out`, in which baddbmm has scaled and added already
            self.made_of[id(out)] = _Product(_kept(a), _kept(b.transpose(-1, -2)), products, before)

    def changed(self, func: Any, args: Any, out: Tensor) -> None:
        """Scores or weights that are scaled, masked, dropped out, or seen in another shape; or the softmax itself."""
        tensors = [argument for argument in args if isinstance(argument, Tensor)]
        made = next((self.made_of[id(tensor)] for tensor in tensors if id(tensor) in self.made_of), None)
        if made is None or out.numel() != made.products.numel():
            return
        if func in SOFTMAX and made.attention is None:
            scores, weights = _kept(args[0]), _kept(out)
            dim = args[1] if args[1] < 0 else args[1] - scores.dim()
            products = made.products.reshape(scores.shape)
            self.found.append(
                Attention(made.queries, made.keys, products, made.before, scores, dim, weights, used=weights)
            )
            made = replace(made, attention=len(self.found) - 1)
        self.made_of[id(out)] = made

    def scaled(self, name: str, args: Any, out: Any) -> None:
        """Remember by what number queries or keys were multiplied."""
        first = args[0][0] if isinstance(args[0], list | tuple) and args[0] else args[0]
        factor = self.factors.get(id(first), 1.0)
        if name in ("mul", "div"):
            by = args[1].item() if isinstance(args[1], Tensor) and args[1].dim() == 0 else args[1]
            if isinstance(by, int | float):
                factor *= by if name == "mul" else 1 / by
        if factor != 1.0:
            self.factors |= {id(tensor): factor for tensor in (out if isinstance(out, list | tuple) else [out])}

    def fused(self, args: Any, kwargs: dict[str, Any]) -> None:
        """PyTorch's own attention, computed again in plain operations."""
        q, k, v = (_kept(tensor) for tensor in args[:3])
        k, v = (tensor.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3) for tensor in (k, v))
        masks = [argument for argument in (*args[3:], *kwargs.values()) if isinstance(argument, Tensor)]
        causal = any(argument is True for argument in (*args[3:], *kwargs.values()))
        products = q @ k.transpose(-1, -2)
        scores = products * (kwargs.get("scale") or 1 / math.sqrt(q.shape[-1]))
        if causal:
            scores = scores.masked_fill(~torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), -math.inf)
        for mask in masks:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
        before = self.factors.get(id(args[0]), 1.0) * self.factors.get(id(args[1]), 1.0)
        weights = scores.softmax(-1)
        self.found.append(Attention(q, k, products, before, scores, -1, weights, used=weights, values=v))


def _kept(tensor: Tensor) -> Tensor:
    """A copy, since a model may change its tensors in place."""
    return tensor.detach().clone()
