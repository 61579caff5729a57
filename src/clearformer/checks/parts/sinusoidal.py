"""Sinusoidal positions: the table, its frequencies, and how a module adds it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, ModelCrashed
from clearformer.checks.parts.probe import PartProbe, first_tensor, relative_error
from clearformer.checks.subject import PartSubject

LENGTH = 12
BASE = 10_000.0
FREQUENCY_TOLERANCE = 1e-3
"""relative error: float32 tables differ from the formula by 1e-6, their frequencies by 1e-4; mistakes by a factor"""

FORMS: dict[str, Callable[[int, int], tuple[Any, ...]]] = {
    "length, width": lambda length, width: (length, width),
    "width, length": lambda length, width: (width, length),
    "positions, width": lambda length, width: (torch.arange(length), width),
    "x": lambda length, width: (torch.zeros(1, length, width),),
    "x of [T, B, D]": lambda length, width: (torch.zeros(length, 1, width),),
    "positions": lambda length, _: (torch.arange(length),),
    "positions of rows": lambda length, _: (torch.arange(length)[None],),
}
"""the arguments for the first positions, by form of call"""


@dataclass(frozen=True)
class Reading:
    """A table as sine and cosine of position times frequency, in pairs of columns."""

    layout: str
    cosine_first: bool
    frequencies: Tensor
    start: float
    """the position of the first row"""


class SinusoidalProbe(PartProbe):
    """(length, width) -> [T, D]; or a module that adds the table to x [B, T, D], or returns it for x or positions."""

    declarable: ClassVar[dict[str, tuple[str | bool, ...]]] = {"layout": ("interleaved", "halves"), "base": ()}

    def __init__(self, subject: PartSubject, seed: int, shared: dict[str, Any]) -> None:
        super().__init__(subject, seed, shared)
        expected = "a function (length, width) -> [T, D], or a module x [B, T, D] -> x plus positions,"
        forms = list(FORMS) if not isinstance(self.part, nn.Module) else [form for form in FORMS if "width" not in form]
        attempts = (partial(self.try_form, form, width) for width in self.widths() for form in forms)
        self.form, self.width = self.find_form(attempts, expected)

    def try_form(self, form: str, width: int) -> tuple[str, int]:
        """Raises ModelCrashed unless the form gives a table with a row for each position."""
        table = self.make(LENGTH, form, width)
        if form.startswith("x") and bool((table == table[0]).all()):
            raise ModelCrashed("all positions of x [B, T, D] get the same vector")
        return form, width

    def make(self, length: int, form: str = "", width: int = 0) -> Tensor:
        """The table [length, width] of the first positions."""
        form, width = form or self.form, width or self.width
        out = first_tensor(self.call_raw(*FORMS[form](length, width)))
        if [size for size in out.shape if size != 1] != [length, width]:
            raise ModelCrashed(f"a table [{length}, {width}] was expected, found {list(out.shape)}")
        return out.detach().reshape(length, width).double()

    @cached_property
    def table(self) -> Tensor:
        return self.make(LENGTH)

    @cached_property
    def reading(self) -> Reading | None:
        """None where the columns are not pairs of a sine and a cosine."""
        half = self.width // 2
        for layout, pairs in (("interleaved", self.table.unflatten(1, (half, 2))), ("halves", self.halves())):
            phases = torch.complex(pairs[..., 1], pairs[..., 0])
            steps = phases[1:] / phases[:-1]
            if (
                relative_error(phases.abs(), torch.ones_like(phases.abs())) < FREQUENCY_TOLERANCE
                and relative_error(_real_and_imaginary(steps), _real_and_imaginary(steps[:1])) < FREQUENCY_TOLERANCE
            ):
                angles = steps.mean(0).angle()
                cosine_first = bool(angles[0] < 0)
                sines = torch.complex(pairs[0, :, 0], pairs[0, :, 1]) if cosine_first else phases[0]
                return Reading(layout, cosine_first, angles.abs(), float(sines[0].angle() / angles[0].abs()))
        return None

    def halves(self) -> Tensor:
        return self.table.unflatten(1, (2, self.width // 2)).transpose(1, 2)

    def require_reading(self) -> Reading:
        if self.reading is None:
            raise DoesNotApply("its columns are not pairs of a sine and a cosine; see sinusoidal.layout")
        return self.reading

    def example(self) -> tuple[Any, ...]:
        return FORMS[self.form](LENGTH, self.width)


def _real_and_imaginary(phases: Tensor) -> Tensor:
    return torch.view_as_real(phases)
