"""What holds for all operations for a while: whether they are recorded or looked at, and what dropout draws."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

import numpy as np

from clearformer.engines.numpy.rules import Array
from clearformer.errors import ClearformerError

RECORDING = ContextVar("RECORDING", default=True)
DEBUGGING = ContextVar("DEBUGGING", default=False)
GENERATOR: ContextVar[np.random.Generator | None] = ContextVar("GENERATOR", default=None)


class GradientError(ClearformerError):
    """Tensors were used in a way that has no gradient, or not the one that was meant."""


@contextmanager
def no_grad() -> Iterator[None]:
    """Nothing is recorded inside, so nothing is kept and nothing can go back."""
    token = RECORDING.set(False)
    try:
        yield
    finally:
        RECORDING.reset(token)


@contextmanager
def debug() -> Iterator[None]:
    """Look at every number: an error names the operation that first made a NaN or an infinity, forwards or backwards.

    What backward needs is remembered by checksum too, so that a change made behind a tensor's back is found. Slow.
    """
    token = DEBUGGING.set(True)
    try:
        with np.errstate(all="ignore"):  # NumPy's warnings would come first, and do not name the operation
            yield
    finally:
        DEBUGGING.reset(token)


def manual_seed(seed: int) -> None:
    """All that is drawn from here on depends on this alone."""
    GENERATOR.set(np.random.default_rng(seed))


def generator() -> np.random.Generator:
    """What dropout draws from; never seeded, it is different each time."""
    if GENERATOR.get() is None:
        GENERATOR.set(np.random.default_rng())
    return cast(np.random.Generator, GENERATOR.get())


def check_finite(what: str, *arrays: Array) -> None:
    """Raises GradientError if a number is not finite."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise GradientError(f"finite numbers were expected, found a NaN or an infinity {what}")
