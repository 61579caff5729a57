"""Threads: split the rows of a compiled kernel among as many threads as matrix products have.

OpenBLAS's threads busy-wait for the next product, on cores that ours then lack: a step would take a third longer. With
OPENBLAS_THREAD_TIMEOUT=18 in the environment they sleep after 2^18 clock ticks; without that variable, kernels use one
thread.
"""

import functools
import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from threadpoolctl import threadpool_info

Result = TypeVar("Result")

SLEEPING = "OPENBLAS_THREAD_TIMEOUT"
GRAIN = 1 << 16
"""minimum elements per thread: waking one takes as long as processing half as many"""


@functools.cache
def threads() -> int:
    """The number of BLAS threads if these sleep when idle, else 1."""
    if SLEEPING not in os.environ:
        return 1
    return max((one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"), default=1)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads() - 1, "kernels")


def in_threads(rows: int, numbers: int, function: Callable[[int, int], Result]) -> list[Result]:
    """Call `function(first, last)` for consecutive ranges of `rows`, which hold `numbers` elements in all."""
    pieces = max(1, min(threads(), rows, numbers // GRAIN))
    ends = [rows * piece // pieces for piece in range(pieces + 1)]
    mine, *others = itertools.pairwise(ends)
    waiting = [_pool().submit(function, *piece) for piece in others]
    return [function(*mine), *(each.result() for each in waiting)]
