"""Buckets: batches of examples of similar length, so that there is little padding.

Every epoch shuffles the examples of equal length, and the batches. The sorted lengths never change, so every epoch has
the same number of batches.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

Item = TypeVar("Item")
BatchType = TypeVar("BatchType")


class Buckets(Generic[Item, BatchType]):
    """Batches of at most `batch_tokens` tokens, padding included, or of a single item.

    `lengths` are the lengths of each item's sequences (a pair has two), BOS and EOS included. `collate` pads items into
    a batch.
    """

    def __init__(
        self,
        items: Sequence[Item],
        lengths: Int[NDArray[np.int64], "items sequences"],
        collate: Callable[[Sequence[Item]], BatchType],
        batch_tokens: int,
        seed: int,
    ) -> None:
        self.batch_tokens = batch_tokens
        self.seed = seed
        self._items, self._lengths, self._collate = items, lengths, collate
        self._bounds = self._cut(lengths[self._sorted(np.zeros(len(items)))])
        self._epoch: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def batches_per_epoch(self) -> int:
        return len(self._bounds)

    def batch(self, step: int) -> BatchType:
        epoch, index = divmod(step, self.batches_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:  # cached: sorting for every batch would be slow
            rng = np.random.default_rng([self.seed, epoch])
            self._epoch = epoch, self._sorted(rng.random(len(self._items))), rng.permutation(len(self._bounds))
        _, order, batches = self._epoch
        first, last = self._bounds[batches[index]]
        return self._collate([self._items[i] for i in order[first:last]])

    def in_order(self, max_tokens: int | None = None) -> Iterator[BatchType]:
        """Batches from the shortest to the longest; with `max_tokens`, a sample spread evenly over the lengths."""
        order, total = self._sorted(np.zeros(len(self._items))), len(self._bounds)
        selected = total if max_tokens is None else min(total, max(1, max_tokens // self.batch_tokens))
        for number in range(selected):
            first, last = self._bounds[(2 * number + 1) * total // (2 * selected)]
            yield self._collate([self._items[i] for i in order[first:last]])

    def _sorted(self, tie_breaks: Float[NDArray[np.float64], " items"]) -> Int[NDArray[np.int64], " items"]:
        """Indices of the items, from the shortest to the longest."""
        return np.lexsort((tie_breaks, *self._lengths.T[::-1], self._lengths.max(1)))

    def _cut(self, lengths: Int[NDArray[np.int64], "items sequences"]) -> list[tuple[int, int]]:
        """Start and end of each batch in the sorted order."""
        bounds, first, longest = [], 0, lengths[0]
        for index, length in enumerate(lengths):
            longest = np.maximum(longest, length)
            if index > first and (index - first + 1) * longest.sum() > self.batch_tokens:
                bounds.append((first, index))
                first, longest = index, length
        return [*bounds, (first, len(lengths))]
