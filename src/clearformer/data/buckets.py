"""Buckets: examples of like length side by side, as many as fit into a batch with their padding.

From epoch to epoch examples of equal lengths change places, and so do the batches. The lengths in sorted order are the
same every time, so every epoch has the same number of batches.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

Item = TypeVar("Item")
Rectangle = TypeVar("Rectangle")


class Buckets(Generic[Item, Rectangle]):
    """`items` in batches of at most `batch_tokens`, or of one item; `collate` puts items into a batch.

    `lengths` says of each item how long each of its N sequences is (a pair has two), begin and end included.
    """

    def __init__(
        self,
        items: Sequence[Item],
        lengths: Int[NDArray[np.int64], "items N"],
        collate: Callable[[Sequence[Item]], Rectangle],
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

    def batch(self, step: int) -> Rectangle:
        epoch, index = divmod(step, self.batches_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:  # remembered, since a sort a batch would be slow
            rng = np.random.default_rng([self.seed, epoch])
            self._epoch = epoch, self._sorted(rng.random(len(self._items))), rng.permutation(len(self._bounds))
        _, order, batches = self._epoch
        first, last = self._bounds[batches[index]]
        return self._collate([self._items[place] for place in order[first:last]])

    def in_order(self, most_tokens: int | None = None) -> Iterator[Rectangle]:
        """From the shortest to the longest; with `most_tokens`, batches evenly spread over the lengths."""
        order, count = self._sorted(np.zeros(len(self._items))), len(self._bounds)
        wanted = count if most_tokens is None else min(count, max(1, most_tokens // self.batch_tokens))
        for index in range(wanted):
            first, last = self._bounds[(2 * index + 1) * count // (2 * wanted)]
            yield self._collate([self._items[place] for place in order[first:last]])

    def _sorted(self, tie_breaks: Float[NDArray[np.float64], " items"]) -> Int[NDArray[np.int64], " items"]:
        """The items' places, from the shortest to the longest."""
        return np.lexsort((tie_breaks, *self._lengths.T[::-1], self._lengths.max(1)))

    def _cut(self, lengths: Int[NDArray[np.int64], "items N"]) -> list[tuple[int, int]]:
        """Where each batch begins and ends in the sorted order."""
        bounds, first, longest = [], 0, lengths[0]
        for place, length in enumerate(lengths):
            longest = np.maximum(longest, length)
            if place > first and (place - first + 1) * longest.sum() > self.batch_tokens:
                bounds.append((first, place))
                first, longest = place, length
        return [*bounds, (first, len(lengths))]
