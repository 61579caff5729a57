"""A model's further steps with a cache."""

import dataclasses

from clearformer.checks.models import cache
from clearformer.checks.outcome import DoesNotApply, Outcome
from clearformer.checks.probe.probe import Probe


def methods(probe: Probe) -> Outcome:
    """All of the model's steps with a cache give the logits of one forward pass.

    A model may have two ways to generate: `forward` with a cache, and a method for one token. Each has its own
    positions and its own mask, and a change in one is easily forgotten in the other.

    Each takes twelve tokens one at a time, and then in chunks, as in cache.steps and cache.chunks.
    """
    if not probe.subject.steps:
        raise DoesNotApply("it has no second step with a cache")
    outcomes = []
    for name, function in probe.subject.steps.items():
        subject = dataclasses.replace(probe.subject, step=function)
        for check in (cache.steps, cache.chunks):
            outcome = check(Probe(subject, probe.seed))
            if outcome.status == "failed":
                return dataclasses.replace(outcome, case=f"{name}: {outcome.case}")
            outcomes.append(outcome)
    return max(outcomes, key=lambda outcome: outcome.measured or 0.0)
