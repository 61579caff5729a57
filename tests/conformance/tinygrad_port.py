"""tinygrad's part of `ports`, imported only when needed, since that starts tinygrad."""

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tinygrad import Context, Tensor
from tinygrad.nn.state import get_state_dict

import clearformer.engines.tinygrad.engine  # first, since it chooses the device
from clearformer.config import ModelConfig, TrainConfig
from clearformer.data.batches import Batch
from clearformer.engines.tinygrad import bodies, layers, models, positions, stacks
from clearformer.engines.tinygrad.attention import CrossAttention, MultiHeadAttention
from clearformer.engines.tinygrad.dropout import Noise
from clearformer.engines.tinygrad.optimizer import Optimizer
from clearformer.engines.tinygrad.training import Trainer

Arrays = dict[str, NDArray[Any]]
assert clearformer.engines.tinygrad.engine.DEVICE


class Block(NamedTuple):
    """A part, and a function that calls it with the inputs of PyTorch's part."""

    part: Any
    call: Callable[..., Tensor]


def embedding(config: ModelConfig) -> layers.Embedding:
    return bodies.Embedder(config, Noise()).embedding


def plain(make: Callable[[ModelConfig], Any]) -> Callable[[ModelConfig], Block]:
    """A part with the same inputs as PyTorch's."""

    def made(config: ModelConfig) -> Block:
        part = make(config)
        return Block(part, part)

    return made


def position_block(make: Callable[[ModelConfig], Any]) -> Callable[[ModelConfig], Block]:
    def made(config: ModelConfig) -> Block:
        part = make(config)
        return Block(part, lambda tokens: part(tokens, tokens.shape[1]))

    return made


def causal(config: ModelConfig) -> Block:
    part = MultiHeadAttention(config, 0.0, Noise())
    return Block(part, lambda x, *mask: part(x, reduce(Tensor.bitwise_and, mask, causal_mask(x.shape[1]))))


def cross(config: ModelConfig) -> Block:
    part = CrossAttention(config, Noise())
    return Block(part, lambda x, memory, mask: part(x, part.project(memory), mask))


def decoder_layer(config: ModelConfig) -> Block:
    part = stacks.DecoderLayer(config, Noise())

    def call(x: Tensor, memory: Tensor, mask: Tensor, memory_mask: Tensor) -> Tensor:
        return part(x, mask & causal_mask(x.shape[1]), None, part.cross_attention.project(memory), memory_mask)

    return Block(part, call)


def causal_mask(length: int) -> Tensor:
    """A causal mask, which this engine takes as part of `mask`."""
    return Tensor(np.tri(length, dtype=np.bool_)[None, None])


BLOCKS: dict[str, Callable[[ModelConfig], Block]] = {
    "TokenEmbedding": plain(embedding),
    "SinusoidalPositions": position_block(positions.SinusoidalPositions),
    "LearnedPositions": position_block(positions.LearnedPositions),
    "NGramEmbedding": plain(lambda config: bodies.Embedder(config, Noise()).ngrams),
    "norm": plain(lambda config: layers.norm(config, config.d_model)),
    "FeedForward": plain(layers.FeedForward),
    "MultiHeadAttention": plain(lambda config: MultiHeadAttention(config, 0.0, Noise())),
    "MultiHeadAttention, causal": causal,
    "CrossAttention": cross,
    "EncoderLayer": plain(lambda config: stacks.Layer(config, 0.0, Noise())),
    "DecoderLayer": decoder_layer,
    "OutputProjection": plain(lambda config: models.output_projection(config, embedding(config), bias=True)),
}


def gradients(model: Any, batch: Batch, config: TrainConfig) -> tuple[float, Arrays]:
    optimizer = Optimizer(model, config)
    trainer = Trainer(model, optimizer, config)
    with unoptimized():
        trainer.gradients([batch], 0)
        return trainer.loss.item(), optimizer.gradients.read()


def load(block: Block, weights: Arrays) -> None:
    named = get_state_dict(block.part)
    for name, value in weights.items():
        named[name].replace(Tensor(value).realize())


def run(block: Block, names: list[str], inputs: list[NDArray[Any]], g: NDArray[Any] | None) -> tuple[Any, Arrays]:
    given = [Tensor(x if x.dtype.kind != "i" else x.astype(np.int32)) for x in inputs]
    leaves = {name: get_state_dict(block.part)[name] for name in names}
    leaves |= {f"input {index}": x for index, x in enumerate(given) if inputs[index].dtype.kind == "f"}
    with unoptimized():
        out = block.call(*given)
        if g is None:
            return out.numpy(), {}
        parts = (out * Tensor(g)).sum().gradient(*leaves.values())  # before `out` is realized, which drops its graph
        return out.numpy(), {name: part.numpy() for name, part in zip(leaves, parts, strict=True)}


def unoptimized() -> Any:
    """Kernels are not optimized: that takes longer than it saves here."""
    return Context(NOOPT=1)
