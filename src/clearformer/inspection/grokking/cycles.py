"""Operations modulo a prime p as additions on a circle, so that one Fourier analysis serves them all.

    add, subtract:     number j stands at place j of a circle of n = p places
    multiply, divide:  number g^j stands at place j of a circle of n = p - 1 places      g: a primitive root of p

Multiplying adds exponents: g^i g^j = g^(i + j), and the powers of g pass every number but zero once. Zero has no
place there: equations with it are left out of what is measured on the circle, and so is its logit. Subtracting and
dividing add the second operand's place counted backwards.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearformer.config import Operation
from clearformer.errors import InspectionError

CYCLIC: tuple[Operation, ...] = ("add", "subtract", "multiply", "divide")
"""operations that are additions on a circle"""


@dataclass(frozen=True)
class Cycle:
    """The numbers at the n places of the circle: `first` + `second` = `first`, place by place, is the operation."""

    first: Int[Tensor, " n"]
    """of the first operand, and of the answer"""
    second: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.first)

    def pairs(self, x: Float[Tensor, "p p *rest"] | Bool[Tensor, "p p *rest"]) -> Tensor:
        """What belongs to the equation of first[i] and second[j], at [i, j]."""
        return x[self.first[:, None], self.second]

    def logits(self, logits: Float[Tensor, "p p p"]) -> Float[Tensor, "n n n"]:
        """The logit of the answer first[k], at [i, j, k]; the right k is (i + j) modulo n."""
        return self.pairs(logits)[..., self.first]


def powers(p: int) -> Int[Tensor, " n"]:
    """The powers 0 … p - 2 of the smallest primitive root of the prime p: all numbers but zero, each once."""
    for root in range(1, p):
        found = [pow(root, exponent, p) for exponent in range(p - 1)]
        if set(found) == set(range(1, p)):
            return torch.tensor(found)
    raise InspectionError(f"a prime was expected as modulus, found {p}, which has no primitive root")


def cycle(operation: Operation, p: int) -> Cycle:
    """The circle of an operation modulo the prime p. Raises InspectionError for one that is no addition on a circle."""
    if operation not in CYCLIC:
        raise InspectionError(
            f"an operation that is an addition on a circle was expected ({', '.join(CYCLIC)}), found {operation!r}: "
            "there the answer is not the sum of a place for a and a place for b, so that no frequencies rebuild it; "
            "its losses, accuracies and norms can still be measured"
        )
    numbers = torch.arange(p) if operation in ("add", "subtract") else powers(p)
    backwards = numbers[-torch.arange(len(numbers)) % len(numbers)]
    return Cycle(numbers, backwards if operation in ("subtract", "divide") else numbers)
