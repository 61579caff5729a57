"""Record the attention of any torch model: products of queries and keys, their softmax, and the weighted values.

The model's code is not read and no name in it matters: PyTorch reports each operation that it runs, and attention is a
product of two activations that goes, through scaling and masking, into a softmax (or an exp divided by its sum) and on
to another product.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.probe.operations import Mode
from clearformer.checks.probe.probe import Inputs, Probe

LINEAR = 1e-3
"""scores are a multiple of the products if the residual is at most this fraction of their size"""
MAX_SCORE = 1e3
"""a larger score is taken for masked by a finite value"""

aten = torch.ops.aten
PRODUCTS = (aten.bmm.default, aten.mm.default, aten.baddbmm.default)
SOFTMAX = (aten._softmax.default, aten._safe_softmax.default)
FUSED = (
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_flash_attention.default,
)
SHAPES = ("view", "_unsafe_view", "_reshape_alias")
LAYOUTS = ("permute", "transpose", "t", "unsqueeze", "squeeze", "expand", "clone", "alias", "detach")
"""operations that give the same numbers in another shape or order"""


@dataclass(frozen=True)
class Attention:
    """One softmax over attention scores. Leading axes * are as in the model: [B, H], [B·H], or 1 where it has none."""

    queries: Tensor
    """[*, T, E]"""
    keys: Tensor
    """[*, S, E]"""
    products: Tensor
    """[*, T, S]: queries times keys"""
    prescale: float
    """the factor by which queries and keys were multiplied before the product"""
    scores: Tensor
    """[*, T, S]: the input of the softmax, scaled and masked"""
    dim: int
    """the axis of the softmax, from the end: -1 are the keys"""
    weights: Tensor
    """[*, T, S]: the output of the softmax"""
    applied: Tensor
    """[*, T, S]: the weights that the values were multiplied by, after a late mask or dropout"""
    values: Tensor | None = None
    """[*, S, E]; None where the weights were not multiplied by anything"""
    added_width: int = 0
    """the width of further queries and keys whose products are added to these, as where a part of each is rotated"""

    @property
    def scale(self) -> float | None:
        """The factor from queries times keys to scores; None where the scores are no multiple of the products.

        Additions to the scores (a finite mask, ALiBi, relative positions) are equal in all rows of a batch, so the mean
        over the rows is subtracted first.
        """
        products, scores = self._unmasked()
        if len(scores) > 1:
            products, scores = products - products.mean(0), scores - scores.mean(0)
        square = products.square().mean()
        if not scores.numel() or square == 0:
            return None
        slope = (products * scores).mean() / square
        residual = (scores - slope * products).square().mean().sqrt() / scores.square().mean().sqrt()
        return self.prescale * float(slope) if residual < LINEAR else None

    @property
    def has_added_term(self) -> bool:
        """Whether something is added to the scaled products that is not the same everywhere, such as positions'."""
        products, scores = self._unmasked()
        added = scores - products * ((self.scale or 0.0) / self.prescale)
        return bool(scores.numel() > 1 and added.std() > LINEAR * scores.std())

    def _unmasked(self) -> tuple[Tensor, Tensor]:
        """The products and the scores where no row of a batch is masked."""
        unmasked = (self.scores.isfinite() & (self.scores.abs() < MAX_SCORE)).all(0)
        return self.products[:, unmasked].double(), self.scores[:, unmasked].double()


def record_attention(probe: Probe, inputs: Inputs) -> list[Attention]:
    """Every attention of one forward pass, in order of computation; empty where the model is no torch code."""
    recorder = AttentionRecorder(probe.model)
    # with gradients enabled, PyTorch does not use its fused inference layers, inside which nothing is reported
    with torch.enable_grad(), recorder:
        probe.logits(inputs)
    return [_with_leading_axis(attention) for attention in recorder.attentions]


def _with_leading_axis(attention: Attention) -> Attention:
    if attention.queries.dim() > 2:
        return attention
    tensors: dict[str, Any] = {name: value for name, value in vars(attention).items() if isinstance(value, Tensor)}
    return replace(attention, **{name: value[None] for name, value in tensors.items()})


