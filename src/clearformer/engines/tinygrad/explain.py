"""Explain: which layer first gave a number that is not finite, by running a batch once more, a layer at a time."""

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
"""what is looked at"""


def what_went_wrong(model: Model, gradients: Storage, micro_batches: list[Batch], first: int) -> str:
    """The first layer whose output is not finite, or the last parameter whose gradient is not; and the batch."""
    names = {id(layer): name for name, layer in named_layers(model.network)}
    broken: list[str] = []

    def look(layer: object, output: Tensor) -> None:
        if not output.realize().isfinite().all().item():
            broken.append(names[id(layer)])

    for offset, batch in enumerate(micro_batches):
        with watched(look):
            model.network(*padded_inputs(batch.inputs, model.config.context))
        if broken:
            return f"the output of {broken[0]} on batch {first + offset}"
    # a backward pass runs from the last layer to the first, so the last parameter went wrong first
    bad = [name for name in gradients.layout.shapes if not gradients.view(name).isfinite().all().item()]
    where = f"the gradient of {bad[-1]}" if bad else "the loss, or the norm of all gradients,"
    return f"{where} on batches {first} to {first + len(micro_batches) - 1}"


def named_layers(owner: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """All layers that are attributes, or in lists that are."""
    children = enumerate(owner) if isinstance(owner, list) else vars(owner).items()
    for key, child in children:
        name = f"{prefix}{key}"
        if isinstance(child, LAYERS):
            yield name, child
        elif isinstance(child, list) or type(child).__module__.startswith(__package__):
            yield from named_layers(child, f"{name}.")


@contextmanager
def watched(look: Callable[[object, Tensor], None]) -> Iterator[None]:
    """Let `look` see each layer and its output. A call is looked up in the class, so it is changed there."""
    plain = {kind: kind.__call__ for kind in LAYERS}

    def watching(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def call_and_look(layer: object, *inputs: Any) -> Tensor:
            output = call(layer, *inputs)
            look(layer, output)
            return output

        return call_and_look

    for kind, call in plain.items():
        kind.__call__ = watching(call)
    try:
        yield
    finally:
        for kind, call in plain.items():
            kind.__call__ = call
