"""Record the attention weights of every head while a model runs.

    with record(model) as trace:
        model(tokens)
    trace.attention["decoder.layers.0.attention.core"]        # Float[Tensor, "B H T S"]

The fused kernel does not return its weights, so they are recomputed, by the formula, from its queries and keys.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

from clearformer.blocks.attention import Mask, ScaledDotProductAttention, attention_weights


@dataclass
class Trace:
    """Attention weights by the name of their core; if a core runs several times, those of its last call."""

    attention: dict[str, Float[Tensor, "B H T S"]] = field(default_factory=dict)


@contextmanager
def record(model: nn.Module) -> Iterator[Trace]:
    """Record until the block ends, by hooks that do not change the model's output."""
    trace = Trace()

    def hook(name: str, core: ScaledDotProductAttention, q: Tensor, k: Tensor, mask: Mask | None) -> None:
        full_mask = core.mask(q.shape[-2], k.shape[-2], mask, q.device)
        trace.attention[name] = attention_weights(q, k, full_mask, core.bias(q.shape[-2], k.shape[-2])).detach()

    hooks = [
        core.register_forward_pre_hook(
            lambda core, inputs, name=name: hook(name, core, inputs[0], inputs[1], (*inputs, None)[3])
        )
        for name, core in model.named_modules()
        if isinstance(core, ScaledDotProductAttention)
    ]
    try:
        yield trace
    finally:
        for handle in hooks:
            handle.remove()
