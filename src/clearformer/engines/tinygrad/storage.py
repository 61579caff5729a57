"""Storage: one flat buffer for all parameters, each of them a view of it.

So an update takes a few kernels in all, not a few per parameter. Gradients and optimizer state have buffers of the same
layout.
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
"""parameters begin at multiples of this many numbers, so that loads can be vectorized"""


@dataclass(frozen=True)
class Layout:
    """Names, shapes and offsets. Order: matrices outside the layers, matrices inside the layers, vectors."""

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
        """The slice of a parameter."""
        return slice(self.starts[name], self.starts[name] + math.prod(self.shapes[name]))

    def runs(self, groups: Mapping[str, Hashable]) -> Iterator[tuple[list[str], slice]]:
        """Adjacent parameters of the same group, and the slice of all of them."""
        for _, run in itertools.groupby(self.starts, groups.__getitem__):
            names = list(run)
            yield names, slice(self.part(names[0]).start, self.part(names[-1]).stop)


class Storage:
    """A buffer with a layout, initially zero."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.flat = Tensor(np.zeros(layout.size, np.float32)).realize()

    def view(self, name: str) -> Tensor:
        """A parameter, in its shape."""
        return self.piece(self.layout.part(name)).reshape(self.layout.shapes[name])

    def piece(self, part: slice) -> Tensor:
        """A slice as a tensor that shares the memory.

        `flat[part]` would compile the offset in, and no two layers could share a kernel. tinygrad does not know that
        the tensors alias: a compiled function must not write through one and read through the other.
        """
        buffer = cast(Buffer, self.flat.uop.base.buffer)
        return Tensor(UOp.from_buffer(buffer.view(part.stop - part.start, dtypes.float32, part.start * 4)))

    def read(self) -> dict[str, NDArray[np.float32]]:
        """Copies by name, in the order of the shapes."""
        flat, layout = self.flat.numpy(), self.layout
        return {name: flat[layout.part(name)].reshape(shape) for name, shape in layout.shapes.items()}

    def write(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Copy arrays by name; names and shapes must be exactly the layout's."""
        shapes = self.layout.shapes
        assert arrays.keys() == shapes.keys(), f"names differ: {sorted(arrays.keys() ^ shapes.keys())}"
        flat = np.zeros(self.layout.size, np.float32)
        for name, array in arrays.items():
            assert array.shape == shapes[name], f"{name}: {array.shape}, {shapes[name]}"
            flat[self.layout.part(name)] = array.reshape(-1)
        self.flat.assign(Tensor(flat)).realize()
