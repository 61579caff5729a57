"""Generated tasks: reverse a string of letters, or copy it.

The corpus is a function of its seed and sizes, so it is the same on every machine. `dates.py` has another task.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from clearformer.data.corpora import Pair, PairCorpus
from clearformer.errors import DataError

Item = TypeVar("Item")
Sizes = tuple[int, int, int]
"""number of pairs in train, validation and test"""

SIZES: Sizes = (20_000, 500, 1_000)
MAX_LETTERS = 20
"""length of the longest strings"""


def reverse(seed: int = 1, sizes: Sizes = SIZES) -> PairCorpus:
    """Pairs such as `abc` -> `cba`. The strings are distinct, so no two splits share a source.

    Lengths are uniform from 1 to MAX_LETTERS, except that there are only 26 strings of one letter and 676 of two.
    Raises DataError for an empty split.
    """
    return _on_strings("reverse", lambda text: text[::-1], seed, sizes)


def copy(seed: int = 1, sizes: Sizes = SIZES) -> PairCorpus:
    """Pairs such as `abc` -> `abc`, with the sources of `reverse`. Raises DataError for an empty split."""
    return _on_strings("copy", lambda text: text, seed, sizes)


def partition(items: list[Item], sizes: Sizes) -> tuple[list[Item], list[Item], list[Item]]:
    """Consecutive slices of `items` of the given sizes: train, validation, test.

    Raises DataError for an empty split, or if there are too few items.
    """
    if min(sizes) < 1:
        raise DataError(
            f"every split of a generated task needs at least 1 pair, found sizes {sizes}; raise the smallest"
        )
    if sum(sizes) > len(items):
        raise DataError(
            f"this task has {len(items):,} different items to share among the splits, found sizes {sizes}, "
            f"together {sum(sizes):,}; lower them"
        )
    train, validation, test = sizes
    return items[:train], items[train : train + validation], items[train + validation : train + validation + test]


def _on_strings(name: str, target: Callable[[str], str], seed: int, sizes: Sizes) -> PairCorpus:
    pairs: list[Pair] = [(text, target(text)) for text in _distinct_strings(sum(sizes), seed)]
    return PairCorpus(name, *partition(pairs, sizes))


def _distinct_strings(count: int, seed: int) -> list[str]:
    """`count` distinct strings of the letters a to z, in random order."""
    rng = np.random.default_rng(seed)
    distinct: dict[str, None] = {}
    while len(distinct) < count:
        lengths = rng.integers(1, MAX_LETTERS + 1, count)
        letters = rng.integers(ord("a"), ord("z") + 1, (count, MAX_LETTERS), dtype=np.uint8)
        distinct |= dict.fromkeys(
            row[:length].tobytes().decode("ascii") for row, length in zip(letters, lengths, strict=True)
        )
    # Short strings run out, so most come early: shuffling gives every split its share of them.
    strings = list(distinct)[:count]
    return [strings[index] for index in rng.permutation(len(strings))]
