"""PartProbe: a part of a transformer, a function or a module, and the form in which it can be called."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from clearformer.checks.load.errors import describe_error
from clearformer.checks.outcome import ModelCrashed
from clearformer.checks.subject import PartSubject
from clearformer.errors import ClearformerError

Form = TypeVar("Form")

COMMON_WIDTHS = (16, 32, 64, 8, 128, 256, 384, 512, 768, 1024)
"""widths that are tried after those of the part's weights"""
TOLERANCE = 2e-5
"""relative error: float32 stayed below 2e-6 in correct parts, the smallest mistake is above 1e-4"""


class PartProbe(ABC):
    """A part under test. A subclass finds a form of call that works, and raises ModelCrashed if there is none."""

    declarable: ClassVar[dict[str, tuple[str | bool, ...]]] = {}
    """what PartSubject may declare, and the possible values; an empty tuple: any number"""

    def __init__(self, subject: PartSubject, seed: int, shared: dict[str, Any]) -> None:
        """`shared` is the same for all checks of a part, so that the form of call is searched only once."""
        self.part = subject.part
        self.declared = subject.declared
        self.shared = shared
        self.generator = torch.Generator().manual_seed(seed)

    def find_form(self, attempts: Iterable[Callable[[], Form]], expected: str) -> Form:
        """The result of the first attempt that does not crash. `expected` describes the accepted forms in an error."""
        attempts = list(attempts)
        if "crash" in self.shared:
            raise ModelCrashed(self.shared["crash"])
        if "works" not in self.shared:
            try:
                indexed = [partial(_index_if_it_works, *pair) for pair in enumerate(attempts)]
                self.shared["works"] = first_working(indexed)
            except ModelCrashed as crash:
                self.shared["crash"] = f"{expected} was expected; called so, it said: {crash}"
                raise ModelCrashed(self.shared["crash"]) from None
        return attempts[self.shared["works"]]()

    @abstractmethod
    def example(self) -> tuple[Any, ...]:
        """Arguments to call the part with."""

    def draw(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def call_raw(self, *arguments: Any, **keywords: Any) -> Any:
        """Whatever the part returns. Raises ModelCrashed for any error of the part."""
        try:
            return self.part(*arguments, **keywords)
        except Exception as error:
            raise ModelCrashed(describe_error(error)) from error

    def call(self, *arguments: Any, shape: Iterable[int], **keywords: Any) -> Tensor:
        """The first tensor that the part returns for copies of the arguments, in float64.

        Raises ModelCrashed unless it has that shape.
        """
        tensor = first_tensor(self.call_raw(*copied(arguments), **keywords))
        if list(tensor.shape) != list(shape):
            raise ModelCrashed(f"a tensor {list(shape)} was expected, found {list(tensor.shape)}")
        return tensor.double()

    def widths(self) -> Iterator[int]:
        """Possible widths: the sizes in the shapes of the part's tensors, then common ones."""
        sizes: dict[int, None] = {}
        if isinstance(self.part, nn.Module):
            for tensor in (*self.part.parameters(), *self.part.buffers()):
                sizes |= dict.fromkeys(size for size in tensor.shape if 1 < size <= 4096)
        yield from dict.fromkeys((*sizes, *COMMON_WIDTHS))


def copied(arguments: Iterable[Any]) -> list[Any]:
    return [argument.clone() if isinstance(argument, Tensor) else argument for argument in arguments]


def first_tensor(out: Any) -> Tensor:
    """The output, or the first of several, such as (output, weights). Raises ModelCrashed if that is no tensor."""
    first = out[0] if isinstance(out, tuple | list) and out else out
    if not isinstance(first, Tensor):
        raise ModelCrashed(f"a tensor was expected, found {type(first).__name__}")
    return first.detach() if not torch.is_grad_enabled() else first


def first_working(attempts: Iterable[Callable[[], Form]]) -> Form:
    """The result of the first attempt that does not crash; where all do, the first crash is raised."""
    errors = []
    for attempt in attempts:
        try:
            return attempt()
        except ModelCrashed as error:
            errors.append(str(error))
    raise ModelCrashed(errors[0])


def _index_if_it_works(index: int, attempt: Callable[[], Any]) -> int:
    attempt()
    return index


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the root mean square of `expected`; infinite where only one is NaN."""
    found, expected = found.double(), expected.double()
    size = max(float(expected.nan_to_num().square().mean().sqrt()), 1e-12)
    difference = (found - expected).abs().masked_fill(found.isnan() & expected.isnan(), 0.0)
    return float(difference.nan_to_num(nan=torch.inf).max()) / size


def closest(found: Tensor, formulas: dict[str, Tensor], tolerance: float) -> str:
    """The name of the formula that gives these numbers; "other" if none does."""
    name = min(formulas, key=lambda name: relative_error(found, formulas[name]), default="other")
    return name if name in formulas and relative_error(found, formulas[name]) <= tolerance else "other"


def validate_declared(subject: PartSubject, declarable: dict[str, tuple[str | bool, ...]]) -> None:
    """Raises ClearformerError where the subject declares something unknown, or an impossible value."""
    for name, value in subject.declared.items():
        if name not in declarable:
            expected = f"one of {', '.join(declarable)}" if declarable else "nothing"
            raise ClearformerError(
                f"{expected} was expected in PartSubject's declarations of this part, found {name!r}"
            )
        values = declarable[name]
        if value not in values if values else not isinstance(value, int | float):
            expected = f"one of {', '.join(map(repr, values))}" if values else "a number"
            raise ClearformerError(
                f"{expected} was expected for {name!r} in PartSubject's declarations, found {value!r}"
            )
