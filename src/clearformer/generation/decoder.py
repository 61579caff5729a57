"""The interface of a decoder: rows of tokens that grow, and the logits of each row's next token."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


class Decoder(ABC):
    """A batch of sequences that grow by one token per step, with or without a key-value cache."""

    def __init__(self, prompts: Sequence[Sequence[int]], context: int) -> None:
        self.rows = [list(prompt) for prompt in prompts]
        self.context = context

    @abstractmethod
    def next_logits(self) -> Float[NDArray[np.float32], "B V"]:
        """Logits of the next token of each row."""

    @abstractmethod
    def reorder_state(self, rows: Sequence[int]) -> None:
        """Reorder what is stored per row beside its tokens: the cache, and encoded sources."""

    @abstractmethod
    def clear_cache(self) -> None:
        """The next step then reads all rows again, from position 0."""

    def summarize(
        self, logits: Float[NDArray[np.float32], "B V"], columns: int
    ) -> tuple[Float[NDArray[np.float32], "B columns"], Float[NDArray[np.float64], " B"]]:
        """Maxima of each row's logits that stand `columns` apart, and log Σ exp of the row.

        What is left of V after whole multiples of `columns` is in the sum alone, which is not finite where a logit is
        NaN or +infinity.
        """
        whole = logits.shape[1] // columns * columns
        maxima = np.maximum.reduce(logits[:, :whole].reshape(len(logits), -1, columns), axis=1)
        largest = np.maximum(maxima.max(1), logits[:, whole:].max(1, initial=-np.inf))[:, None]
        with np.errstate(invalid="ignore"):  # of infinity minus infinity
            exponentials = np.subtract(logits, largest)
        return maxima, np.log(np.exp(exponentials, out=exponentials).sum(-1, dtype=np.float64)) + largest[:, 0]

    def append(self, tokens: Sequence[int]) -> None:
        for row, token in zip(self.rows, tokens, strict=True):
            row.append(token)

    def reorder(self, rows: Sequence[int]) -> None:
        """Replace row i by the old row `rows[i]`; a row may be repeated or dropped (beam search)."""
        self.rows = [list(self.rows[row]) for row in rows]
        self.reorder_state(rows)

    def slide(self) -> None:
        """Truncate rows longer than the context to its later half."""
        self.rows = [row[-max(1, self.context // 2) :] if len(row) > self.context else row for row in self.rows]
        self.clear_cache()


class ScoringDecoder(Decoder):
    """A decoder that reads several new tokens in one pass, and can take tokens back: speculative decoding needs both.

    All rows have equally many tokens that are not in the cache yet.
    """

    @abstractmethod
    def logits(self, count: int) -> Float[NDArray[np.float32], "B count V"]:
        """Logits of what follows each of the last `count` tokens of each row, which the cache did not hold yet."""

    @abstractmethod
    def shorten_cache(self) -> None:
        """Forget what the cache holds beyond the ends of the rows."""

    def next_logits(self) -> Float[NDArray[np.float32], "B V"]:
        return self.logits(1)[:, 0]

    def take_back(self, count: int) -> None:
        """Remove the last `count` tokens of each row."""
        self.rows = [row[: len(row) - count] for row in self.rows]
        self.shorten_cache()

    def unread(self, past: int) -> list[list[int]]:
        """The tokens of each row that are not in a cache whose longest row holds `past`."""
        count = max(map(len, self.rows)) - past
        return [row[-count:] for row in self.rows]


class CachedDecoder(ScoringDecoder):
    """Calls `features(tokens, cache)`: vectors of the tokens that follow those in the cache, or of whole rows."""

    def __init__(
        self,
        model: Any,
        features: Callable[..., Any],
        prompts: Sequence[Sequence[int]],
        *,
        cached: bool,
        max_length: int,
    ) -> None:
        """`max_length` is the cache's capacity, in tokens per row."""
        super().__init__(prompts, model.config.context)
        self.model, self.features = model, features
        self.cached, self.max_length = cached, max_length
        self.cache: Any = None

    def clear_cache(self) -> None:
        self.cache = None

    def shorten_cache(self) -> None:
        if self.cache is not None and self.cache.longest > max(map(len, self.rows)):
            self.cache.set_lengths([len(row) for row in self.rows])
