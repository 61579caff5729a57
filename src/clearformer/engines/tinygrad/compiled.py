"""Compiled: a function of tensors becomes a list of kernels, once for each of their shapes.

What is compiled has fixed shapes, so batches are padded to few of them. Padding changes no result: it is not real, no
target is asked for there, and whoever reads logits cuts it off.
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
DIGITS = 3
"""rows are rounded up to a number of so many binary digits and then zeros: at most a quarter more"""


class Compiled:
    """Runs as it is the first time a shape comes, is captured the second time, and replayed from then on."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.ways: dict[tuple[tuple[int, ...], ...], TinyJit[Tensor]] = {}

    def __call__(self, *tensors: Tensor) -> Tensor:
        """What comes back is overwritten by the next call of the same shapes."""
        shapes = tuple(map(sizes, tensors))
        if shapes not in self.ways:
            self.ways[shapes] = TinyJit(self.function)
        return self.ways[shapes](*tensors)


def on_device(array: NDArray[Any]) -> Tensor:
    """An array as a tensor; tokens become 32 bits wide."""
    return Tensor(array.astype(np.int32) if array.dtype == np.int64 else array).realize()


def rounded_rows(rows: int) -> int:
    step = 2 ** max(0, rows.bit_length() - DIGITS)
    return -(-rows // step) * step


def rounded_length(length: int, context: int) -> int:
    """At most the context, which a shorter sequence never exceeds."""
    return max(length, min(-(-length // LENGTHS) * LENGTHS, context))


def padded(array: NDArray[Any], context: int, value: int = 0) -> NDArray[Any]:
    """An array [B, T] with more rows and longer ones, or an array [B] with more; what is added has the value."""
    rows, *length = array.shape
    shape = (rounded_rows(rows), *(rounded_length(size, context) for size in length))
    whole = np.full(shape, value, array.dtype)
    whole[tuple(map(slice, array.shape))] = array
    return whole


def padded_inputs(inputs: tuple[NDArray[Any], ...], context: int) -> list[Tensor]:
    """A batch's inputs; what is added is not real."""
    return [on_device(padded(array, context)) for array in inputs]


def padded_targets(batch: Batch, context: int) -> Tensor:
    """A batch's targets; what is added is not asked for."""
    return on_device(padded(batch.targets, context, IGNORE))
