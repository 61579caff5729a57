"""Positions: added to embeddings, rotating queries and keys, or a bias on scores; and n-grams.

sinusoidal  P[p, 2i] = sin(p / 10000^(2i/D))   P[p, 2i+1] = cos(p / 10000^(2i/D))       Vaswani et al. 2017, 3.5
rotary      (x_i, x_{i+E/2}) rotated by p · base^(-2i/E), or scaled           Su et al. 2021, arXiv:2104.09864
alibi       score - m_h |t - s|,  m_h = 2^(-8h/H)                         Press et al. 2021, arXiv:2108.12409
relative    score + W[bucket(s - t), h], W learned                        Raffel et al. 2020, arXiv:1910.10683
n-grams     W_2[hash(x_{t-1}, x_t)] + W_3[hash(x_{t-2}, x_{t-1}, x_t)]    Pagnoni et al. 2024, arXiv:2412.09871
"""

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clearformer.config import BUCKETS, RotaryScaling
from clearformer.engines.numpy import functional as F
from clearformer.engines.numpy.cache import KVCache
from clearformer.engines.numpy.modules import Module, parameter
from clearformer.engines.numpy.rules import Array
from clearformer.engines.numpy.tensor import Tensor
from clearformer.engines.tables import BITS, MULTIPLIER, angles, buckets, sinusoids

POSITIONS = ("sinusoidal", "learned", "rotary", "alibi", "relative", "none")
"""supported by this engine"""

Positions = Int[NDArray[np.int64], "*B T"]


class SinusoidalPositions(Module):
    """Precomputed vectors of positions 0 to `max_length` - 1."""

    def __init__(self, max_length: int, d_model: int) -> None:
        self.table = sinusoids(max_length, d_model)

    def forward(self, positions: Positions) -> Tensor:
        return Tensor(self.table[positions])


class LearnedPositions(Module):
    """A learned vector for each position 0 to `max_length` - 1."""

    def __init__(self, max_length: int, d_model: int) -> None:
        self.weight = parameter(max_length, d_model)

    def forward(self, positions: Positions) -> Tensor:
        return F.embedding(positions, self.weight)


class RotaryPositions(Module):
    """Rotates the heads of positions 0 to `max_length` - 1."""

    def __init__(self, max_length: int, head_width: int, base: float, scaling: RotaryScaling) -> None:
        turns = angles(max_length, head_width, base, scaling)
        self.cos, self.sin = np.cos(turns).astype(np.float32), np.sin(turns).astype(np.float32)

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        cos, sin = self.cos[positions], self.sin[positions]
        return F.rotary(x, cos, sin) if positions.ndim == 1 else F.rotary(x, cos[:, None], sin[:, None])


def alibi(m: Float[Array, " H"], T: int, S: int) -> Float[Array, "1 H T S"]:  # noqa: N803
    """The bias on the scores of T queries, the last T of S positions."""
    distances = np.abs(np.arange(S - T, S)[:, None] - np.arange(S)).astype(m.dtype)
    return -(m[:, None, None] * distances)[None]


class RelativePositions(Module):
    """The table of a stack: a number for each bucket of distances and head."""

    def __init__(self, num_heads: int, *, causal: bool) -> None:
        self.causal = causal
        self.weight = parameter(BUCKETS, num_heads)

    def forward(self, T: int, cache: KVCache | None = None) -> Tensor:  # noqa: N803
        """The bias [B or 1, H, T, S] on the scores of T queries, which follow the tokens in the cache."""
        positions = np.arange(T)[None] if cache is None else cache.positions(T)
        keys = np.arange(T + (0 if cache is None else cache.longest))
        rows = buckets(keys - positions[..., None], causal=self.causal)
        return F.embedding(rows, self.weight).swapaxes(1, 3).swapaxes(2, 3)


def ngram_hash(window: Int[NDArray[np.int64], "n *B T"], buckets: int) -> Int[NDArray[np.int64], "*B T"]:
    """The bucket of each window of n tokens; the first axis is the token, then those before it."""
    mixed = np.ones_like(window[0])
    for token in window:
        mixed = ((mixed ^ (token + 1)) * MULTIPLIER) % 2**BITS
    return (mixed ^ (mixed >> BITS // 2)) % buckets


class NGramEmbedding(Module):
    """Hashed embeddings of bigrams and trigrams, with `buckets` rows each."""

    def __init__(self, buckets: int, d_model: int) -> None:
        self.pairs = parameter(buckets, d_model)
        self.triples = parameter(buckets, d_model)

    def forward(self, tokens: Int[NDArray[np.int64], "B past_and_T"]) -> Tensor:
        """Vectors [B, T, D] of all but the first PAST of `tokens`."""
        buckets = len(self.pairs.data)
        window = np.stack((tokens[:, 2:], tokens[:, 1:-1], tokens[:, :-2]))
        pairs = F.embedding(ngram_hash(window[:2], buckets), self.pairs)
        return pairs + F.embedding(ngram_hash(window, buckets), self.triples)
