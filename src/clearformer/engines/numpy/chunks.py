"""Chunks: what takes several passes takes them over a piece that stays in the cache, and then over the next."""

import math
from collections.abc import Callable

from clearformer.engines.numpy.rules import Array

CHUNK = 1 << 15
"""elements: a few such arrays fit into the second cache, and a call costs little beside its work"""


def chunks_of(x: Array) -> list[slice]:
    """Rows x[0], x[1], ... of about CHUNK elements together."""
    some = max(1, CHUNK // max(1, math.prod(x.shape[1:])))
    return [slice(start, start + some) for start in range(0, len(x), some)]


def in_chunks(function: Callable[..., None], *arrays: Array) -> None:
    """Call `function` with arrays of one size piece by piece."""
    assert all(array.flags.c_contiguous for array in arrays), "a piece must be a view"
    flat = [array.reshape(-1) for array in arrays]
    for some in chunks_of(flat[0]):
        function(*(array[some] for array in flat))
