"""Choose checks and run them on a subject, one after another, each on an unchanged model."""

import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch

from clearformer.checks.check import Check, Result, run_isolated
from clearformer.checks.explain.roots import LEARNING, foretells
from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.outcome import NotFinite, Outcome
from clearformer.checks.probe.probe import Probe
from clearformer.checks.subject import Subject
from clearformer.errors import ClearformerError


def choose(only: Sequence[str] = (), skip: Sequence[str] = (), slow: bool = False, size: int = 0) -> dict[str, Check]:
    """The checks whose ids match a pattern of `only` (or all, without `only`) and none of `skip`.

    A pattern is an id, a group's name, or has * in it. Checks that are slow on a model of `size` parameters are left
    out, unless `slow` is set or `only` holds the id.
    Raises ClearformerError for a pattern that matches nothing.
    """

    def matches(name: str, patterns: Sequence[str]) -> bool:
        return any(fnmatch(name, pattern) or name.split(".")[0] == pattern for pattern in patterns)

    for pattern in (*only, *skip):
        if not any(matches(name, [pattern]) for name in CHECKS):
            raise ClearformerError(
                f"the id of a check, or a group of them, was expected, found {pattern!r}; see: clearformer check --list"
            )
    return {
        name: check
        for name, check in CHECKS.items()
        if (not only or matches(name, only))
        and not matches(name, skip)
        and (slow or size < check.slow_from or name in only)
    }


def run_checks(
    subject: Subject, checks: dict[str, Check], seed: int = 1, on_start: Callable[[str], None] = lambda _: None
) -> Iterator[Result]:
    """Yield each check's result as soon as it is there. `on_start` is called with each check's id before it runs.

    A model that has failed in a way that stands in the way of learning is not trained, which would take a minute.
    Afterwards the model's weights, gradients, training mode and the random states are as before.
    """
    problems: list[Result] = []
    for name, check in checks.items():
        on_start(name)
        start = time.perf_counter()
        cause = next((found for found in problems if name in LEARNING and foretells(found, name)), None)
        if cause is None:
            outcome = run_check(subject, check, seed_of(name, seed))
        else:
            outcome = Outcome("not run", case=f"it takes long, and {cause.id} has failed, which explains a failure")
        result = Result(name, check, outcome, time.perf_counter() - start)
        problems += [result] if result.is_problem else []
        yield result


def seed_of(name: str, seed: int) -> int:
    """The seed of the check `name`, which is the same whichever other checks run."""
    return 1000 * seed + zlib.crc32(name.encode()) % 1000


def run_check(subject: Subject, check: Check, seed: int) -> Outcome:
    """Run one check, if it applies. An error of the model and a NaN in its output are outcomes too."""
    missing = [field for field in check.needs if getattr(subject, field) is None]
    if subject.kind not in check.kinds:
        kinds = " and ".join(check.kinds)
        return Outcome("does not apply", case=f"it is about {kinds} models, and this one is {subject.kind}")
    if missing:
        return Outcome("does not apply", case=MISSING[missing[0]])
    return run_isolated(check, subject.model, lambda: _finite_probe(subject, check, seed), seed)


def _finite_probe(subject: Subject, check: Check, seed: int) -> Probe:
    """A fresh probe, after a trial has shown finite logits. Raises NotFinite."""
    if check not in (CHECKS["numbers.finite"], CHECKS["learning.dropout"]):  # the latter watches the first evaluation
        trial = Probe(subject, seed)
        if not trial.logits(trial.inputs(1)).isfinite().all():
            raise NotFinite
    return Probe(subject, seed)


MISSING = {
    "padded": "how the model is given padding was not found: add --pad TOKEN, or write Subject(..., "
    "padded=lambda model, tokens, real: logits)",
    "step": "no step with a cache was found: add --step model.METHOD, or write Subject(..., "
    "step=lambda model, tokens, cache: (logits, cache))",
    "prefill": "how prompts of unequal length share a cache is not known: write Subject(..., "
    "prefill=lambda model, tokens, real: (logits, cache))",
    "loss": "the model's own loss was not found: add --loss model.METHOD or --loss FILE.py:FUNCTION, or write "
    "Subject(..., loss=lambda model, tokens, labels: loss)",
    "generate": "no method that writes text was found: add --generate model.METHOD, or write Subject(..., "
    "generate=lambda model, tokens, count: new_tokens)",
    "positions": "it takes no positions",
    "accumulate": "how gradients are accumulated is not known: write Subject(..., "
    "accumulate=lambda model, batches: None)",
    "vocab_size": "the model reads vectors and not tokens",
}
"""why a check does not apply where the subject lacks a field that it needs, and what to write"""
