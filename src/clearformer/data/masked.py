"""Batches for a masked language model, which predicts hidden tokens from both sides.

A share `mask_share` of the tokens is chosen. Of these, 80 % become <mask>, 10 % a random token, 10 % stay unchanged.
Only the chosen tokens are targets.                 Devlin et al. 2018, arXiv:1810.04805, section 3.1
Masking is dynamic: every epoch chooses other tokens.          Liu et al. 2019, arXiv:1907.11692
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

from clearformer.data.batches import IGNORE, EncoderBatch, Windows, in_parts
from clearformer.data.tokenizers import MASK
from clearformer.errors import DataError

MASKED, REPLACED = 0.8, 0.1
"""shares of the chosen tokens that become <mask> and a random token"""
EVALUATION = 1
"""a fourth number in the seed, which separates the random numbers of evaluation from those of training"""


@dataclass(frozen=True)
class MaskedBatch(EncoderBatch):
    """Windows of text with hidden tokens; `targets` has the original of each chosen token, IGNORE elsewhere."""

    targets: Int[NDArray[np.int64], "B T"]


@dataclass(frozen=True)
class MaskedWindows(Windows):
    """Windows at random positions, with tokens hidden. Special tokens are never chosen."""

    vocab_size: int
    mask_share: float
    hole: int = MASK
    """the id of <mask>"""
    special: tuple[int, ...] = tuple(range(MASK + 1))
    """ids that are never chosen, and never put in place of others; `hole` is one of them"""

    def __post_init__(self) -> None:
        if len(self.tokens) < self.context:
            raise DataError(
                f"a text of at least {self.context} tokens was expected, the model's context, "
                f"found {len(self.tokens)}; give more text or lower --model.context"
            )
        if all(np.isin(part, self.special).all() for part in in_parts(self.tokens)):
            raise DataError(
                "a text with tokens to predict was expected, but all of its tokens are special ones such as <unk>; "
                "train the tokenizer on similar text"
            )

    def batch(self, step: int) -> MaskedBatch:
        epoch, index = divmod(step, self.batches_per_epoch)
        rng = np.random.default_rng([self.seed, epoch, index])
        original = np.zeros((0, 0), dtype=np.int64)
        while np.isin(original, self.special).all():  # nothing to predict in windows of <unk> only: draw others
            starts = rng.integers(0, len(self.tokens) - self.context + 1, self.batch_size)
            original = self.tokens[starts[:, None] + np.arange(self.context)].astype(np.int64, copy=False)
        return self._batch(original, *self._mask(original, rng))

    def in_order(self, max_tokens: int | None = None) -> Iterator[MaskedBatch]:
        """Consecutive blocks of `context` tokens; the last may be shorter.

        The mask of a block depends only on the seed and the block's position, so every evaluation uses the same one.
        With `max_tokens`, only full blocks, and at least one.
        """
        count = len(self.tokens)
        if max_tokens is not None:
            count = max(self.context, min(max_tokens, count) // self.context * self.context)
        rows = max(self.batch_size, 4096 // self.context)
        end = count // self.context * self.context  # of the last full block
        for first in range(0, end, rows * self.context):
            stop = min(first + rows * self.context, end)
            yield self._evaluation_batch(range(first, stop, self.context), self.context)
        if end < count:
            yield self._evaluation_batch(range(end, end + 1), count - end)

    def _evaluation_batch(self, starts: range, length: int) -> MaskedBatch:
        original = np.stack([self.tokens[start : start + length] for start in starts]).astype(np.int64, copy=False)
        rows = [
            self._mask(row[None], np.random.default_rng([self.seed, 0, start, EVALUATION]))
            for start, row in zip(starts, original, strict=True)
        ]
        return self._batch(original, *(np.concatenate(part) for part in zip(*rows, strict=True)))

    @staticmethod
    def _batch(
        original: Int[NDArray[np.int64], "B T"],
        tokens: Int[NDArray[np.int64], "B T"],
        chosen: Bool[NDArray[np.bool_], "B T"],
    ) -> MaskedBatch:
        targets = np.where(chosen, original, IGNORE)
        return MaskedBatch(tokens, np.ones_like(chosen), np.zeros_like(tokens), targets)

    def _mask(
        self, tokens: Int[NDArray[np.int64], "B T"], rng: np.random.Generator
    ) -> tuple[Int[NDArray[np.int64], "B T"], Bool[NDArray[np.bool_], "B T"]]:
        """`tokens` with about `mask_share` of them hidden, and the chosen ones: at least one, if any may be."""
        priority, action = rng.random(tokens.shape), rng.random(tokens.shape)
        priority[np.isin(tokens, self.special)] = np.inf
        chosen = priority < self.mask_share
        if not chosen.any():
            chosen = (priority == priority.min()) & np.isfinite(priority)
        ordinary = np.setdiff1d(np.arange(self.vocab_size), self.special)
        random = ordinary[rng.integers(0, len(ordinary), tokens.shape)]
        hidden = np.where(action < MASKED, self.hole, np.where(action < MASKED + REPLACED, random, tokens))
        return np.where(chosen, hidden, tokens), chosen
