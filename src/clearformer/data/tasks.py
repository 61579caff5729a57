"""Generated tasks: turn a string of letters round, or copy it. Endless, offline, and right answers are known.

A corpus is a function of its seed and sizes alone, so it is the same on every machine. `dates.py` has another task.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from clearformer.data.corpora import Pair, PairCorpus
from clearformer.errors import DataError

Item = TypeVar("Item")
Sizes = tuple[int, int, int]
"""pairs in train, validation and test"""

SIZES: Sizes = (20_000, 500, 1_000)
LONGEST = 20
"""letters in the longest string"""


def reverse(seed: int = 1, sizes: Sizes = SIZES) -> PairCorpus:
    """Pairs such as `abc` -> `cba`. The strings are distinct, so no split has a source of another.

    Lengths run from 1 to LONGEST, evenly, except that there are only 26 strings of one letter and 676 of two.
    Raises DataError for a split without a pair.
    """
    return _on_strings("reverse", lambda text: text[::-1], seed, sizes)


def copy(seed: int = 1, sizes: Sizes = SIZES) -> PairCorpus:
    """Pairs such as `abc` -> `abc`, with the sources of `reverse`. Raises DataError for a split without a pair."""
    return _on_strings("copy", lambda text: text, seed, sizes)


def cut(items: list[Item], sizes: Sizes) -> tuple[list[Item], list[Item], list[Item]]:
    """The first of `items` for train, the next for validation, the next for test: a partition, so nothing is shared.

    Raises DataError for a split without an item, or where there are fewer items than the splits want together.
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
    return PairCorpus(name, *cut(pairs, sizes))


def _distinct_strings(count: int, seed: int) -> list[str]:
    """`count` different strings of a to z, in random order."""
    rng = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        lengths = rng.integers(1, LONGEST + 1, count)
        letters = rng.integers(ord("a"), ord("z") + 1, (count, LONGEST), dtype=np.uint8)
        found |= dict.fromkeys(
            row[:length].tobytes().decode("ascii") for row, length in zip(letters, lengths, strict=True)
        )
    # Early strings have more of the short ones, which run out: shuffled, every split gets its share of them.
    strings = list(found)[:count]
    return [strings[index] for index in rng.permutation(len(strings))]
