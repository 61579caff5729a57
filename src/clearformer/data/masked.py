"""Masked batches: text with some of its tokens hidden, for a model that sees both sides of each to guess.

Of the tokens, `mask_share` are chosen; of the chosen 80 % become <mask>, 10 % a random token, 10 % stay as they are.
The targets are the chosen tokens alone.                        Devlin et al. 2018, arXiv:1810.04805, section 3.1
Every batch is masked anew, as it is drawn, so no epoch hides what the last one hid.  Liu et al. 2019, arXiv:1907.11692
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

from clearformer.data.batches import IGNORE, EncoderBatch, Windows
from clearformer.data.tokenizers import MASK
from clearformer.errors import DataError

MASKED, REPLACED = 0.8, 0.1
"""of the chosen tokens: the share that becomes <mask>, and the share that becomes a random token"""
MEASURED = 1
"""a fourth number of the seed, which keeps the streams of measuring apart from those of training"""


@dataclass(frozen=True)
class MaskedBatch(EncoderBatch):
    """Windows of text in which some tokens were changed; `targets` has what stood there, else IGNORE."""

    targets: Int[NDArray[np.int64], "B T"]


@dataclass(frozen=True)
class MaskedWindows(Windows):
    """Windows at random places, with tokens hidden. Special tokens are never chosen."""

    vocab_size: int
    mask_share: float

    def __post_init__(self) -> None:
        if len(self.tokens) < self.context:
            raise DataError(
                f"a text of at least {self.context} tokens was expected, the model's context, "
                f"found {len(self.tokens)}; give more text or lower --model.context"
            )
        if not (self.tokens > MASK).any():
            raise DataError(
                "a text with tokens to be guessed was expected, but all of it is special tokens such as <unk>; "
                "train the tokenizer on text like it"
            )

    def batch(self, step: int) -> MaskedBatch:
        epoch, index = divmod(step, self.batches_per_epoch)
        rng = np.random.default_rng([self.seed, epoch, index])
        original = np.zeros((0, 0), dtype=np.int64)
        while not (original > MASK).any():  # windows of nothing but <unk> have nothing to guess: draw others
            starts = rng.integers(0, len(self.tokens) - self.context + 1, self.rows)
            original = self.tokens[starts[:, None] + np.arange(self.context)]
        return self._batch(original, *mask(original, self.vocab_size, self.mask_share, rng))

    def in_order(self, most_tokens: int | None = None) -> Iterator[MaskedBatch]:
        """Blocks of `context` tokens that do not overlap; the last may be shorter.

        How a block is masked depends on the seed and its place alone, so it is the same at every measurement. With
        `most_tokens`, whole blocks alone, and at least one.
        """
        count = len(self.tokens)
        if most_tokens is not None:
            count = max(self.context, min(most_tokens, count) // self.context * self.context)
        rows = max(self.rows, 4096 // self.context)
        whole = count // self.context * self.context
        for first in range(0, whole, rows * self.context):
            yield self._measured(range(first, min(first + rows * self.context, whole), self.context), self.context)
        if whole < count:
            yield self._measured(range(whole, whole + 1), count - whole)

    def _measured(self, starts: range, length: int) -> MaskedBatch:
        original = np.stack([self.tokens[start : start + length] for start in starts])
        rows = [
            mask(row[None], self.vocab_size, self.mask_share, np.random.default_rng([self.seed, 0, start, MEASURED]))
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


def mask(
    tokens: Int[NDArray[np.int64], "B T"], vocab_size: int, share: float, rng: np.random.Generator
) -> tuple[Int[NDArray[np.int64], "B T"], Bool[NDArray[np.bool_], "B T"]]:
    """`tokens` with about `share` of them hidden, and which were chosen: at least one, if one is not special."""
    luck, fate = rng.random(tokens.shape), rng.random(tokens.shape)
    luck[tokens <= MASK] = np.inf
    chosen = luck < share
    if not chosen.any():
        chosen = (luck == luck.min()) & np.isfinite(luck)
    random = rng.integers(MASK + 1, vocab_size, tokens.shape)
    hidden = np.where(fate < MASKED, MASK, np.where(fate < MASKED + REPLACED, random, tokens))
    return np.where(chosen, hidden, tokens), chosen
