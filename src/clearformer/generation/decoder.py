"""What every engine's decoder shares: growing rows of tokens, and the logits of the next token of each."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

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
    def reorder(self, rows: Sequence[int]) -> None:
        """Let row i go on as the old row `rows[i]`; a row may go on as several, or as none."""

    @abstractmethod
    def forget(self) -> None:
        """Drop the cache: the next step reads all rows anew, from position 0."""

    def append(self, tokens: Sequence[int]) -> None:
        for row, token in zip(self.rows, tokens, strict=True):
            row.append(token)

    def slide(self) -> None:
        """Forget the earlier half of the rows that are full."""
        self.rows = [row[-max(1, self.context // 2) :] if len(row) > self.context else row for row in self.rows]
        self.forget()
