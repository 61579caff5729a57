"""Positions and n-grams, as in `clearformer.blocks`. `at` is the position of each row's one token; None: from 0 on."""

from functools import reduce

import numpy as np
from tinygrad import Tensor, dtypes

from clearformer.config import BUCKETS, ModelConfig
from clearformer.engines.tables import BITS, FURTHEST, MULTIPLIER, angles, buckets, sinusoids
from clearformer.engines.tinygrad.shapes import Bool, Float, Int, sizes

POSITIONS = ("sinusoidal", "learned", "rotary", "alibi", "relative", "none")
"""the position encodings that this engine supports"""


def rows_at(table: Float[Tensor, "N W"], at: Tensor | None, T: int) -> Tensor:  # noqa: N803
    """The table's rows [T, W] of the first T positions, or [B, T, W] of those given."""
    return table[:T] if at is None else table[at]


class SinusoidalPositions:
    """Sines and cosines, interleaved."""

    def __init__(self, config: ModelConfig) -> None:
        self.table = Tensor(sinusoids(config.context, config.d_model)).realize()

    def __call__(self, at: Tensor | None, T: int) -> Tensor:  # noqa: N803
        return rows_at(self.table, at, T)


class LearnedPositions:
    """A learned vector for each position."""

    def __init__(self, config: ModelConfig) -> None:
        self.weight = Tensor.empty(config.context, config.d_model)

    def __call__(self, at: Tensor | None, T: int) -> Tensor:  # noqa: N803
        return rows_at(self.weight, at, T)


ADDED_POSITIONS: dict[str, type[SinusoidalPositions | LearnedPositions]] = {
    "sinusoidal": SinusoidalPositions,
    "learned": LearnedPositions,
}


class RotaryPositions:
    """Rotates the heads of queries and keys; element i is paired with element i + E / 2."""

    def __init__(self, config: ModelConfig) -> None:
        theta = np.tile(angles(config.context, config.key_width, config.rotary_base, config.rotary_scaling), 2)
        self.cos, self.sin = (Tensor(table.astype(np.float32)).realize() for table in (np.cos(theta), np.sin(theta)))

    def __call__(self, x: Float[Tensor, "B H T E"], at: Tensor | None) -> Float[Tensor, "B H T E"]:
        cos, sin = (rows_at(table, at, sizes(x)[2]) for table in (self.cos, self.sin))
        if at is not None:  # the same for all heads of a row
            cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        first, second = x.chunk(2, dim=-1)
        return x * cos + (-second).cat(first, dim=-1) * sin


def distances(at: Tensor | None, T: int, S: int) -> Int[Tensor, "#B 1 T S"]:  # noqa: N803
    """Position of the key minus position of the query, for keys 0 to S - 1."""
    queries = Tensor.arange(T).reshape(1, 1, T, 1) if at is None else at.reshape(-1, 1, T, 1)
    return Tensor.arange(S) - queries


class RelativePositions:
    """The table of a stack: a number for each bucket of distances and head."""

    def __init__(self, config: ModelConfig, *, causal: bool) -> None:
        self.weight = Tensor.empty(BUCKETS, config.num_heads)
        rows = buckets(np.arange(-FURTHEST, FURTHEST + 1), causal=causal)
        self.rows = Tensor(rows.astype(np.int32)).realize()

    def __call__(self, at: Tensor | None, T: int, S: int) -> Float[Tensor, "#B H T S"]:  # noqa: N803
        """The bias on the scores, of queries at `at` and keys 0 to S - 1."""
        offsets = distances(at, T, S)[:, 0].clip(-FURTHEST, FURTHEST)
        return self.weight[self.rows[offsets + FURTHEST]].permute(0, 3, 1, 2)


def near(distance: Int[Tensor, "#B 1 T S"], window: int, *, causal: bool) -> Bool[Tensor, "#B 1 T S"] | None:
    """The mask of keys that are not in the future (if `causal`) and within the window (if not 0); None: all are."""
    masks = [*[distance <= 0] * causal, *[distance.abs() < window] * (window > 0)]
    return reduce(Tensor.bitwise_and, masks) if masks else None


class NGramEmbedding:
    """Embeds the hash of the last two and of the last three tokens, in `buckets` rows each."""

    def __init__(self, buckets: int, width: int) -> None:
        self.buckets = buckets
        self.pairs, self.triples = Tensor.empty(buckets, width), Tensor.empty(buckets, width)

    def __call__(self, tokens: Int[Tensor, "B past_and_T"]) -> Float[Tensor, "B T D"]:
        """Vectors of `tokens`, of which the first PAST only give context."""
        now, one_ago, two_ago = tokens[:, 2:], tokens[:, 1:-1], tokens[:, :-2]
        pairs, triples = self._rows(now, one_ago), self._rows(now, one_ago, two_ago)
        return self.pairs[pairs] + self.triples[triples]

    def _rows(self, *window: Tensor) -> Int[Tensor, "B T"]:
        """The bucket of each window of tokens, the latest first. No product overflows 64 bits."""
        hashed = Tensor.ones_like(window[0], dtype=dtypes.int64)
        for token in window:
            hashed = ((hashed ^ (token.cast(dtypes.int64) + 1)) * MULTIPLIER) & (2**BITS - 1)
        return ((hashed ^ (hashed >> BITS // 2)) % self.buckets).cast(dtypes.int32)
