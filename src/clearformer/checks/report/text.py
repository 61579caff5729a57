"""Results as plain text."""

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from clearformer.checks.check import Result
from clearformer.checks.outcome import Outcome, Status


def problems(results: Sequence[Result]) -> list[Result]:
    """The results that failed or crashed."""
    return [result for result in results if result.outcome.status in ("failed", "crashed")]


def counts(results: Sequence[Result]) -> dict[Status, int]:
    """The number of results of each status, including statuses without any."""
    found = Counter(result.outcome.status for result in results)
    return {status: found[status] for status in get_args(Status)}


def summary(results: Sequence[Result]) -> str:
    """`41 passed, 2 failed, 3 do not apply, in 23 s`"""
    parts = []
    for status, count in counts(results).items():
        words = "do not apply" if status == "does not apply" and count > 1 else status
        parts += [f"{count} {words}"] if count else []
    return f"{', '.join(parts) or 'nothing to check'}, in {sum(result.seconds for result in results):.0f} s"


def measurement(outcome: Outcome) -> str:
    """`0.25, at most 0.0001 allowed`; empty where nothing was measured."""
    if outcome.measured is None or outcome.tolerance is None:
        return ""
    return f"{outcome.measured:.3g}, at most {outcome.tolerance:.3g} allowed"


def detail(outcome: Outcome) -> str:
    """What follows the claim in a list of results: the measurement, or why there is none."""
    return measurement(outcome) if outcome.status in ("passed", "failed") else outcome.case


def describe_problem(result: Result) -> str:
    """One failure in full: measurement, smallest case, diagnosis, notes, and where to read more."""
    outcome = result.outcome
    cause = f" ({outcome.cause})" if outcome.cause else ""
    lines = [
        ("measured", measurement(outcome)),
        ("found" if outcome.status == "failed" else "the model", outcome.case),
        ("means", outcome.diagnosis),
        *(("also seen", note) for note in outcome.notes),
        ("read on", f"clearformer check --explain {result.id}"),
    ]
    head = f"{result.id} {outcome.status.upper()}{cause}: {result.check.claim}"
    return "\n".join([head, *(f"    {label:<10} {text}" for label, text in lines if text)])


def describe_problems(results: Sequence[Result]) -> str:
    """All failures and crashes, separated by empty lines."""
    return "\n\n".join(describe_problem(result) for result in problems(results))
