"""Equations modulo a prime: all a ∘ b = c, of which a share is learned and the rest held out.

    a    b    =             c              three tokens, and the one that follows the last

So a model can only answer the held-out ones by the rule.          Power et al. 2022, arXiv:2201.02177, section 2
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import tokenizers
from jaxtyping import Int
from numpy.typing import NDArray
from tokenizers import models, pre_tokenizers

from clearformer.config import ModularConfig, Operation
from clearformer.data.batches import IGNORE, TextBatch
from clearformer.data.corpora import EquationCorpus
from clearformer.data.tokenizers import MASK, SPECIAL, UNK, Tokenizer
from clearformer.errors import DataError

Numbers = Int[NDArray[np.int64], "*N"]

FIRST_NUMBER = MASK
"""the token of the number 0; that of n is n more, and the equals sign follows the last"""
LENGTH = 3
"""tokens before the answer"""

OPERATIONS: dict[Operation, tuple[str, Callable[[Numbers, Numbers, int], Numbers]]] = {
    "add": ("a + b", lambda a, b, p: (a + b) % p),
    "subtract": ("a - b", lambda a, b, p: (a - b) % p),
    "multiply": ("a * b", lambda a, b, p: a * b % p),
    "divide": ("a / b", lambda a, b, p: a * np.array([0, *(pow(n, -1, p) for n in range(1, p))])[b] % p),
    "quadratic": ("a^2 + ab + b^2", lambda a, b, p: (a * a + a * b + b * b) % p),
}
"""how an operation is written, and what it computes; division takes b from 1 on"""


def equations(config: ModularConfig, seed: int) -> EquationCorpus:
    """All equations of the operation, split at random by the seed. Raises DataError if a split would be empty."""
    p = config.modulus
    formula, operate = OPERATIONS[config.operation]
    a, b = np.divmod(np.arange(p * p), p)
    if config.operation == "divide":
        a, b = a[b > 0], b[b > 0]
    table = np.stack((a, b, operate(a, b, p)), -1)
    chosen = [tuple(row) for row in table[np.random.default_rng(seed).permutation(len(table))].tolist()]
    count = round(config.train_fraction * len(chosen))
    if not 0 < count < len(chosen):
        raise DataError(
            f"at least one equation to learn and one to hold out were expected, found {count} of {len(chosen)} to "
            "learn; change --modular.train-fraction"
        )
    return EquationCorpus(f"{formula} mod {p}", chosen[:count], chosen[count:])


def question(a: int, b: int) -> str:
    """The text before the answer."""
    return f"{a} {b} ="


def number_tokenizer(modulus: int) -> Tokenizer:
    """Tokens are what stands between spaces: the numbers below the modulus and the equals sign."""
    words = [*SPECIAL[:MASK], *map(str, range(modulus)), "="]
    backend = tokenizers.Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, SPECIAL[UNK]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Tokenizer(backend)


@dataclass(frozen=True)
class Equations:
    """A split in batches: all of it, or as many equations as `batch_tokens` allow, drawn at random for each step.

    Only the token that follows the last, the answer, is predicted.
    """

    rows: Int[NDArray[np.int64], "N 3"]
    modulus: int
    batch_tokens: int
    seed: int

    @property
    def batch_size(self) -> int:
        return min(len(self.rows), max(1, self.batch_tokens // LENGTH))

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches that hold about as many tokens as the split."""
        return len(self.rows) // self.batch_size

    def batch(self, step: int) -> TextBatch:
        if self.batch_size == len(self.rows):
            return self._batch(self.rows)
        rng = np.random.default_rng([self.seed, step])
        return self._batch(self.rows[rng.choice(len(self.rows), self.batch_size, replace=False)])

    def in_order(self, max_tokens: int | None = None) -> Iterator[TextBatch]:
        """Every equation once, or the first that `max_tokens` allow, at least one."""
        count = len(self.rows) if max_tokens is None else max(1, max_tokens // LENGTH)
        chosen = self.rows[:count]
        for first in range(0, len(chosen), self.batch_size):
            yield self._batch(chosen[first : first + self.batch_size])

    def _batch(self, rows: Int[NDArray[np.int64], "N 3"]) -> TextBatch:
        tokens, targets = rows + FIRST_NUMBER, np.full_like(rows, IGNORE)
        targets[:, -1] = tokens[:, -1]
        tokens[:, -1] = FIRST_NUMBER + self.modulus
        return TextBatch(tokens, targets)
