"""Context of all operations: whether they are recorded or checked, and the random generator of dropout."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

import numpy as np

from clearformer.engines.numpy.rules import Array
from clearformer.errors import ClearformerError

GRAD_ENABLED = ContextVar("GRAD_ENABLED", default=True)
DEBUG_ENABLED = ContextVar("DEBUG_ENABLED", default=False)
GENERATOR: ContextVar[np.random.Generator | None] = ContextVar("GENERATOR", default=None)


class GradientError(ClearformerError):
    """Tensors were used in a way that has no gradient, or not the intended one."""


@contextmanager
def no_grad() -> Iterator[None]:
    """Operations inside are not recorded: they save nothing and have no gradient."""
    token = GRAD_ENABLED.set(False)
    try:
        yield
    finally:
        GRAD_ENABLED.reset(token)


@contextmanager
def debug() -> Iterator[None]:
    """Check every number: an error names the operation that first produced a NaN or an infinity, forward or backward.

    Saved arrays are checksummed too, so that in-place changes of their memory are detected. Slow.
    """
    token = DEBUG_ENABLED.set(True)
    try:
        with np.errstate(all="ignore"):  # NumPy's warnings do not name the operation
            yield
    finally:
        DEBUG_ENABLED.reset(token)


def manual_seed(seed: int) -> None:
    """Seed the random generator of dropout."""
    GENERATOR.set(np.random.default_rng(seed))


def generator() -> np.random.Generator:
    """The random generator of dropout, unseeded by default."""
    if GENERATOR.get() is None:
        GENERATOR.set(np.random.default_rng())
    return cast(np.random.Generator, GENERATOR.get())


def check_finite(what: str, *arrays: Array) -> None:
    """Raise GradientError if a number is not finite; `what` says where."""
    if not all(np.isfinite(array).all() for array in arrays):
        raise GradientError(f"finite numbers were expected, found a NaN or an infinity {what}")
