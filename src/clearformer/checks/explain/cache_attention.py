"""What the first attention of a step does with the cache, seen in its keys, values and scores (`checks.watch`)."""

import dataclasses
from typing import Any

from torch import Tensor

from clearformer.checks.probe.attention import Attention, record_attention
from clearformer.checks.probe.influence import TOLERANCE, self_attentions
from clearformer.checks.probe.probe import Inputs, Probe


def positions(probe: Probe, past: int, new: int, length: int | None = None) -> list[int | None]:
    """Where the next tokens stand after `past` cached ones, by their scores with those; None where it cannot be told.

    With one token everywhere, scores differ by position alone, and a query's scores with the first keys are compared to
    those of each position in one forward, of `length` tokens.
    """
    one = probe.inputs(1, 1)
    full = first(probe, repeated(one, length or probe.length()))
    step = first_of_step(probe, repeated(one, past + new), past)
    if full is None or step is None or step.scores.shape[:-2] != full.scores.shape[:-2]:
        return [None] * new
    near = TOLERANCE * full.products.std()
    found: list[int | None] = []
    for query in step.scores.unbind(-2):
        fits = []
        for place in range(full.scores.shape[-1]):
            at = slice(0, min(place + 1, past)) if past else slice(place, place + 1)
            ours = query[..., : at.stop - at.start]
            fits.append(bool((ours - full.scores[..., place, at]).abs().max() <= near))
        found.append(fits.index(True) if sum(fits) == 1 else None)
    return found


def kept(probe: Probe, past: int, new: int) -> tuple[list[int], list[int], bool]:
    """Which of the `past` tokens the next ones attend to, by their values, which not, and if all keys are as they were.

    Tokens of which it cannot be told are in neither list.
    """
    inputs = probe.inputs(1, past + new)
    full, step = first(probe, inputs), first_of_step(probe, inputs, past)
    if full is None or step is None or full.values is None or step.values is None:
        return [], [], True
    if full.values.shape[:-2] != step.values.shape[:-2] or full.used.shape[:-2] != step.used.shape[:-2]:
        return [], [], True
    weight = step.used.flatten(0, -2).amax(0)
    seen: list[int] = []
    hidden: list[int] = []
    for s in range(past):
        if not _slots(full.values[..., past:, :], full.values, s).any():  # else a new token has the same value
            found = _slots(step.values, full.values, s)
            (seen if (weight[found] > 0).any() else hidden).append(s)
    return seen, hidden, all(bool(_slots(step.keys, full.keys, s).any()) for s in seen)


def _slots(step: Tensor, full: Tensor, s: int) -> Tensor:
    """[S]: which rows of [*, S, E] are the row s of one forward."""
    apart = (step - full[..., s : s + 1, :]).abs().amax(-1)
    return apart.reshape(-1, apart.shape[-1]).amax(0) <= TOLERANCE * full.std()


def first(probe: Probe, inputs: Inputs) -> Attention | None:
    """The first attention of the tokens to themselves, in one forward."""
    return next(iter(self_attentions(probe, inputs)), None)


def first_of_step(probe: Probe, inputs: Inputs, past: int) -> Attention | None:
    """The first attention of the tokens behind the first `past`, which are cached."""
    cache: Any = None
    if past:
        _, cache = probe.step(inputs.replace(tokens=inputs.tokens[:, :past]), None)
    later = inputs.replace(tokens=inputs.tokens[:, past:])
    subject = probe.subject
    assert subject.step is not None
    step = subject.step
    stepping = dataclasses.replace(subject, call=lambda model, *tokens: step(model, *tokens, cache)[0])
    new = later.tokens.shape[1]
    for attention in record_attention(Probe(stepping, probe.seed), later):
        if attention.scores.shape[-2] == new and attention.scores.shape[-1] >= past + new:
            return attention
    return None


def repeated(one: Inputs, times: int) -> Inputs:
    return one.replace(tokens=one.tokens.repeat_interleave(times, dim=1))
