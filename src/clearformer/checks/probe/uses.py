"""What a model does with its weights: which ones it looks up by its tokens, and which it multiplies with activations.

PyTorch reports each operation that it runs, so no name and no size tells an embedding from another matrix.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.probe.attention import PRODUCTS
from clearformer.checks.probe.operations import Mode
from clearformer.checks.probe.probe import Inputs, Probe

aten = torch.ops.aten

SAME_VALUES = (
    *(aten.view.default, aten._unsafe_view.default, aten.t.default, aten.transpose.int, aten.clone.default),
    *(aten.permute.default, aten.unsqueeze.default, aten.squeeze.dim, aten.expand.default, aten.alias.default),
)


@dataclass
class WeightUses:
    """Names of parameters, in order of their first use."""

    looked_up: list[str] = field(default_factory=list)
    """those of which rows are taken by the values of the tokens"""
    indexed: list[str] = field(default_factory=list)
    """those of which rows are taken by any other integers, such as positions"""
    multiplied: list[str] = field(default_factory=list)
    """those that stand in a matrix product"""
    last: str = ""
    """the one in the last product"""
    in_a_row: list[tuple[str, str]] = field(default_factory=list)
    """pairs of which the first widens its input and the second alone reads that and narrows it again, with nothing
    between but a bias"""


def weight_uses(probe: Probe, inputs: Inputs) -> WeightUses:
    """How each parameter is used in one forward pass; nothing where the model is no torch code."""
    recorder = _UseRecorder(probe.model, inputs)
    with torch.enable_grad(), recorder:  # with gradients, PyTorch reports each operation of its fused layers
        probe.logits(inputs)
    widened = list({id(one): one for one in recorder.widening.values()}.values())
    recorder.uses.in_a_row += [(one.by, one.narrowed_by[0]) for one in widened if one.reads == 1 and one.narrowed_by]
    return recorder.uses


@dataclass
class _Widened:
    """A vector that is wider than what it was made of: by which weight, and what reads it."""

    by: str
    reads: int = 0
    """products with a weight"""
    narrowed_by: list[str] = field(default_factory=list)


class _UseRecorder(Mode):
    def __init__(self, model: Any, inputs: Inputs) -> None:
        super().__init__()
        named = model.named_parameters() if isinstance(model, nn.Module) else ()
        self.names = {weight.untyped_storage().data_ptr(): name for name, weight in named}
        self.tokens = [tokens.unique() for tokens in (inputs.tokens, inputs.source) if tokens is not None]
        self.uses = WeightUses()
        self.widening: dict[int, _Widened] = {}  # by the id of a tensor that is wider than what it was made of
        self.alive: list[Any] = []  # keeps tensors, so that no id is reused

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.alive.append(out)
        if func in PRODUCTS or func is aten.addmm.default:
            self.on_product(args[-2], args[-1], out)
        elif func in SAME_VALUES or (func is aten.add.Tensor and self.name(args[1])):
            self.widening.update({id(out): self.widening[id(args[0])]} if id(args[0]) in self.widening else {})
        elif func is aten.embedding.default:
            self.on_lookup(args[0], args[1])
        elif func in (aten.index.Tensor, aten.index_select.default, aten.gather.default):
            indices = args[1][:1] if isinstance(args[1], list | tuple) else args[2:3]
            self.on_lookup(args[0], indices[0] if indices else None)
        return out

    def on_product(self, a: Tensor, b: Tensor, out: Tensor) -> None:
        for weight, other in ((a, b), (b, a)):
            name = self.name(weight)
            if name is None:
                continue
            if _is_one_hot(other):
                self.add(self.uses.looked_up, name)
            else:
                self.add(self.uses.multiplied, name)
                self.uses.last = name
                if widened := self.widening.get(id(other)):
                    widened.reads += 1
                    widened.narrowed_by += [name] if other.shape[-1] > out.shape[-1] else []
                if other is a and out.shape[-1] > a.shape[-1]:
                    self.widening[id(out)] = _Widened(name)

    def on_lookup(self, weight: Tensor, indices: Tensor | None) -> None:
        name = self.name(weight)
        if name is None or indices is None or indices.is_floating_point():
            return
        values = indices.unique()
        by_token = any(torch.equal(values, tokens) for tokens in self.tokens)
        self.add(self.uses.looked_up if by_token else self.uses.indexed, name)

    def name(self, weight: Any) -> str | None:
        return self.names.get(weight.untyped_storage().data_ptr()) if isinstance(weight, Tensor) else None

    def add(self, names: list[str], name: str) -> None:
        if name not in names:
            names.append(name)


def _is_one_hot(x: Tensor) -> bool:
    """Whether each row is zero but for a single one."""
    return bool((((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1)).all())
