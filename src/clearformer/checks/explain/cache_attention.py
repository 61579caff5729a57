"""What the first attention of a cached step does with the cache, from its keys, values and scores."""

import dataclasses
from typing import Any

from torch import Tensor

from clearformer.checks.probe.attention import Attention, record_attention
from clearformer.checks.probe.influence import TOLERANCE, self_attentions
from clearformer.checks.probe.probe import Inputs, Probe


def inferred_positions(probe: Probe, past: int, new: int, length: int | None = None) -> list[int | None]:
    """The positions that `new` tokens get after `past` cached ones; None where they cannot be inferred.

    With the same token everywhere, scores differ by position alone. A query's scores with the first keys are compared
    with those of each position in one forward pass of `length` tokens.
    """
    token = probe.inputs(1, 1)
    full = first_attention(probe, repeat_token(token, length or probe.length()))
    step = first_attention_of_step(probe, repeat_token(token, past + new), past)
    if full is None or step is None or step.scores.shape[:-2] != full.scores.shape[:-2]:
        return [None] * new
    tolerance = TOLERANCE * full.products.std()
    positions: list[int | None] = []
    for query in step.scores.unbind(-2):
        matches = []
        for position in range(full.scores.shape[-1]):
            keys = slice(0, min(position + 1, past)) if past else slice(position, position + 1)
            scores = query[..., : keys.stop - keys.start]
            matches.append(bool((scores - full.scores[..., position, keys]).abs().max() <= tolerance))
        positions.append(matches.index(True) if sum(matches) == 1 else None)
    return positions


def attended_tokens(probe: Probe, past: int, new: int) -> tuple[list[int], list[int], bool]:
    """Which of `past` cached tokens the next ones attend to, which not, and whether all keys are as first computed.

    Tokens are recognised by their values; those that cannot be are in neither list, nor are those to which they do not
    attend in one forward pass either, as behind a window.
    """
    inputs = probe.inputs(1, past + new)
    full, step = first_attention(probe, inputs), first_attention_of_step(probe, inputs, past, cut=True)
    if full is None or step is None or full.values is None or step.values is None:
        return [], [], True
    if full.values.shape[:-2] != step.values.shape[:-2] or full.applied.shape[:-2] != step.applied.shape[:-2]:
        return [], [], True
    weights, wanted = step.applied.flatten(0, -2).amax(0), full.applied[..., past:, :].flatten(0, -2).amax(0)
    attended: list[int] = []
    hidden: list[int] = []
    for s in (wanted[:past] > 0).nonzero().flatten().tolist():
        if not _matching_slots(full.values[..., past:, :], full.values, s).any():  # else a new token has the same value
            slots = _matching_slots(step.values, full.values, s)
            (attended if (weights[slots] > 0).any() else hidden).append(s)
    return attended, hidden, all(bool(_matching_slots(step.keys, full.keys, s).any()) for s in attended)


def _matching_slots(step: Tensor, full: Tensor, s: int) -> Tensor:
    """Boolean [S]: the rows of `step` [*, S, E] that equal row s of `full`."""
    differences = (step - full[..., s : s + 1, :]).abs().amax(-1)
    return differences.reshape(-1, differences.shape[-1]).amax(0) <= TOLERANCE * full.std()


def first_attention(probe: Probe, inputs: Inputs) -> Attention | None:
    """The first self-attention of one forward pass."""
    return next(iter(self_attentions(probe, inputs)), None)


def first_attention_of_step(probe: Probe, inputs: Inputs, past: int, cut: bool = False) -> Attention | None:
    """The first self-attention of the tokens after the first `past`, which are cached: all, unless it may be `cut`."""
    cache: Any = None
    if past:
        _, cache = probe.step(inputs.replace(tokens=inputs.tokens[:, :past]), None)
    new_tokens = inputs.replace(tokens=inputs.tokens[:, past:])
    subject = probe.subject
    assert subject.step is not None
    step = subject.step
    stepping = dataclasses.replace(subject, call=lambda model, *tokens: step(model, *tokens, cache)[0])
    new = new_tokens.tokens.shape[1]
    least = new if cut and probe.kind == "causal" else past + new
    for attention in record_attention(Probe(stepping, probe.seed), new_tokens):
        if attention.scores.shape[-2] == new and attention.scores.shape[-1] >= least:
            return attention
    return None


def repeat_token(token: Inputs, times: int) -> Inputs:
    return token.replace(tokens=token.tokens.repeat_interleave(times, dim=1))
