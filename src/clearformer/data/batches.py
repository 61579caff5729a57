"""Batches: tokens in rectangles, drawn by a sampler that is a function of (seed, epoch, index) and keeps no state.

So step 1,000 of a resumed run sees the batch that step 1,000 of an uninterrupted run sees.
Text comes in random windows of one split; pairs come sorted into buckets of like length, padded on the right.
`masked.py` and `labelled.py` have the batches of a masked language model and of a classifier.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

from clearformer.data.buckets import Buckets
from clearformer.data.tokenizers import BOS, EOS, PAD
from clearformer.errors import DataError

IGNORE = -100
"""target of a position that is not predicted: the padding (the number PyTorch's cross-entropy leaves out)"""


TokenPair = tuple[list[int], list[int]]
"""source and target as numbers, without begin and end"""


@dataclass(frozen=True)
class TextBatch:
    """Windows of running text; the targets are the tokens one place further on."""

    tokens: Int[NDArray[np.int64], "B T"]
    targets: Int[NDArray[np.int64], "B T"]

    @property
    def inputs(self) -> tuple[NDArray[np.int64]]:
        """What the model is called with."""
        return (self.tokens,)

    @property
    def size(self) -> int:
        """Tokens the model reads."""
        return self.tokens.size


@dataclass(frozen=True)
class PairBatch:
    """Sources and targets. `target` begins with BOS; `targets`, what is predicted, ends with EOS."""

    source: Int[NDArray[np.int64], "B S"]
    target: Int[NDArray[np.int64], "B T"]
    source_real: Bool[NDArray[np.bool_], "B S"]
    target_real: Bool[NDArray[np.bool_], "B T"]
    targets: Int[NDArray[np.int64], "B T"]

    @property
    def inputs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """What the model is called with."""
        return (self.source, self.target, self.source_real, self.target_real)

    @property
    def size(self) -> int:
        """Tokens the model reads, padding included."""
        return self.source.size + self.target.size


@dataclass(frozen=True)
class EncoderBatch:
    """What an encoder reads: tokens, which of them are real, and which text each belongs to."""

    tokens: Int[NDArray[np.int64], "B T"]
    real: Bool[NDArray[np.bool_], "B T"]
    segments: Int[NDArray[np.int64], "B T"]

    @property
    def inputs(self) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
        """What the model is called with."""
        return (self.tokens, self.real, self.segments)

    @property
    def size(self) -> int:
        """Tokens the model reads, padding included."""
        return self.tokens.size


@runtime_checkable
class Batch(Protocol):
    """What a model is trained on or measured by at once, of whatever kind."""

    @property
    def inputs(self) -> tuple[NDArray[Any], ...]:
        """What the model is called with."""
        ...

    @property
    def targets(self) -> NDArray[np.int64]:
        """What it should say; IGNORE where it is not asked."""
        ...

    @property
    def size(self) -> int:
        """Tokens the model reads, padding included."""
        ...


@runtime_checkable
class Batches(Protocol):
    """A split of a corpus, ready to be trained on or measured."""

    @property
    def batches_per_epoch(self) -> int:
        """So many batches hold as many tokens as the split has."""
        ...

    def batch(self, step: int) -> Batch:
        """Training batch number `step`, from 0 on, without end."""
        ...

    def in_order(self, most_tokens: int | None = None) -> Iterator[Batch]:
        """Every token once, for measuring; at most about `most_tokens`."""
        ...


@dataclass(frozen=True)
class Windows:
    """A text of which windows of `context` tokens are read, `batch_tokens` in a batch."""

    tokens: Int[NDArray[np.int64], " N"]
    context: int
    batch_tokens: int
    seed: int

    @property
    def rows(self) -> int:
        return max(1, self.batch_tokens // self.context)

    @property
    def batches_per_epoch(self) -> int:
        """So many batches hold as many tokens as the split has."""
        return max(1, len(self.tokens) // (self.rows * self.context))


@dataclass(frozen=True)
class TextWindows(Windows):
    """Windows at random places, and the tokens one place further on; no window leaves the split."""

    def __post_init__(self) -> None:
        if len(self.tokens) <= self.context:
            raise DataError(
                f"a text of more than {self.context} tokens was expected, one more than the model's context, "
                f"found {len(self.tokens)}; give more text or lower --model.context"
            )

    def batch(self, step: int) -> TextBatch:
        epoch, index = divmod(step, self.batches_per_epoch)
        rng = np.random.default_rng([self.seed, epoch, index])
        starts = rng.integers(0, len(self.tokens) - self.context, self.rows)
        return self._windows(starts, self.context)

    def in_order(self, most_tokens: int | None = None) -> Iterator[TextBatch]:
        """Blocks of `context` tokens that do not overlap; the last may be shorter. The first token has no past.

        With `most_tokens`, whole blocks alone, and at least one.
        """
        count = len(self.tokens) - 1
        if most_tokens is not None:
            count = max(self.context, min(most_tokens, count))
        starts = np.arange(0, count // self.context * self.context, self.context)
        rows = max(self.rows, 4096 // self.context)
        for first in range(0, len(starts), rows):
            yield self._windows(starts[first : first + rows], self.context)
        if most_tokens is None and count % self.context:
            yield self._windows(np.array([count - count % self.context]), count % self.context)

    def _windows(self, starts: NDArray[np.int64], length: int) -> TextBatch:
        places = starts[:, None] + np.arange(length)
        return TextBatch(self.tokens[places], self.tokens[places + 1])


class PairBuckets(Buckets[TokenPair, PairBatch]):
    """Pairs of like length side by side, as many as fit into `batch_tokens` with their padding."""

    def __init__(self, pairs: Sequence[TokenPair], batch_tokens: int, seed: int) -> None:
        # the source ends with EOS; the target begins with BOS: one token more each
        lengths = np.array([(len(source) + 1, len(target) + 1) for source, target in pairs])
        super().__init__(pairs, lengths, collate, batch_tokens, seed)
        self.pairs = pairs


def collate(pairs: Sequence[TokenPair]) -> PairBatch:
    """Put pairs of token numbers into rectangles."""
    source = pad([[*source, EOS] for source, _ in pairs], PAD)
    target = pad([[BOS, *target] for _, target in pairs], PAD)
    targets = pad([[*target, EOS] for _, target in pairs], IGNORE)
    real = np.arange(source.shape[1]) < np.array([[len(source) + 1] for source, _ in pairs])
    return PairBatch(source, target, real, targets != IGNORE, targets)


def pad(rows: Sequence[Sequence[int]], value: int) -> Int[NDArray[np.int64], "B T"]:
    """Rows of unequal lengths as a rectangle, filled up on the right."""
    padded = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded
