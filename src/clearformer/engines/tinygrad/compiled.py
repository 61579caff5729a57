"""Functions of tensors, compiled once for each combination of shapes.

To keep these few, batches are padded. Padding does not change results: it is masked, its targets are IGNORE, and its
logits are cut off.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor, TinyJit

from clearformer.data.batches import IGNORE, Batch
from clearformer.engines.tinygrad.shapes import sizes

LENGTHS = 16
"""lengths are rounded up to a multiple of this"""
ROW_BITS = 3
"""numbers of rows are rounded up to this many significant bits: at most a quarter more"""


class Compiled:
    """Runs eagerly at the first call with some shapes, captures its kernels at the second, and then replays them."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.jits: dict[tuple[tuple[int, ...], ...], TinyJit[Tensor]] = {}

    def __call__(self, *tensors: Tensor) -> Tensor:
        """The next call with the same shapes overwrites the result."""
        shapes = tuple(map(sizes, tensors))
        if shapes not in self.jits:
            self.jits[shapes] = TinyJit(self.function)
        return self.jits[shapes](*tensors)


def on_device(array: NDArray[Any]) -> Tensor:
    """An array as a tensor; int64 becomes int32."""
    return Tensor(array.astype(np.int32) if array.dtype == np.int64 else array).realize()


def rounded_rows(rows: int) -> int:
    step = 2 ** max(0, rows.bit_length() - ROW_BITS)
    return -(-rows // step) * step


def rounded_length(length: int, context: int) -> int:
    """Rounded up to a multiple of LENGTHS, but not beyond the context."""
    return max(length, min(-(-length // LENGTHS) * LENGTHS, context))


def padded(array: NDArray[Any], context: int, value: int = 0) -> NDArray[Any]:
    """An array [B, T] or [B] with its rows and lengths rounded up; the padding has the value `value`."""
    rows, *length = array.shape
    shape = (rounded_rows(rows), *(rounded_length(size, context) for size in length))
    result = np.full(shape, value, array.dtype)
    result[tuple(map(slice, array.shape))] = array
    return result


def padded_inputs(inputs: tuple[NDArray[Any], ...], context: int) -> list[Tensor]:
    """A batch's inputs, with padding that is not real."""
    return [on_device(padded(array, context)) for array in inputs]


def padded_targets(batch: Batch, context: int) -> Tensor:
    """A batch's targets, with IGNORE as padding."""
    return on_device(padded(batch.targets, context, IGNORE))
