"""Threads: the rows that a compiled kernel goes through are shared out among as many as matrix products have.

The threads of OpenBLAS wait for their next product awake, on cores that ours then lack: a step would take a third
longer. Where the environment says OPENBLAS_THREAD_TIMEOUT=18 they sleep after 2^18 ticks of the clock, and only there
are there threads here.
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
"""numbers that are worth a thread: to wake one takes as long as it takes to go through half as many"""


@functools.cache
def threads() -> int:
    """As many as NumPy's library for matrix products was told to have, or chose, if they leave the cores alone."""
    if SLEEPING not in os.environ:
        return 1
    return max((one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"), default=1)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads() - 1, "kernels")


def in_threads(rows: int, numbers: int, function: Callable[[int, int], Result]) -> list[Result]:
    """What `function` returns for pieces (first, last) that are all rows together; `numbers` is how many they hold."""
    pieces = max(1, min(threads(), rows, numbers // GRAIN))
    ends = [rows * piece // pieces for piece in range(pieces + 1)]
    mine, *others = itertools.pairwise(ends)
    waiting = [_pool().submit(function, *piece) for piece in others]
    return [function(*mine), *(each.result() for each in waiting)]
