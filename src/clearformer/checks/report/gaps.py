"""What could not be checked, and the line that would let it be; what most checks wait for stands first."""

from collections.abc import Sequence
from dataclasses import dataclass

from clearformer.checks.check import Result


@dataclass(frozen=True)
class Gap:
    """What was not known of the model."""

    reason: str
    """what is missing, and what to write"""
    checks: tuple[str, ...]
    """the ids of the checks that wait for it"""


def gaps(results: Sequence[Result]) -> list[Gap]:
    """What a line of the user's would let be checked, in order of the number of checks."""
    waiting: dict[str, list[str]] = {}
    for result in results:
        reason = result.outcome.case
        if result.outcome.status == "does not apply" and "write Subject(" in reason:
            waiting.setdefault(reason, []).append(result.id)
    found = [Gap(reason, tuple(checks)) for reason, checks in waiting.items()]
    return sorted(found, key=lambda gap: -len(gap.checks))


def describe_use(ways: Sequence[str]) -> str:
    """How the model was used, one line each; empty where nothing had to be found out."""
    return "\n".join(["Found by trying the model:", *(f"    {way}" for way in ways)] if ways else [])


def describe_gaps(results: Sequence[Result]) -> str:
    """What could not be checked, one line each; empty where nothing was left out."""
    lines = [
        f"    {len(gap.checks)} check{'s' if len(gap.checks) > 1 else ''}: {gap.reason} ({', '.join(gap.checks)})"
        for gap in gaps(results)
    ]
    return "\n".join(["Not checked, for want of one line each:", *lines] if lines else [])
