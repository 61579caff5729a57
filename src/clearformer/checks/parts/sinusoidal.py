"""Sinusoidal positions: the table, its frequencies, and how a module adds it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, ModelCrashed
from clearformer.checks.parts.probe import PartProbe, PartSubject, apart, tensor_of

LENGTH = 12
BASE = 10_000.0
CLOSE = 1e-3
"""float32 tables differ from the formula by 1e-6, their frequencies by 1e-4 of themselves; mistakes are a factor"""

STYLES: dict[str, Callable[[int, int], tuple[Any, ...]]] = {
    "length, width": lambda length, width: (length, width),
    "width, length": lambda length, width: (width, length),
    "positions, width": lambda length, width: (torch.arange(length), width),
    "x": lambda length, width: (torch.zeros(1, length, width),),
    "x of [T, B, D]": lambda length, width: (torch.zeros(length, 1, width),),
    "positions": lambda length, _: (torch.arange(length),),
    "positions of rows": lambda length, _: (torch.arange(length)[None],),
}
"""how a table is asked for, and with which arguments"""


@dataclass(frozen=True)
class Reading:
    """What a table is made of: sine and cosine of position times frequency, in pairs of columns."""

    layout: str
    cosine_first: bool
    frequencies: Tensor
    start: float
    """the position of the first row"""


class Sinusoidal(PartProbe):
    """(length, width) -> [T, D]; or a module that adds the table to x [B, T, D], or returns it for x or positions."""

    declarable: ClassVar[dict[str, tuple[str | bool, ...]]] = {"layout": ("interleaved", "halves"), "base": ()}

    def __init__(self, meant: PartSubject, seed: int, memory: dict[str, Any]) -> None:
        super().__init__(meant, seed, memory)
        wanted = "a function (length, width) -> [T, D], or a module x [B, T, D] -> x plus positions,"
        styles = (
            list(STYLES)
            if not isinstance(self.target, nn.Module)
            else [style for style in STYLES if "width" not in style]
        )
        attempts = (partial(self.tried, style, width) for width in self.widths() for style in styles)
        self.style, self.width = self.find(attempts, wanted)

    def tried(self, style: str, width: int) -> tuple[str, int]:
        """Raises ModelCrashed unless what comes back is a table with a row for each position."""
        table = self.make(LENGTH, style, width)
        if style.startswith("x") and bool((table == table[0]).all()):
            raise ModelCrashed("all positions of x [B, T, D] get the same vector")
        return style, width

    def make(self, length: int, style: str = "", width: int = 0) -> Tensor:
        """[T, D] of the first positions."""
        style, width = style or self.style, width or self.width
        out = tensor_of(self.raw(*STYLES[style](length, width)))
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
            turns = torch.complex(pairs[..., 1], pairs[..., 0])
            steps = turns[1:] / turns[:-1]
            if (
                apart(turns.abs(), torch.ones_like(turns.abs())) < CLOSE
                and apart(_parts(steps), _parts(steps[:1])) < CLOSE
            ):
                angles = steps.mean(0).angle()
                cosine_first = bool(angles[0] < 0)
                sines = torch.complex(pairs[0, :, 0], pairs[0, :, 1]) if cosine_first else turns[0]
                return Reading(layout, cosine_first, angles.abs(), float(sines[0].angle() / angles[0].abs()))
        return None

    def halves(self) -> Tensor:
        return self.table.unflatten(1, (2, self.width // 2)).transpose(1, 2)

    def read(self) -> Reading:
        if self.reading is None:
            raise DoesNotApply("its columns are not pairs of a sine and a cosine; see sinusoidal.layout")
        return self.reading

    def example(self) -> tuple[Any, ...]:
        return STYLES[self.style](LENGTH, self.width)


def _parts(turns: Tensor) -> Tensor:
    return torch.view_as_real(turns)
