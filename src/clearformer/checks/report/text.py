"""What a run of checks found, in plain words."""

from collections import Counter
from collections.abc import Sequence

from clearformer.checks.check import Result
from clearformer.checks.outcome import Outcome, Status

WRONG: tuple[Status, ...] = ("failed", "crashed")


def wrong(results: Sequence[Result]) -> list[Result]:
    """The results that speak against the model."""
    return [result for result in results if result.outcome.status in WRONG]


def counts(results: Sequence[Result]) -> dict[Status, int]:
    """How many there are of each status; all five are there."""
    found = Counter(result.outcome.status for result in results)
    statuses: tuple[Status, ...] = ("passed", "failed", "crashed", "does not apply", "not run")
    return {status: found[status] for status in statuses}


def summary(results: Sequence[Result]) -> str:
    """`41 passed, 2 failed, 3 do not apply, in 23 s`"""
    parts = []
    for status, count in counts(results).items():
        words = "do not apply" if status == "does not apply" and count > 1 else status
        parts += [f"{count} {words}"] if count else []
    return f"{', '.join(parts) or 'nothing to check'}, in {sum(result.seconds for result in results):.0f} s"


def measured(outcome: Outcome) -> str:
    """The number and what it may be at most; empty where nothing was measured."""
    if outcome.measured is None or outcome.tolerance is None:
        return ""
    return f"{outcome.measured:.3g}, at most {outcome.tolerance:.3g} allowed"


def detail(outcome: Outcome) -> str:
    """What stands behind the claim in a list of checks: the number, or why there is none."""
    return measured(outcome) if outcome.status in ("passed", "failed") else outcome.case


def failure(result: Result) -> str:
    """One failure in full: the smallest case, what it means, what else was seen, and where to read on."""
    outcome = result.outcome
    cause = f" ({outcome.cause})" if outcome.cause else ""
    lines = [
        ("measured", measured(outcome)),
        ("found" if outcome.status == "failed" else "the model", outcome.case),
        ("means", outcome.means),
        *(("also seen", seen) for seen in outcome.seen),
        ("read on", f"clearformer check --explain {result.id}"),
    ]
    head = f"{result.id} {outcome.status.upper()}{cause}: {result.check.claim}"
    return "\n".join([head, *(f"    {name:<10} {text}" for name, text in lines if text)])


def failures(results: Sequence[Result]) -> str:
    """All of them, with an empty line between."""
    return "\n\n".join(failure(result) for result in wrong(results))
