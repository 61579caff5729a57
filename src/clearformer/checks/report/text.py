"""Results as plain text."""

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from clearformer.checks.check import Result
from clearformer.checks.explain.roots import knows, roots
from clearformer.checks.outcome import Outcome, Status


def problems(results: Sequence[Result]) -> list[Result]:
    """The results that failed or crashed: first those that explain all others, the first to fix first."""
    return [*roots(results), *(result for result in results if result.follows)]


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


def detail(result: Result) -> str:
    """What stands after the claim in a list of results: the measurement, or why there is none, or the cause's check."""
    outcome = result.outcome
    if result.follows:
        return f"follows from {result.follows}"
    return measurement(outcome) if outcome.status in ("passed", "failed") else outcome.case


def describe_problem(result: Result, results: Sequence[Result] = ()) -> str:
    """One failure in full: measurement, smallest case, diagnosis, notes, where to read more, and what follows from it.

    `results` are all results, those of `link`.
    """
    outcome = result.outcome
    cause = f" ({outcome.cause})" if outcome.cause else ""
    consequences = [other.id for other in results if other.follows == result.id]
    lines = [
        ("measured", measurement(outcome)),
        ("found" if outcome.status == "failed" else "the model", outcome.case),
        ("means", outcome.diagnosis),
        *(("also seen", note) for note in outcome.notes),
        ("explains", ", ".join(consequences)),
        ("read on", f"clearformer check --explain {result.id}"),
    ]
    head = f"{result.id} {outcome.status.upper()}{cause}: {result.check.claim}"
    return "\n".join([head, *(f"    {label:<10} {text}" for label, text in lines if text)])


def describe_problems(results: Sequence[Result]) -> str:
    """What explains all failures: where to start, and what was found beside it; of the results of `link`."""
    found = roots(results)
    known = [result for result in found if knows(result)] or found
    lines = [describe_problem(result, results) for result in known]
    if len(problems(results)) > 1:
        lines[0] = f"Start here: {lines[0]}"
    lines[1:] = [f"Beside it: {line}" for line in lines[1:]]
    if unknown := " ".join(result.id for result in found if result not in known):
        lines.append(
            f"Not explained: {unknown.replace(' ', ', ')}. No known mistake gives what they measured, and what stands "
            f"above may be the reason. Fix that, then run them again: clearformer check TARGET --only {unknown}"
        )
    return "\n\n".join(lines)
