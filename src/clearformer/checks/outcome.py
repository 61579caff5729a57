"""What a check says: passed, failed with a diagnosis, does not apply with the reason, or the model crashed."""

from dataclasses import dataclass, field
from typing import Literal

Status = Literal["passed", "failed", "crashed", "does not apply", "not run"]


@dataclass(frozen=True)
class Outcome:
    """One check on one model. `measured` is never above `tolerance` where it passed."""

    status: Status
    measured: float | None = None
    tolerance: float | None = None
    cause: str = ""
    """a name for what is wrong, the same each time: "diagonal", "no-mask"; empty unless failed"""
    case: str = ""
    """the smallest case that fails, or what the model said when it crashed, or why the check does not apply"""
    means: str = ""
    """what that pattern of numbers means, and where to look"""
    seen: tuple[str, ...] = field(default=())
    """what else was seen"""


def passed(measured: float, tolerance: float, *seen: str) -> Outcome:
    return Outcome("passed", measured, tolerance, seen=seen)


def failed(
    cause: str, measured: float, tolerance: float, *, case: str, means: str, seen: tuple[str, ...] = ()
) -> Outcome:
    return Outcome("failed", measured, tolerance, cause, case, means, seen)


class DoesNotApply(Exception):  # noqa: N818  # nothing is wrong
    """Raised by a check that has nothing to say of this model; the message is the reason."""


class ModelCrashed(Exception):  # noqa: N818  # a result
    """The model raised an error, or gave back what is no output of a model; the message says what and where."""


class NotFinite(Exception):  # noqa: N818  # a result
    """Raised where the logits of a few random tokens are NaN or infinite, so that nothing can be compared."""
