"""Replace activations while a model runs: what `ablate` and `patch` have in common."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearformer.errors import InspectionError
from clearformer.inspection.places import ENTERING, find

Place = str | tuple[str, int]
"""the name of a place, such as decoder.layers.0.attention.core, or with it the number of a head or neuron"""


@contextmanager
def replace(
    model: nn.Module, values: Mapping[Place, Float[Tensor, "..."] | None], positions: Sequence[int] | None
) -> Iterator[None]:
    """Until the block ends, put values of the whole activation's shape at the places, at these positions or at all.

    None is zero. An axis of length 1 serves all rows, or all positions. Raises InspectionError for a place that the
    model lacks and, when the model runs, for a head, neuron, position or shape that does not fit.
    """
    with ExitStack() as hooks:
        for place, value in values.items():
            kind, module = find(model, name_of(place))
            if not isinstance(place, str) and kind not in ("heads", "neurons"):
                raise InspectionError(
                    f"a number is of a head (….core) or a neuron (….linear2), found {place}; leave it out"
                )
            edit = Edit(place, kind, value, positions)
            if kind in ENTERING:
                hooks.enter_context(module.register_forward_pre_hook(edit.before))
            else:
                hooks.enter_context(module.register_forward_hook(edit.after))
        yield


def name_of(place: Place) -> str:
    """The place's name without a number."""
    return place if isinstance(place, str) else place[0]


@dataclass(frozen=True)
class Edit:
    """One replacement, and the hooks that make it."""

    place: Place
    kind: str
    value: Float[Tensor, "..."] | None
    positions: Sequence[int] | None

    def before(self, _module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return self(inputs[0]), *inputs[1:]

    def after(self, _module: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return self(output)

    def __call__(self, x: Float[Tensor, "B *H T width"]) -> Float[Tensor, "B *H T width"]:
        out = x.clone()
        part = self._part(out)
        value = self._at_positions(self._part(torch.zeros_like(x) if self.value is None else self.value.to(x)))
        expected = self._at_positions(part).shape
        if any(length not in (1, wanted) for length, wanted in zip(value.shape, expected, strict=True)):
            raise InspectionError(
                f"values of shape {tuple(expected)} were expected for {self.place}, found {tuple(value.shape)}; give "
                "texts of the same length, or positions"
            )
        if self.positions is None:
            part[...] = value
        else:
            part[..., list(self.positions), :] = value
        return out

    def _part(self, x: Tensor) -> Tensor:
        """A view of the head [B T E] or neuron [B T 1], or all of it."""
        if isinstance(self.place, str):
            return x
        axis, index = (1 if self.kind == "heads" else -1), self.place[1]
        if not 0 <= index < x.shape[axis]:
            raise InspectionError(f"a number from 0 to {x.shape[axis] - 1} was expected in {self.place}, found {index}")
        return x[:, index] if self.kind == "heads" else x[..., index : index + 1]

    def _at_positions(self, x: Tensor) -> Tensor:
        """The given positions of the tokens; what is the same at all positions stays as it is."""
        T = x.shape[-2]  # noqa: N806
        if self.positions is None or T == 1:
            return x
        if wrong := [position for position in self.positions if not 0 <= position < T]:
            raise InspectionError(f"positions from 0 to {T - 1} were expected for {self.place}, found {wrong[0]}")
        return x[..., list(self.positions), :]
