"""Threads: what NumPy does on one core at a time, done in parts on all of them.

Matrix products use all cores by themselves. Everything else does not, but NumPy lets go of Python's lock while it
computes, so that other threads compute meanwhile. Parts are what they are for any number of threads, so results are.
"""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache

from threadpoolctl import ThreadpoolController

from clearformer.engines.numpy.rules import Array

CHUNK = 1 << 16
"""elements at a time: a few such arrays fit into the second cache, and a call costs little beside its work"""
LEAST = 1 << 21
"""elements that are worth a second thread: with fewer, what threads wait for each other costs more than they save (a
step of width 128 took 1.7 times as long with threads for 2^16)"""


@cache
def _pool() -> tuple[ThreadPoolExecutor, ThreadpoolController, int]:
    """One thread for each of the cores that the matrix products may use."""
    controller = ThreadpoolController()
    blas = [int(library["num_threads"]) for library in controller.info() if library["user_api"] == "blas"]
    count = min([os.cpu_count() or 1, *blas])
    return ThreadPoolExecutor(count, "numpy-engine"), controller, count


def in_parts(function: Callable[[int], None], parts: int, elements: int, *, products: bool = False) -> None:
    """Call `function` with 0 to `parts` - 1, on all cores if there are `elements` enough in all.

    `products`: the parts make matrix products, each of which then stays on its own core.
    """
    pool, controller, count = _pool()
    if count == 1 or parts == 1 or elements < LEAST:
        for part in range(parts):
            function(part)
        return
    with controller.limit(limits=1, user_api="blas") if products else nullcontext():
        for done in [pool.submit(_each, function, range(first, parts, count)) for first in range(count)]:
            done.result()


def in_chunks(function: Callable[..., None], *arrays: Array) -> None:
    """Call `function` with arrays of one size piece by piece, so that what it makes of them stays in the cache."""
    assert all(array.flags.c_contiguous for array in arrays), "a piece must be a view"
    flat = [array.reshape(-1) for array in arrays]
    size = flat[0].size
    in_parts(lambda n: function(*(array[n * CHUNK : (n + 1) * CHUNK] for array in flat)), -(-size // CHUNK), size)


def row_chunks(x: Array) -> list[slice]:
    """Rows x[0], x[1], ... of about CHUNK elements together."""
    some = max(1, CHUNK // max(1, math.prod(x.shape[1:])))
    return [slice(start, start + some) for start in range(0, len(x), some)]


def _each(function: Callable[[int], None], numbers: range) -> None:
    for number in numbers:
        function(number)


def describe() -> str:
    """The library that makes NumPy's matrix products, its kernel, and how many threads there are."""
    _, controller, count = _pool()
    names = [
        f"{one['internal_api']} ({one.get('architecture', 'unknown')})"
        for one in controller.info()
        if one["user_api"] == "blas"
    ]
    return f"{' and '.join(names) or 'an unknown BLAS'}, {count} thread{'s' if count > 1 else ''}"
