"""Rotary positions: the rotation at each position is read as a matrix."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, ModelCrashed
from clearformer.checks.parts.probe import PartProbe, relative_error
from clearformer.checks.subject import PartSubject

LENGTH = 8
OFFSET = 3
TOLERANCE = 1e-4
"""float32 rotations differ by 1e-6 from exact ones; every mistake gives 1e-2 and more"""

ARGUMENTS: dict[str, Callable[[Tensor, int], tuple[Any, ...]]] = {
    "q, k, offset": lambda x, offset: (x, x, offset),
    "q, k, positions [T]": lambda x, offset: (x, x, _positions(offset)),
    "q, k, positions [B, T]": lambda x, offset: (x, x, _positions(offset)[None]),
    "q, k": lambda x, _: (x, x),
    "x, offset": lambda x, offset: (x, offset),
    "x, positions [T]": lambda x, offset: (x, _positions(offset)),
    "x, positions [B, T]": lambda x, offset: (x, _positions(offset)[None]),
    "x": lambda x, _: (x,),
}
SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "[B, H, T, E]": lambda x: x[None],
    "[B, T, H, E]": lambda x: x.transpose(0, 1)[None],
    "[B, T, E]": lambda x: x[:1],
}


def _positions(offset: int) -> Tensor:
    return torch.arange(offset, offset + LENGTH)


@dataclass(frozen=True)
class Reading:
    """Pairs of elements and the angle by which each is rotated."""

    layout: str
    angles: Tensor
    """[T, pairs]"""
    width: int
    """the number of elements, from the first on, that are rotated"""


class RotaryProbe(PartProbe):
    """(x, positions), (x, offset) or (x) -> x; or (q, k), with or without either -> (q, k)."""

    declarable: ClassVar[dict[str, tuple[str | bool, ...]]] = {"layout": ("interleaved", "half-split"), "base": ()}

    def __init__(self, subject: PartSubject, seed: int, shared: dict[str, Any]) -> None:
        super().__init__(subject, seed, shared)
        expected = "a function (x, positions) -> x or (q, k, positions) -> (q, k), with x, q, k [B, H, T, E],"
        self.shape, self.arguments, self.width = self.find_form(self.forms(), expected)

    def forms(self) -> Iterator[Callable[[], tuple[str, str, int]]]:
        """First forms whose output must differ between positions, then, in case none does, without that condition."""
        widths = list(dict.fromkeys(size for width in self.widths() for size in (width, 2 * width)))
        for changing in (True, False):
            for width in widths:
                for arguments in ARGUMENTS:
                    for shape in SHAPES:
                        yield partial(self.try_form, shape, arguments, width, changing)

    def try_form(self, shape: str, arguments: str, width: int, changing: bool) -> tuple[str, str, int]:
        if width % 2:
            raise ModelCrashed("an even width is needed")
        x = self.draw(1, 1, width).expand(1, LENGTH, width)
        outs = self.rotate(x, 1, shape, arguments)
        if changing and all(relative_error(out[0], out[0, :1].expand_as(out[0])) <= TOLERANCE for out in outs):
            raise ModelCrashed("all positions are treated alike")
        return shape, arguments, width

    def rotate(self, x: Tensor, offset: int, shape: str = "", arguments: str = "") -> list[Tensor]:
        """x [N, T, E], N vectors at each of T positions from `offset` on, rotated: one result, or two for q and k."""
        shape, arguments = shape or self.shape, arguments or self.arguments
        outs = []
        for rows in [x] if shape != "[B, T, E]" else x.split(1):
            x_shaped = SHAPES[shape](rows).clone()
            out = self.call_raw(
                *(value.clone() if value is x_shaped else value for value in ARGUMENTS[arguments](x_shaped, offset))
            )
            both = out if isinstance(out, tuple | list) else (out,)
            if len(both) != (2 if arguments.startswith("q") else 1):
                raise ModelCrashed(f"{'q and k were' if arguments.startswith('q') else 'one tensor was'} expected")
            outs.append([self.to_standard_shape(one, x_shaped, shape) for one in both])
        return [torch.cat(ones) for ones in zip(*outs, strict=True)]

    def to_standard_shape(self, out: Any, x_shaped: Tensor, shape: str) -> Tensor:
        if not isinstance(out, Tensor) or out.shape != x_shaped.shape:
            found = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ModelCrashed(f"a tensor {list(x_shaped.shape)} was expected, found {found}")
        out = out.detach().double()
        return out[0].transpose(0, 1) if shape == "[B, T, H, E]" else out[0] if shape == "[B, H, T, E]" else out

    def matrices(self, offset: int = 0) -> list[Tensor]:
        """[T, E, E]: the matrix of each position; one result, or two for q and k."""
        basis = torch.eye(self.width)[:, None].expand(self.width, LENGTH, self.width)
        return [rotated.permute(1, 2, 0) for rotated in self.rotate(basis, offset)]

    @cached_property
    def rotations(self) -> Tensor:
        return self.matrices()[0]

    @cached_property
    def reading(self) -> Reading | None:
        """None where elements are not rotated in pairs of one of the two layouts."""
        R = self.rotations  # noqa: N806
        others = R * (1 - torch.eye(self.width, dtype=R.dtype))
        used = others.abs().amax((0, 2)).nonzero().flatten()
        if not len(used) or not R.isfinite().all():
            return None
        width = 2 * (int(used.max()) // 2 + 1)
        i = torch.arange(width // 2)
        for layout, a, b in (("half-split", i, i + width // 2), ("interleaved", 2 * i, 2 * i + 1)):
            paired = torch.eye(self.width, dtype=torch.bool)
            paired[a, b] = paired[b, a] = True
            if float(R[:, ~paired].abs().max()) <= TOLERANCE:
                return Reading(layout, torch.atan2(R[:, b, a], R[:, a, a]), width)
        return None

    def require_reading(self) -> Reading:
        if self.reading is None or rotation_error(self) > TOLERANCE:
            raise DoesNotApply("it is no rotation of pairs; see rotary.layout and rotary.norm")
        return self.reading

    def example(self) -> tuple[Any, ...]:
        return ARGUMENTS[self.arguments](SHAPES[self.shape](self.draw(3, LENGTH, self.width)).clone(), 0)


def rotation_error(probe: RotaryProbe) -> float:
    """The relative error of R^T R against the identity, scaled by 1/sqrt(E); 0 for rotations."""
    R = probe.rotations  # noqa: N806
    return relative_error(R.transpose(1, 2) @ R, torch.eye(probe.width).expand(LENGTH, -1, -1)) / probe.width**0.5
