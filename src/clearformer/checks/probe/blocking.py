"""Block attentions and matrix products of a model, to see what gets past them."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.probe.attention import FUSED, AttentionRecorder
from clearformer.checks.probe.probe import Inputs, Probe

aten = torch.ops.aten
WEIGHT_PRODUCTS = (aten.mm.default, aten.addmm.default, aten.bmm.default)


@dataclass(frozen=True)
class Step:
    """What an attention or a product with a weight gives in one forward pass."""

    weight: str
    """the weight's name; empty for an attention"""
    queries: int
    """of an attention"""
    keys: int
    varies: bool = False
    """whether the queries of an attention differ between the first half of the batch and the second"""


def steps(probe: Probe, inputs: Inputs) -> list[Step]:
    """All attentions and products with weights of one forward pass, in order."""
    recorder = _Blocker(probe.model, ())
    with torch.enable_grad(), recorder:
        probe.logits(inputs)
    return recorder.steps


def blocked_logits(probe: Probe, inputs: Inputs, blocked: Collection[int]) -> Tensor:
    """The logits when the results of some of `steps`, by their indices, are zero."""
    blocker = _Blocker(probe.model, blocked)
    with torch.enable_grad(), blocker:
        return probe.logits(inputs).detach()


class _Blocker(AttentionRecorder):
    def __init__(self, model: Any, blocked: Collection[int]) -> None:
        super().__init__(model)
        named = model.named_parameters() if isinstance(model, nn.Module) else ()
        self.names = {weight.untyped_storage().data_ptr(): name for name, weight in named}
        self.blocked, self.steps = blocked, list[Step]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        step = self.step(func, args)
        if step is not None:
            if len(self.steps) in self.blocked:
                (out[0] if isinstance(out, tuple) else out).zero_()
            self.steps.append(step)
        return out

    def step(self, func: Any, args: Any) -> Step | None:
        if func in FUSED:
            return Step("", args[0].shape[-2], args[1].shape[-2], _halves_differ(args[0]))
        if func not in WEIGHT_PRODUCTS:
            return None
        a, b = args[-2:]
        product = self.products.get(id(a))
        if product is not None and product.attention is not None:
            T, S = a.shape[-2:]  # noqa: N806
            return Step("", T, S, _halves_differ(self.attentions[product.attention].queries))
        name = next((self.names[ptr] for x in (a, b) if (ptr := x.untyped_storage().data_ptr()) in self.names), None)
        return None if name is None else Step(name, 0, 0)


def _halves_differ(x: Tensor) -> bool:
    first, second = x.tensor_split(2)
    return not torch.equal(first, second)
