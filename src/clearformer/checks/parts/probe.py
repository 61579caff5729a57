"""A part of a transformer as its author gave it, a function or a module, and how it wants to be called."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from clearformer.checks.load.errors import describe_error
from clearformer.checks.outcome import ModelCrashed
from clearformer.errors import ClearformerError

Found = TypeVar("Found")

USUAL = (16, 32, 64, 8, 128, 256, 384, 512, 768, 1024)
"""widths that are tried where no weight tells it"""
SAME = 2e-5
"""a share of the numbers' size: float32 stayed below 2e-6 in correct parts, the smallest mistake is above 1e-4"""


@dataclass(frozen=True)
class PartSubject:
    """A part, and what it is meant to be where several ways are right: `Meant(part, {"layout": "interleaved"})`.

    attention: `mask` ("allow", "hide" or "additive"), `scale`, `causal`; norms: `eps`; sinusoidal: `layout`
    ("interleaved" or "halves"), `base`; rotary: `layout` ("interleaved" or "half-split"), `base`;
    mask: `mask` ("allow", "hide" or "additive").
    """

    part: Any
    says: dict[str, Any] = field(default_factory=dict)


class PartProbe(ABC):
    """What all parts have in common. A subclass finds out how to call the part; it raises ModelCrashed if it cannot."""

    declarable: ClassVar[dict[str, tuple[str | bool, ...]]] = {}
    """what Meant may say of it, and in which words; none: a number"""

    def __init__(self, meant: PartSubject, seed: int, memory: dict[str, Any]) -> None:
        """`memory` is what the checks of one part share, so that how to call it is found out once."""
        self.target = meant.part
        self.says = meant.says
        self.memory = memory
        self.generator = torch.Generator().manual_seed(seed)

    def find(self, attempts: Iterable[Callable[[], Found]], wanted: str) -> Found:
        """What the first attempt returns that does not crash. `wanted` says how the part should be called."""
        tried = list(attempts)
        if "crash" in self.memory:
            raise ModelCrashed(self.memory["crash"])
        if "works" not in self.memory:
            try:
                self.memory["works"] = first_working([partial(_number, *pair) for pair in enumerate(tried)])
            except ModelCrashed as crash:
                self.memory["crash"] = f"{wanted} was expected; called so, it said: {crash}"
                raise ModelCrashed(self.memory["crash"]) from None
        return tried[self.memory["works"]]()

    @abstractmethod
    def example(self) -> tuple[Any, ...]:
        """Arguments to call it with."""

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def raw(self, *arguments: Any, **named: Any) -> Any:
        """What the part returns; what it raises becomes ModelCrashed."""
        try:
            return self.target(*arguments, **named)
        except Exception as error:
            raise ModelCrashed(describe_error(error)) from error

    def call(self, *arguments: Any, shape: Iterable[int], **named: Any) -> Tensor:
        """The first tensor that it returns, in float64; the arguments are copies, in case it writes into them."""
        tensor = tensor_of(self.raw(*copied(arguments), **named))
        if list(tensor.shape) != list(shape):
            raise ModelCrashed(f"a tensor {list(shape)} was expected, found {list(tensor.shape)}")
        return tensor.double()

    def widths(self) -> Iterator[int]:
        """Sizes that the width may have: those of the weights first."""
        sizes: dict[int, None] = {}
        if isinstance(self.target, nn.Module):
            for tensor in (*self.target.parameters(), *self.target.buffers()):
                sizes |= dict.fromkeys(size for size in tensor.shape if 1 < size <= 4096)
        yield from dict.fromkeys((*sizes, *USUAL))


def copied(arguments: Iterable[Any]) -> list[Any]:
    return [argument.clone() if isinstance(argument, Tensor) else argument for argument in arguments]


def tensor_of(out: Any) -> Tensor:
    """What came back, or the first of several, such as (output, weights)."""
    first = out[0] if isinstance(out, tuple | list) and out else out
    if not isinstance(first, Tensor):
        raise ModelCrashed(f"a tensor was expected, found {type(first).__name__}")
    return first.detach() if not torch.is_grad_enabled() else first


def first_working(attempts: Iterable[Callable[[], Found]]) -> Found:
    """What the first attempt returns that does not crash; where all do, the first crash is raised."""
    errors = []
    for invoke in attempts:
        try:
            return invoke()
        except ModelCrashed as error:
            errors.append(str(error))
    raise ModelCrashed(errors[0])


def _number(number: int, invoke: Callable[[], Any]) -> int:
    invoke()
    return number


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the size of what was expected; infinite where one of them is NaN."""
    found, expected = found.double(), expected.double()
    size = max(float(expected.nan_to_num().square().mean().sqrt()), 1e-12)
    difference = (found - expected).abs().masked_fill(found.isnan() & expected.isnan(), 0.0)
    return float(difference.nan_to_num(nan=torch.inf).max()) / size


def closest(found: Tensor, formulas: dict[str, Tensor], tolerance: float) -> str:
    """The name of the formula that gives these numbers; "other" if none does."""
    name = min(formulas, key=lambda name: apart(found, formulas[name]), default="other")
    return name if name in formulas and apart(found, formulas[name]) <= tolerance else "other"


def validate_declared(meant: PartSubject, declarable: dict[str, tuple[str | bool, ...]]) -> None:
    """Raises ClearformerError where Meant says what nobody asked for."""
    for name, value in meant.says.items():
        if name not in declarable:
            wanted = f"one of {', '.join(may_say)}" if declarable else "nothing"
            raise ClearformerError(f"{wanted} was expected in what Meant says of this part, found {name!r}")
        words = declarable[name]
        if value not in words if words else not isinstance(value, int | float):
            wanted = f"one of {', '.join(map(repr, words))}" if words else "a number"
            raise ClearformerError(f"{wanted} was expected for {name!r} in what Meant says, found {value!r}")