@dataclass(frozen=True)
class _Product:
    """The queries and keys that a tensor was computed from; after the softmax also the index of the attention."""

    queries: Tensor
    keys: Tensor
    products: Tensor
    """in the tensor's layout"""
    at: Tensor
    """t * S + s of each number of the tensor, in its layout"""
    prescale: float
    attention: int | None = None
    added_width: int = 0

    def laid_out(self, func: Any, args: Any, kwargs: dict[str, Any]) -> "_Product":
        """What stands where after an operation that may move numbers, but leaves them as they are."""
        name = func.overloadpacket.__name__
        if name in SHAPES:
            moved = [tensor.reshape(args[1]) for tensor in (self.products, self.at)]
        elif name in LAYOUTS:
            moved = [func(tensor, *args[1:], **kwargs) for tensor in (self.products, self.at)]
        else:
            return self
        return replace(self, products=moved[0], at=moved[1])

    def axes(self) -> list[int]:
        """The tensor's axes, from the end, in an order in which queries and keys are the last two."""
        shape, lengths = self.at.shape, (self.queries.shape[-2], self.keys.shape[-2])
        of_queries, of_keys = -2, -1
        for axis in range(-len(shape), 0):
            step = int((self.at.select(axis, 1) - self.at.select(axis, 0)).flatten()[0]) if shape[axis] > 1 else 0
            if (shape[axis], step) == (lengths[1], 1):
                of_keys = axis
            elif (shape[axis], step) == (lengths[0], lengths[1]):
                of_queries = axis
        if lengths[0] == 1 and len(shape) > 2 and shape[-2] > 1 == shape[-3]:
            of_queries = -3
        return [axis for axis in range(-len(shape), 0) if axis not in (of_queries, of_keys)] + [of_queries, of_keys]


