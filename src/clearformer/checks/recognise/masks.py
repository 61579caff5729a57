"""In which shape, and with which meaning, a model wants to be told who may attend to whom: found by trying.

A mask here is [B, 1, T, S], or [B, 1, 1, S] for all queries, True where a query may attend.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from clearformer.checks.recognise import introspection

MEANINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "True may attend": lambda may: may,
    "True hides": lambda may: ~may,
    "1 may attend": lambda may: may.long(),
    "-inf is added": lambda may: torch.zeros(may.shape).masked_fill(~may, -math.inf),
}
Way = TypeVar("Way")
CHANGED = 3
"""where a token is exchanged to see what it moves"""
MOVED = 1e-4
"""a share of the logits' spread, as in the checks"""


@dataclass(frozen=True)
class Convention:
    """How a mask is handed over."""

    meaning: str
    rank: int
    """4: as it is; 3: without the axis of heads; 2: [B, S], or [T, S] where each query has its own"""
    each: bool
    """whether it is for each query, and not for all"""

    def build(self, may: Tensor) -> Tensor:
        mask = MEANINGS[self.meaning](may)
        shapes = {4: mask, 3: mask[:, 0], 2: mask[0, 0] if self.each else mask[:, 0, 0]}
        return shapes[self.rank]

    @property
    def words(self) -> str:
        """Such as "[B, 1, S], True hides"."""
        queries = "T" if self.each else "1"
        shapes = {4: f"[B, 1, {queries}, S]", 3: f"[B, {queries}, S]", 2: "[T, S]" if self.each else "[B, S]"}
        return f"{shapes[self.rank]}, {self.meaning}"


def of_real(real: Tensor) -> Tensor:
    """The real tokens, for all queries."""
    return real[:, None, None, :]


def causal(real: Tensor) -> Tensor:
    """The real tokens up to each query."""
    T = real.shape[1]  # noqa: N806
    return of_real(real) & torch.ones(T, T, dtype=torch.bool).tril()


def choose(ways: Iterable[Way], runs: Callable[[Way], bool], right: Callable[[Way], bool]) -> Way | None:
    """The first that runs and does what it should; else the first that runs, so that checks can say what is wrong."""
    first = None
    for way in ways:
        if runs(way):
            if right(way):
                return way
            first = first or way
    return first


def hides_the_future(logits: Callable[[Tensor], Tensor], tokens: Tensor) -> bool:
    """A token moves what comes after it and nothing before it."""
    moved = _moved_by_one(logits, tokens)
    return bool(moved[CHANGED + 1 :].any() and not moved[:CHANGED].any())


def hides_padding(logits: Callable[[Tensor, Tensor], Tensor], tokens: Tensor) -> bool:
    """A token moves those after it, unless it is said to be none."""
    real = torch.ones_like(tokens, dtype=torch.bool)
    without = real.clone()
    without[:, CHANGED] = False
    after = slice(CHANGED + 1, None)
    seen = _moved_by_one(lambda given: logits(given, real), tokens)[after].any()
    return bool(seen and not _moved_by_one(lambda given: logits(given, without), tokens)[after].any())


def _moved_by_one(logits: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """[T], which places' logits an exchange of one token moves; a classifier's are those of all places."""
    a, b = logits(tokens), logits(introspection.exchanged(tokens, CHANGED))
    moved = (a - b).abs().amax(-1).amax(0) > MOVED * a.std()
    return moved if moved.dim() else moved.expand(tokens.shape[1])
