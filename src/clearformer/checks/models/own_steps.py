"""A model's further steps with a cache."""

import dataclasses

from clearformer.checks.models import cache
from clearformer.checks.outcome import DoesNotApply, Outcome
from clearformer.checks.probe.probe import Probe
from clearformer.checks.weights import preserve_state


def methods(probe: Probe) -> Outcome:
    """All of the model's steps with a cache give the logits of one forward pass.

    A model may have two ways to generate: `forward` with a cache, and a method for one token. Each has its own
    positions and its own mask, and a change in one is easily forgotten in the other.

    Each takes two texts in turn, and then twelve tokens one at a time and in chunks, as in cache.separate, cache.steps
    and cache.chunks.
    """
    if not probe.subject.steps:
        raise DoesNotApply("it has no second step with a cache")
    outcomes = []
    for name, function in probe.subject.steps.items():
        keeps_cache = bool(getattr(function, "keeps_cache", False))
        subject = dataclasses.replace(probe.subject, step=function, keeps_cache=keeps_cache)
        for check in (cache.separate, cache.steps, cache.chunks):
            try:
                with preserve_state(probe.model):
                    outcome = check(Probe(subject, probe.seed))
            except DoesNotApply:
                continue
            if outcome.status == "failed":
                return dataclasses.replace(outcome, case=f"{name}: {outcome.case}")
            outcomes.append(outcome)
    return max(outcomes, key=lambda outcome: outcome.measured or 0.0)
