"""Process arrays in chunks that stay in the CPU cache over several passes."""

import math
from collections.abc import Callable

from clearformer.engines.numpy.rules import Array

CHUNK = 1 << 15
"""elements: a few such arrays fit into the L2 cache, and the overhead of a call is small"""


def chunks_of(x: Array) -> list[slice]:
    """Slices of rows x[0], x[1], … with about CHUNK elements each."""
    size = max(1, CHUNK // max(1, math.prod(x.shape[1:])))
    return [slice(start, start + size) for start in range(0, len(x), size)]


def in_chunks(function: Callable[..., None], *arrays: Array) -> None:
    """Call `function` on corresponding chunks of contiguous arrays of the same size."""
    assert all(array.flags.c_contiguous for array in arrays), "a chunk must be a view"
    flat = [array.reshape(-1) for array in arrays]
    for some in chunks_of(flat[0]):
        function(*(array[some] for array in flat))
