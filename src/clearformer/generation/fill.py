"""Filling: what stood where a text has <mask>, guessed from both sides by a masked language model.

    p(token | text) = softmax(logits at its <mask>)         Devlin et al. 2018, arXiv:1810.04805, section 3.1

One forward pass fills all masks of a text, so no guess knows of another; and a mask stands for exactly one token.
A token of words or byte-pairs carries the space before it. So where " <mask>" is typed only tokens that begin with a
space are offered, and where "un<mask>" is, only others: the text around a mask stays as it was typed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from clearformer.data.batches import pad
from clearformer.data.tokenizers import MASK, PAD, SPECIAL, UNK, Tokenizer
from clearformer.engine import engine_of
from clearformer.errors import PromptError
from clearformer.generation.sampling import Sampling, probabilities

TEXTS_AT_ONCE = 100


@dataclass(frozen=True)
class Guess:
    """A token that may stand at a mask, as text, and its probability among all that may."""

    token: str
    probability: float


@dataclass(frozen=True)
class Filled:
    """The text with the likeliest tokens, and for each mask the likeliest `top` guesses, best first.

    `unknown` counts the tokens around them that the vocabulary lacks.
    """

    text: str
    masks: list[list[Guess]]
    unknown: int


class Filler:
    """Fills the masks of texts. Special tokens, and pieces of a character, are never offered."""

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.labels = [tokenizer.label(index) for index in range(tokenizer.vocab_size)]
        text = np.array(["\ufffd" not in label for label in self.labels])
        text[: len(SPECIAL)] = False
        spaced = text & np.array([len(label) > 1 and label.startswith(" ") for label in self.labels])
        bare = text & ~spaced
        self.carries_spaces = bool(spaced.any())
        """False of characters, where a space is a token of its own"""
        self.offered = {True: spaced, False: bare if bare.any() else text}
        """the tokens that may follow a typed space, and those that may not"""

    def __call__(self, texts: Sequence[str], top: int = 1) -> list[Filled]:
        """Raises PromptError for a text without a mask, or longer than the context."""
        filled: list[Filled] = []
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            filled += self._fill(texts[first : first + TEXTS_AT_ONCE], top)
        return filled

    def _fill(self, texts: Sequence[str], top: int) -> list[Filled]:
        rows = [self.encode(text) for text in texts]
        for text, row in zip(texts, rows, strict=True):
            if MASK not in row:
                raise PromptError(f"a text with a hole to fill was expected, found {text!r}; type <mask> for the hole")
        tokens = pad(rows, PAD)
        logits = engine_of(self.model).logits_of(self.model, (tokens, tokens != PAD, np.zeros_like(tokens)))
        filled = []
        for text, row, scores in zip(texts, rows, logits, strict=True):
            at_masks = scores[: len(row)][np.array(row) == MASK]
            filled.append(self._guess(text.split(SPECIAL[MASK]), at_masks, top, row.count(UNK)))
        return filled

    def encode(self, text: str) -> list[int]:
        """The tokens of a text: MASK for each <mask>, and those between, without the spaces that masked tokens carry.

        Raises PromptError for a text longer than the context.
        """
        pieces = text.split(SPECIAL[MASK])
        bare = [piece[: -self._spaced(piece) or None] for piece in pieces[:-1]]
        first, *others = self.tokenizer.encode_many([*bare, pieces[-1]])
        tokens = [*first, *(index for ids in others for index in (MASK, *ids))]
        context = self.model.config.context
        if len(tokens) > context:
            raise PromptError(
                f"a text of at most {context} tokens was expected, the model's context, found {len(tokens)}; shorten it"
            )
        return tokens

    def _spaced(self, piece: str) -> bool:
        """Whether the token behind `piece` carries the space that ends it."""
        return self.carries_spaces and piece.endswith(" ")

    def _guess(
        self, pieces: Sequence[str], logits: Float[NDArray[np.float32], "M V"], top: int, unknown: int
    ) -> Filled:
        text, masks = "", []
        for piece, scores in zip(pieces[:-1], logits, strict=True):
            spaced = self._spaced(piece)
            allowed = np.where(self.offered[spaced], scores, -np.inf)
            p = probabilities(allowed[None], Sampling())[0]
            best = np.argsort(-p, kind="stable")[: min(top, int(self.offered[spaced].sum()))]
            masks.append([Guess(self.labels[index], float(p[index])) for index in best])
            text += piece[: -spaced or None] + masks[-1][0].token
        return Filled(text + pieces[-1], masks, unknown)
