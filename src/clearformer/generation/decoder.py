"""What every engine's decoder shares: growing rows of tokens, and the logits of the next token of each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray


class Decoder(ABC):
    """Several sequences that grow by a token a step, with a cache or without."""

    def __init__(self, prompts: Sequence[Sequence[int]], context: int) -> None:
        self.rows = [list(prompt) for prompt in prompts]
        self.context = context

    @abstractmethod
    def next_logits(self) -> Float[NDArray[np.float32], "B V"]:
        """Logits of the token that follows each row."""

    @abstractmethod
    def reorder_kept(self, rows: Sequence[int]) -> None:
        """What `reorder` does with all that is kept of the rows beside their tokens."""

    @abstractmethod
    def forget(self) -> None:
        """Drop the cache: the next step reads all rows anew, from position 0."""

    def append(self, tokens: Sequence[int]) -> None:
        for row, token in zip(self.rows, tokens, strict=True):
            row.append(token)

    def reorder(self, rows: Sequence[int]) -> None:
        """Let row i go on as the old row `rows[i]`; a row may go on as several, or as none."""
        self.rows = [list(self.rows[row]) for row in rows]
        self.reorder_kept(rows)

    def slide(self) -> None:
        """Forget the earlier half of the rows that are full."""
        self.rows = [row[-max(1, self.context // 2) :] if len(row) > self.context else row for row in self.rows]
        self.forget()


class CachedDecoder(Decoder):
    """`features` gives the vectors of tokens that come after those in a cache; without one, of whole sequences."""

    def __init__(
        self,
        model: Any,
        features: Callable[..., Any],
        prompts: Sequence[Sequence[int]],
        *,
        cached: bool,
        most: int,
    ) -> None:
        """`most` is how many tokens a row will hold."""
        super().__init__(prompts, model.config.context)
        self.model, self.features = model, features
        self.cached, self.most = cached, most
        self.cache: Any = None

    def forget(self) -> None:
        self.cache = None
