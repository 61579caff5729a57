"""The forward passes of a decoder, as functions of tensors that can be compiled.

    read    whole rows, without a cache        fill    whole rows into an empty cache        step    one token per row

`source` is empty for a GPT; for an encoder-decoder, the result of `encode` and the mask of real source tokens.
"""

from tinygrad import Tensor

from clearformer.engines.tinygrad.cache import NOTHING, Past
from clearformer.engines.tinygrad.models import GPT, Transformer, at_position
from clearformer.engines.tinygrad.shapes import Bool, Float, Int

Generator = GPT | Transformer
KeysValues = Float[Tensor, "L 2 B G S E"]
"""a cache, or the keys and values of an encoder's output"""


def read(
    network: Generator, tokens: Int[Tensor, "B T"], last: Int[Tensor, " B"], *source: Tensor
) -> Float[Tensor, "B V"]:
    """Logits of the token that follows position `last` of each row."""
    return network.output_projection(at_position(_features(network, tokens, NOTHING, *source), last))


def fill(
    network: Generator, tokens: Int[Tensor, "B T"], last: Int[Tensor, " B"], cache: KeysValues, *source: Tensor
) -> Float[Tensor, "B V"]:
    """`read`, storing the keys and values of the rows in the cache."""
    features = _features(network, tokens, Past(cache), *source)
    return network.output_projection(at_position(features, last)).realize(cache)


def step(
    network: Generator, tokens: Int[Tensor, "B past_and_1"], at: Int[Tensor, "B 1"], cache: KeysValues, *source: Tensor
) -> Float[Tensor, "B V"]:
    """Logits of the token that follows the last of `tokens`, at position `at` of each row."""
    features = _features(network, tokens[:, -1:], Past(cache, at, tokens[:, :-1]), *source)
    return network.output_projection(features[:, 0]).realize(cache)


def encode(network: Transformer, tokens: Int[Tensor, "B S"], real: Bool[Tensor, "B S"]) -> KeysValues:
    """The keys and values of the encoder's output, for all layers of the decoder."""
    return Tensor.stack(*(Tensor.stack(*pair) for pair in network.encode(tokens, real)))


def reorder(_network: Generator, storage: KeysValues, rows: Int[Tensor, " B"]) -> KeysValues:
    """Replace row i of a cache or an encoded source by the old row `rows[i]`, in place."""
    return storage.assign(storage[:, :, rows].contiguous())


def _features(network: Generator, tokens: Tensor, past: Past, *source: Tensor) -> Float[Tensor, "B T D"]:
    if isinstance(network, GPT):
        return network.features(tokens, past)
    memory, real = source
    pairs = [(memory[layer, 0], memory[layer, 1]) for layer in range(len(network.decoder.layers))]
    return network.decode(tokens, pairs, real, past=past)