class AttentionRecorder(Mode):
    def __init__(self, model: Any) -> None:
        super().__init__()
        weights = model.parameters() if isinstance(model, nn.Module) else ()
        self.weight_storages = {weight.untyped_storage().data_ptr() for weight in weights}
        self.attentions: list[Attention] = []
        self.products: dict[int, _Product] = {}  # by the id of a tensor, like `factors`
        self.factors: dict[int, float] = {}
        self.unshifted: dict[int, Tensor] = {}  # what a difference was taken of, such as scores minus their maximum
        self.exponents: dict[int, Tensor] = {}  # what an exp was taken of
        self.alive: list[Any] = []  # keeps tensors, so that no id is reused

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.alive.append(out)
        if func in FUSED:
            self.on_fused_attention(args, kwargs or {})
        elif func in PRODUCTS:
            self.on_product(args[-2], args[-1], out)
        elif isinstance(out, Tensor) and out.is_floating_point():
            self.on_elementwise(func, args, kwargs or {}, out)
        name = func.overloadpacket.__name__
        if args and "mm" not in name:  # bmm, addmm and the like make something new
            self.on_scaling(name, args, out)
        return out

    def on_product(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        """A matrix product: queries and keys, weights and values, or neither."""
        product = self.products.get(id(a))
        if product is not None and product.attention is not None:
            attention = self.attentions[product.attention]
            self.attentions[product.attention] = replace(
                attention, applied=_copy(a).permute(product.axes()), values=_copy(b)
            )
        elif not {tensor.untyped_storage().data_ptr() for tensor in (a, b)} & self.weight_storages:
            prescale = self.factors.get(id(a), 1.0) * self.factors.get(id(b), 1.0)
            products = a.detach() @ b.detach()  # not `out`, which baddbmm has scaled and added to
            T, S = products.shape[-2:]  # noqa: N806
            at = torch.arange(T * S).view(T, S).expand(products.shape)
            self.products[id(out)] = _Product(_copy(a), _copy(b.transpose(-1, -2)), products, at, prescale)

    def on_elementwise(self, func: Any, args: Any, kwargs: dict[str, Any], out: Tensor) -> None:
        """Scaling, masking, dropout or a reshape of scores or weights; or the softmax itself."""
        tensors = [argument for argument in args if isinstance(argument, Tensor)]
        product = next((self.products[id(tensor)] for tensor in tensors if id(tensor) in self.products), None)
        if product is None or out.numel() != product.products.numel():
            return
        product = product.laid_out(func, args, kwargs)
        if func is aten.add.Tensor:
            product = self.sum(tensors, out) or product
        if func is aten.sub.Tensor:
            self.unshifted[id(out)] = args[0]
        if func is aten.exp.default:
            self.exponents[id(out)] = self.unshifted.get(id(args[0]), args[0])
        found = self.softmax(func, args) if product.attention is None else None
        if found is not None:
            axes = product.axes()
            products, scores, weights = (
                _copy(x).reshape(out.shape).permute(axes) for x in (product.products, found[0], out)
            )
            dim = axes.index(found[1]) - len(axes)
            named: dict[str, Any] = {"applied": weights, "added_width": product.added_width}
            self.attentions.append(
                Attention(product.queries, product.keys, products, product.prescale, scores, dim, weights, **named)
            )
            product = replace(product, attention=len(self.attentions) - 1)
        self.products[id(out)] = product

    def sum(self, tensors: list[Tensor], out: Tensor) -> _Product | None:
        """The sum of two products of queries and keys, neither of them scaled yet; else None."""
        found = [self.products[id(tensor)] for tensor in tensors if id(tensor) in self.products]
        if len(found) < 2 or any(one.attention is not None or one.prescale != 1.0 for one in found):
            return None
        sizes = [(float(one.products.norm()), float(x.norm())) for one, x in zip(found, tensors, strict=True)]
        if not all(math.isclose(*pair, rel_tol=LINEAR) for pair in sizes):
            return None
        first, second = found
        width = first.added_width + second.queries.shape[-1]
        return replace(first, products=_copy(out), added_width=width)

    def softmax(self, func: Any, args: Any) -> tuple[Tensor, int] | None:
        """The scores that a softmax is of, and its axis from the end: PyTorch's, or an exp divided by its sum."""
        if func in SOFTMAX:
            return args[0], args[1] if args[1] < 0 else args[1] - args[0].dim()
        if func is not aten.div.Tensor or id(args[0]) not in self.exponents or not isinstance(args[1], Tensor):
            return None
        axes = [axis for axis in range(-args[1].dim(), 0) if args[1].shape[axis] == 1 != args[0].shape[axis]]
        return (self.exponents[id(args[0])], axes[-1]) if axes else None

    def on_scaling(self, name: str, args: Any, out: Any) -> None:
        """Remember the factor by which queries or keys have been multiplied."""
        first = args[0][0] if isinstance(args[0], list | tuple) and args[0] else args[0]
        factor = self.factors.get(id(first), 1.0)
        if name in ("mul", "div"):
            by = args[1].item() if isinstance(args[1], Tensor) and args[1].dim() == 0 else args[1]
            if isinstance(by, int | float):
                factor *= by if name == "mul" else 1 / by
        if factor != 1.0:
            self.factors |= {id(tensor): factor for tensor in (out if isinstance(out, list | tuple) else [out])}

    def on_fused_attention(self, args: Any, kwargs: dict[str, Any]) -> None:
        """PyTorch's fused attention, recomputed in plain operations."""
        q, k, v = (_copy(tensor) for tensor in args[:3])
        k, v = (tensor.repeat_interleave(q.shape[-3] // k.shape[-3], dim=-3) for tensor in (k, v))
        masks = [argument for argument in (*args[3:], *kwargs.values()) if isinstance(argument, Tensor)]
        causal = any(argument is True for argument in (*args[3:], *kwargs.values()))
        products = q @ k.transpose(-1, -2)
        scores = products * (kwargs.get("scale") or 1 / math.sqrt(q.shape[-1]))
        if causal:
            scores = scores.masked_fill(~torch.ones(scores.shape[-2:], dtype=torch.bool).tril(), -math.inf)
        for mask in masks:
            scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + mask
        prescale = self.factors.get(id(args[0]), 1.0) * self.factors.get(id(args[1]), 1.0)
        weights = scores.softmax(-1)
        self.attentions.append(Attention(q, k, products, prescale, scores, -1, weights, applied=weights, values=v))


def _copy(tensor: Tensor) -> Tensor:
    """A copy, since a model may change its tensors in place."""
    return tensor.detach().clone()
