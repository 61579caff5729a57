"""Passes: what a decoder asks of a network, each a function of tensors that can be compiled.

    read    whole rows, without a cache        fill    whole rows into an empty cache        step    one token a row

`source` is nothing for a GPT; for an encoder-decoder, what `encode` gave, and which of the source's tokens are real.
"""

from tinygrad import Tensor

from clearformer.engines.tinygrad.cache import NOTHING, Past
from clearformer.engines.tinygrad.models import GPT, Transformer, at_place
from clearformer.engines.tinygrad.shapes import Bool, Float, Int

Writer = GPT | Transformer
Kept = Float[Tensor, "L 2 B G S E"]
"""a cache, or what is looked at of an encoder's output"""


def read(network: Writer, tokens: Int[Tensor, "B T"], last: Int[Tensor, " B"], *source: Tensor) -> Float[Tensor, "B V"]:
    """Logits of what follows place `last` of each row."""
    return network.output_projection(at_place(_features(network, tokens, NOTHING, *source), last))


def fill(
    network: Writer, tokens: Int[Tensor, "B T"], last: Int[Tensor, " B"], cache: Kept, *source: Tensor
) -> Float[Tensor, "B V"]:
    """The same, and the keys and values of the rows are put into the cache."""
    features = _features(network, tokens, Past(cache), *source)
    return network.output_projection(at_place(features, last)).realize(cache)


def step(
    network: Writer, tokens: Int[Tensor, "B past_and_1"], at: Int[Tensor, "B 1"], cache: Kept, *source: Tensor
) -> Float[Tensor, "B V"]:
    """Logits of what follows one token of each row, the last of `tokens`, which stands at `at`."""
    features = _features(network, tokens[:, -1:], Past(cache, at, tokens[:, :-1]), *source)
    return network.output_projection(features[:, 0]).realize(cache)


def encode(network: Transformer, tokens: Int[Tensor, "B S"], real: Bool[Tensor, "B S"]) -> Kept:
    """What the decoder's layers look at."""
    return Tensor.stack(*(Tensor.stack(*pair) for pair in network.encode(tokens, real)))


def reorder(_network: Writer, storage: Kept, rows: Int[Tensor, " B"]) -> Kept:
    """Let row i of a cache, or of what was encoded, be the old row `rows[i]`, in place."""
    return storage.assign(storage[:, :, rows].contiguous())


def _features(network: Writer, tokens: Tensor, past: Past, *source: Tensor) -> Float[Tensor, "B T D"]:
    if isinstance(network, GPT):
        return network.features(tokens, past)
    memory, real = source
    pairs = [(memory[layer, 0], memory[layer, 1]) for layer in range(len(network.decoder.layers))]
    return network.decode(tokens, pairs, real, past=past)
