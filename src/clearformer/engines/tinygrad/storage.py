"""Storage: the numbers of all parameters in one buffer, and each parameter a view of it.

So an update of all of them is a few kernels, and not a few for each. Gradients and what the optimizer remembers lie in
buffers of the same layout.
"""

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, dtypes
from tinygrad.device import Buffer
from tinygrad.uop.ops import UOp

from clearformer.models.initial import Shapes
from clearformer.training.optimizer_state import decays

ALIGNMENT = 16
"""a parameter begins at a multiple of so many numbers, so that they are loaded several at a time"""


@dataclass(frozen=True)
class Layout:
    """Names, shapes, and where each begins: matrices first, those inside the layers behind the others, then vectors."""

    shapes: Shapes
    starts: dict[str, int]
    size: int

    @classmethod
    def of(cls, shapes: Shapes) -> "Layout":
        order = sorted(shapes, key=lambda name: (not decays(shapes[name]), ".layers." in name, shapes[name]))
        ends = itertools.accumulate(-(-math.prod(shapes[name]) // ALIGNMENT) * ALIGNMENT for name in order)
        starts = dict(zip(order, itertools.chain([0], ends), strict=False))
        last = order[-1]
        return cls(shapes, starts, starts[last] + math.prod(shapes[last]))

    def part(self, name: str) -> slice:
        """Where the numbers of a parameter are."""
        return slice(self.starts[name], self.starts[name] + math.prod(self.shapes[name]))

    def runs(self, alike: Mapping[str, Hashable]) -> Iterator[tuple[list[str], slice]]:
        """Names that are alike and lie side by side, and where all of them are."""
        for _, run in itertools.groupby(self.starts, alike.__getitem__):
            names = list(run)
            yield names, slice(self.part(names[0]).start, self.part(names[-1]).stop)


class Storage:
    """A buffer of some layout, zero at first."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.flat = Tensor(np.zeros(layout.size, np.float32)).realize()

    def view(self, name: str) -> Tensor:
        """A parameter's own, in its shape."""
        return self.piece(self.layout.part(name)).reshape(self.layout.shapes[name])

    def piece(self, part: slice) -> Tensor:
        """A part as a tensor of its own that shares the memory.

        `flat[part]` would not do: where it begins would be compiled in, and no two layers could share a kernel. What is
        written to one is seen in the other, but tinygrad does not know it: one compiled function must not rely on it.
        """
        buffer = cast(Buffer, self.flat.uop.base.buffer)
        return Tensor(UOp.from_buffer(buffer.view(part.stop - part.start, dtypes.float32, part.start * 4)))

    def read(self) -> dict[str, NDArray[np.float32]]:
        """Copies by name, in the order of the shapes."""
        flat, layout = self.flat.numpy(), self.layout
        return {name: flat[layout.part(name)].reshape(shape) for name, shape in layout.shapes.items()}

    def write(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Take in what `read` gave. Names and shapes must be exactly those of the layout."""
        shapes = self.layout.shapes
        assert arrays.keys() == shapes.keys(), f"names differ: {sorted(arrays.keys() ^ shapes.keys())}"
        flat = np.zeros(self.layout.size, np.float32)
        for name, array in arrays.items():
            assert array.shape == shapes[name], f"{name}: {array.shape}, {shapes[name]}"
            flat[self.layout.part(name)] = array.reshape(-1)
        self.flat.assign(Tensor(flat)).realize()
