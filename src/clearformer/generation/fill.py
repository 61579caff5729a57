"""Filling: predict the token at each <mask> from both sides, with a masked language model.

    p(token | text) = softmax(logits at its <mask>)         Devlin et al. 2018, arXiv:1810.04805, section 3.1

One forward pass fills all masks of a text, each independently, with exactly one token. Word and byte-pair tokens
include the space before them. So only tokens that begin with a space may fill " <mask>", and only others "un<mask>":
the text around a mask stays as it was typed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from clearformer.data.batches import pad
from clearformer.data.tokenizers import MASK, PAD, SPECIAL, Tokenizer
from clearformer.engine import engine_of
from clearformer.errors import PromptError
from clearformer.generation.sampling import Sampling, probabilities

BATCH_SIZE = 100


@dataclass(frozen=True)
class Candidate:
    """A permitted token, as text, and its probability among all permitted tokens."""

    token: str
    probability: float


@dataclass(frozen=True)
class Filled:
    """The text with the likeliest tokens, and for each mask the `top` likeliest candidates, best first.

    `unknown` counts the out-of-vocabulary tokens of the text.
    """

    text: str
    masks: list[list[Candidate]]
    unknown: int


class Filler:
    """Fills the masks of texts, never with special tokens or incomplete characters."""

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.mask = MASK if tokenizer.special.mask is None else tokenizer.special.mask
        self.pad = PAD if tokenizer.special.pad is None else tokenizer.special.pad
        self.labels = [tokenizer.token_text(index) for index in range(tokenizer.vocab_size)]
        text = np.array(["\ufffd" not in label for label in self.labels])
        text[[*tokenizer.never_written, self.mask]] = False
        spaced = text & np.array([len(label) > 1 and label.startswith(" ") for label in self.labels])
        bare = text & ~spaced
        self.tokens_include_spaces = bool(spaced.any())
        """False for character tokenizers, where a space is a token"""
        self.permitted = {True: spaced, False: bare if bare.any() else text}
        """[V] masks by whether a space precedes <mask>: the tokens that may fill it"""

    def __call__(self, texts: Sequence[str], top: int = 1) -> list[Filled]:
        """Fill each text. Raises PromptError for a text without a mask, or longer than the context."""
        filled: list[Filled] = []
        for first in range(0, len(texts), BATCH_SIZE):
            filled += self._fill(texts[first : first + BATCH_SIZE], top)
        return filled

    def _fill(self, texts: Sequence[str], top: int) -> list[Filled]:
        rows = [self.encode(text) for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if self.mask not in row:
                raise PromptError(f"a text with a hole to fill was expected, found {text!r}; type <mask> for the hole")
        tokens = pad(rows, self.pad)
        logits = engine_of(self.model).logits_of(self.model, (tokens, tokens != self.pad, np.zeros_like(tokens)))
        filled = []
        for text, row, scores in zip(texts, rows, logits, strict=True):
            at_masks = scores[: len(row)][np.array(row) == self.mask]
            filled.append(
                self._fill_text(
                    text.split(SPECIAL[MASK]), at_masks, top, sum(index == self.tokenizer.special.unk for index in row)
                )
            )
        return filled

    def encode(self, text: str) -> list[int]:
        """The token ids of a text: MASK for each <mask>, without the space before it that the masked token includes.

        Raises PromptError for a text longer than the context.
        """
        pieces = text.split(SPECIAL[MASK])
        bare = [piece[: -self._spaced(piece) or None] for piece in pieces[:-1]]
        first, *others = self.tokenizer.encode_batch([*bare, pieces[-1]])
        before, behind = self.tokenizer.around
        tokens = [*before, *first, *(index for ids in others for index in (self.mask, *ids)), *behind]
        context = self.model.config.context
        if len(tokens) > context:
            raise PromptError(
                f"a text of at most {context} tokens was expected, the model's context, found {len(tokens)}; shorten it"
            )
        return tokens

    def _spaced(self, piece: str) -> bool:
        """Whether the token after `piece` includes its final space."""
        return self.tokens_include_spaces and piece.endswith(" ")

    def _fill_text(
        self, pieces: Sequence[str], logits: Float[NDArray[np.float32], "M V"], top: int, unknown: int
    ) -> Filled:
        text, masks = "", []
        for piece, scores in zip(pieces[:-1], logits, strict=True):
            spaced = self._spaced(piece)
            allowed = np.where(self.permitted[spaced], scores, -np.inf)
            p = probabilities(allowed[None], Sampling())[0]
            best = np.argsort(-p, kind="stable")[: min(top, int(self.permitted[spaced].sum()))]
            masks.append([Candidate(self.labels[index], float(p[index])) for index in best])
            text += piece[: -spaced or None] + masks[-1][0].token
        return Filled(text + pieces[-1], masks, unknown)
