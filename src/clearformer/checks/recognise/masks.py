"""The convention in which a model expects an attention mask, found by trying all.

A mask here is boolean [B, 1, T, S], or [B, 1, 1, S] for all queries, and True where a query may attend.
"""

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from clearformer.checks.recognise import trial

MEANINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "True may attend": lambda mask: mask,
    "True hides": lambda mask: ~mask,
    "1 may attend": lambda mask: mask.long(),
    "-inf is added": lambda mask: torch.zeros(mask.shape).masked_fill(~mask, -math.inf),
}
Candidate = TypeVar("Candidate")
REPLACED = 3
"""the position at which a token is replaced to see what it influences"""
MIN_CHANGE = 1e-4
"""standard deviations of the logits, as in the checks"""


@dataclass(frozen=True)
class Convention:
    """The meaning and shape of a mask."""

    meaning: str
    rank: int
    """4: unchanged; 3: without the axis of heads; 2: [B, S], or [T, S] where it is per query"""
    per_query: bool
    """whether each query has a row of its own, as in a causal mask"""

    def convert(self, mask: Tensor) -> Tensor:
        converted = MEANINGS[self.meaning](mask)
        by_rank = {
            4: converted,
            3: converted[:, 0],
            2: converted[0, 0] if self.per_query else converted[:, 0, 0],
        }
        return by_rank[self.rank]

    @property
    def description(self) -> str:
        """Such as "[B, 1, S], True hides"."""
        queries = "T" if self.per_query else "1"
        shapes = {4: f"[B, 1, {queries}, S]", 3: f"[B, {queries}, S]", 2: "[T, S]" if self.per_query else "[B, S]"}
        return f"{shapes[self.rank]}, {self.meaning}"


def padding_mask(real: Tensor) -> Tensor:
    """[B, 1, 1, S] from real [B, S]."""
    return real[:, None, None, :]


def causal_mask(real: Tensor) -> Tensor:
    """[B, 1, T, T] from real [B, T]: the real tokens up to each query."""
    T = real.shape[1]  # noqa: N806
    return padding_mask(real) & torch.ones(T, T, dtype=torch.bool).tril()


def first_correct(
    candidates: Iterable[Candidate], runs: Callable[[Candidate], bool], is_correct: Callable[[Candidate], bool]
) -> Candidate | None:
    """The first that runs and is correct; else the first that runs, so that the checks can say what is wrong.

    One with which the model raises an error where something is hidden is not correct.
    """
    fallback = None
    for candidate in candidates:
        if runs(candidate):
            with contextlib.suppress(Exception):
                if is_correct(candidate):
                    return candidate
            fallback = fallback or candidate
    return fallback


def hides_the_future(logits: Callable[[Tensor], Tensor], tokens: Tensor) -> bool:
    """Whether a token changes later logits and no earlier ones. `logits` takes tokens."""
    changed = _changed_positions(logits, tokens)
    return bool(changed[REPLACED + 1 :].any() and not changed[:REPLACED].any())


def hides_padding(logits: Callable[[Tensor, Tensor], Tensor], tokens: Tensor) -> bool:
    """Whether a token changes later logits, unless it is masked as padding. `logits` takes tokens and real."""
    real = torch.ones(tokens.shape[:2], dtype=torch.bool)
    masked = real.clone()
    masked[:, REPLACED] = False
    later = slice(REPLACED + 1, None)
    has_influence = _changed_positions(lambda x: logits(x, real), tokens)[later].any()
    return bool(has_influence and not _changed_positions(lambda x: logits(x, masked), tokens)[later].any())


def _changed_positions(logits: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """Boolean [T]: where replacing one token changes the logits; of a classifier the same at all positions."""
    before, after = logits(tokens), logits(trial.replace_token(tokens, REPLACED))
    changed = (before - after).abs().amax(-1).amax(0) > MIN_CHANGE * before.std()
    return changed if changed.dim() else changed.expand(tokens.shape[1])
