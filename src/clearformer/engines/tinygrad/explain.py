"""Locate the first layer with a result that is not finite, by running a batch again, uncompiled, layer by layer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tinygrad import Tensor

from clearformer.data.batches import Batch
from clearformer.engines.tinygrad.attention import ScaledDotProductAttention
from clearformer.engines.tinygrad.compiled import padded_inputs
from clearformer.engines.tinygrad.layers import Embedding, LayerNorm, Linear, OutputProjection, RMSNorm
from clearformer.engines.tinygrad.model import Model
from clearformer.engines.tinygrad.positions import LearnedPositions, NGramEmbedding
from clearformer.engines.tinygrad.storage import Storage

LAYERS: tuple[type[Any], ...] = (
    *(Embedding, LearnedPositions, NGramEmbedding),
    *(LayerNorm, RMSNorm, Linear, ScaledDotProductAttention, OutputProjection),
)
"""the layers whose outputs are inspected"""


def locate_nonfinite(model: Model, gradients: Storage, micro_batches: list[Batch], first: int) -> str:
    """The first layer whose output is not finite, or the parameter whose gradient is not; and the batch."""
    names = {id(layer): name for name, layer in named_layers(model.network)}
    nonfinite: list[str] = []

    def inspect(layer: object, output: Tensor) -> None:
        if not output.realize().isfinite().all().item():
            nonfinite.append(names[id(layer)])

    for offset, batch in enumerate(micro_batches):
        with hooked(inspect):
            model.network(*padded_inputs(batch.inputs, model.config.context))
        if nonfinite:
            return f"the output of {nonfinite[0]} on batch {first + offset}"
    # the backward pass runs from the last layer to the first: the last such parameter is the origin
    nonfinite = [name for name in gradients.layout.shapes if not gradients.view(name).isfinite().all().item()]
    where = f"the gradient of {nonfinite[-1]}" if nonfinite else "the loss, or the norm of all gradients,"
    return f"{where} on batches {first} to {first + len(micro_batches) - 1}"


def named_layers(owner: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """All layers below `owner`, with their names, through attributes and lists."""
    children = enumerate(owner) if isinstance(owner, list) else vars(owner).items()
    for key, child in children:
        name = f"{prefix}{key}"
        if isinstance(child, LAYERS):
            yield name, child
        elif isinstance(child, list) or type(child).__module__.startswith(__package__):
            yield from named_layers(child, f"{name}.")


@contextmanager
def hooked(inspect: Callable[[object, Tensor], None]) -> Iterator[None]:
    """Call `inspect` with each layer and its output. Python looks `__call__` up in the class, so that is patched."""
    original = {kind: kind.__call__ for kind in LAYERS}

    def with_hook(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call_and_inspect(layer: object, *inputs: Any) -> Tensor:
            output = call(layer, *inputs)
            inspect(layer, output)
            return output

        return call_and_inspect

    for kind, call in original.items():
        kind.__call__ = with_hook(call)
    try:
        yield
    finally:
        for kind, call in original.items():
            kind.__call__ = call
