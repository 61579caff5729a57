"""Batches of text and of pairs. Sampling is stateless: a batch is a function of (seed, epoch, index).

So a resumed run reads the same batch at step 1,000 as an uninterrupted one.
Text is sampled as random windows; pairs are bucketed by length and padded on the right.
`masked.py` and `labelled.py` define the batches of a masked language model and of a classifier.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int, Integer
from numpy.typing import NDArray

from clearformer.data.buckets import Buckets
from clearformer.data.tokenizers import BOS, EOS, PAD
from clearformer.errors import DataError

IGNORE = -100
"""target of a position without a loss, such as padding (the default `ignore_index` of PyTorch's cross-entropy)"""

TokenPair = tuple[list[int], list[int]]
"""token ids of source and target, without BOS and EOS"""


@dataclass(frozen=True)
class TextBatch:
    """Windows of running text; the targets are the next tokens."""

    tokens: Int[NDArray[np.int64], "B T"]
    targets: Int[NDArray[np.int64], "B T"]

    @property
    def inputs(self) -> tuple[NDArray[np.int64]]:
        """The positional arguments of the model."""
        return (self.tokens,)

    @property
    def num_tokens(self) -> int:
        """Number of tokens the model reads."""
        return self.tokens.size


@dataclass(frozen=True)
class PairBatch:
    """Sources and targets. `target`, the decoder's input, begins with BOS; `targets`, its labels, end with EOS."""

    source: Int[NDArray[np.int64], "B S"]
    target: Int[NDArray[np.int64], "B T"]
    source_real: Bool[NDArray[np.bool_], "B S"]
    target_real: Bool[NDArray[np.bool_], "B T"]
    targets: Int[NDArray[np.int64], "B T"]

    @property
    def inputs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """The positional arguments of the model."""
        return (self.source, self.target, self.source_real, self.target_real)

    @property
    def num_tokens(self) -> int:
        """Number of tokens the model reads, padding included."""
        return self.source.size + self.target.size


@dataclass(frozen=True)
class EncoderBatch:
    """What an encoder reads. `real` is False at padding; `segments` numbers the text each token belongs to."""

    tokens: Int[NDArray[np.int64], "B T"]
    real: Bool[NDArray[np.bool_], "B T"]
    segments: Int[NDArray[np.int64], "B T"]

    @property
    def inputs(self) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
        """The positional arguments of the model."""
        return (self.tokens, self.real, self.segments)

    @property
    def num_tokens(self) -> int:
        """Number of tokens the model reads, padding included."""
        return self.tokens.size


@runtime_checkable
class Batch(Protocol):
    """What the training loop and evaluation need of a batch."""

    @property
    def inputs(self) -> tuple[NDArray[Any], ...]:
        """The positional arguments of the model."""
        ...

    @property
    def targets(self) -> NDArray[np.int64]:
        """The expected outputs; IGNORE where there is no loss."""
        ...

    @property
    def num_tokens(self) -> int:
        """Number of tokens the model reads, padding included."""
        ...


@runtime_checkable
class Batches(Protocol):
    """A split of a corpus in batches, for training and for evaluation."""

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches that hold about as many tokens as the split."""
        ...

    def batch(self, step: int) -> Batch:
        """The training batch of step 0, 1, 2, …; there is no last one."""
        ...

    def in_order(self, max_tokens: int | None = None) -> Iterator[Batch]:
        """Every token once, for evaluation; about `max_tokens` of them at most."""
        ...


@dataclass(frozen=True)
class Windows:
    """Windows of `context` tokens from one text, `batch_tokens` in a batch. The text may be mapped from a file."""

    tokens: Integer[NDArray[np.integer[Any]], " tokens"]
    context: int
    batch_tokens: int
    seed: int

    @property
    def batch_size(self) -> int:
        return max(1, self.batch_tokens // self.context)

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches that hold about as many tokens as the split."""
        return max(1, len(self.tokens) // (self.batch_size * self.context))


def in_parts(tokens: NDArray[Any], size: int = 1 << 20) -> Iterator[NDArray[Any]]:
    """Consecutive parts of an array: what is computed from one needs no memory for a whole that lies on the disk."""
    return (tokens[start : start + size] for start in range(0, len(tokens), size))


@dataclass(frozen=True)
class TextWindows(Windows):
    """Windows at random positions, each with the tokens that follow; both lie within the split."""

    def __post_init__(self) -> None:
        if len(self.tokens) <= self.context:
            raise DataError(
                f"a text of more than {self.context} tokens was expected, one more than the model's context, "
                f"found {len(self.tokens)}; give more text or lower --model.context"
            )

    def batch(self, step: int) -> TextBatch:
        epoch, index = divmod(step, self.batches_per_epoch)
        rng = np.random.default_rng([self.seed, epoch, index])
        starts = rng.integers(0, len(self.tokens) - self.context, self.batch_size)
        return self._windows(starts, self.context)

    def in_order(self, max_tokens: int | None = None) -> Iterator[TextBatch]:
        """Consecutive blocks of `context` tokens that predict every token but the first; the last may be shorter.

        With `max_tokens`, only full blocks, and at least one.
        """
        count = len(self.tokens) - 1
        if max_tokens is not None:
            count = max(self.context, min(max_tokens, count))
        starts = np.arange(0, count // self.context * self.context, self.context)
        rows = max(self.batch_size, 4096 // self.context)
        for first in range(0, len(starts), rows):
            yield self._windows(starts[first : first + rows], self.context)
        if max_tokens is None and count % self.context:
            yield self._windows(np.array([count - count % self.context]), count % self.context)

    def _windows(self, starts: NDArray[np.int64], length: int) -> TextBatch:
        indices = starts[:, None] + np.arange(length)
        return TextBatch(*(self.tokens[at].astype(np.int64, copy=False) for at in (indices, indices + 1)))


class PairBuckets(Buckets[TokenPair, PairBatch]):
    """Pairs of similar length, as many in a batch as fit into `batch_tokens`, padding included."""

    def __init__(self, pairs: Sequence[TokenPair], batch_tokens: int, seed: int) -> None:
        # plus EOS behind the source and BOS before the target
        lengths = np.array([(len(source) + 1, len(target) + 1) for source, target in pairs])
        super().__init__(pairs, lengths, collate, batch_tokens, seed)
        self.pairs = pairs


def collate(pairs: Sequence[TokenPair]) -> PairBatch:
    """Pad pairs into a batch."""
    source = pad([[*source, EOS] for source, _ in pairs], PAD)
    target = pad([[BOS, *target] for _, target in pairs], PAD)
    targets = pad([[*target, EOS] for _, target in pairs], IGNORE)
    real = np.arange(source.shape[1]) < np.array([[len(source) + 1] for source, _ in pairs])
    return PairBatch(source, target, real, targets != IGNORE, targets)


def pad(rows: Sequence[Sequence[int]], value: int) -> Int[NDArray[np.int64], "B T"]:
    """Rows of different lengths as one array, padded on the right with `value`."""
    padded = np.full((len(rows), max(map(len, rows))), value, dtype=np.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = row
    return padded
