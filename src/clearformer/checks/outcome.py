"""The outcome of a check: passed, failed with a diagnosis, crashed, or does not apply with the reason."""

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["passed", "failed", "crashed", "does not apply", "not run"]


@dataclass(frozen=True)
class Outcome:
    """One check on one model. Where it passed, `measured` is at most `tolerance`."""

    status: Status
    measured: float | None = None
    tolerance: float | None = None
    cause: str = ""
    """a stable name for what is wrong, such as "diagonal" or "no-mask"; empty unless failed"""
    case: str = ""
    """the smallest case that fails, or the model's error, or why the check does not apply"""
    diagnosis: str = ""
    """what is wrong, and where to look"""
    notes: tuple[str, ...] = field(default=())
    """what else was observed"""


def passed(measured: float, tolerance: float, *notes: str) -> Outcome:
    return Outcome("passed", measured, tolerance, notes=notes)


def failed(
    cause: str, measured: float, tolerance: float, *, case: str, diagnosis: str, notes: tuple[str, ...] = ()
) -> Outcome:
    return Outcome("failed", measured, tolerance, cause, case, diagnosis, notes)


class DoesNotApply(Exception):  # noqa: N818  # nothing is wrong
    """Raised by a check that says nothing about this model; the message is the reason."""


class ModelCrashed(Exception):  # noqa: N818  # a result
    """The model raised an error or returned something unusable; the message says what and where."""


class NotFinite(Exception):  # noqa: N818  # a result
    """Raised where the logits of random tokens are NaN or infinite, so that nothing can be compared."""
