"""Why a model with a cache is not what it is without: from what each step sees, and the position it takes."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.explain.cache_attention import kept, positions
from clearformer.checks.outcome import Outcome, failed
from clearformer.checks.probe.influence import TOLERANCE, MIN_INFLUENCE, influence
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.subject import Subject

Why = tuple[str, str, tuple[str, ...]]
"""a cause, what it means, and what else was seen"""


def explain(probe: Probe, pieces: list[int], apart: Tensor) -> Outcome:
    """The cause of logits [T] that are `apart` from those of one forward, the tokens given in pieces."""
    t = int((apart > TOLERANCE).nonzero()[0])
    case = (
        f"tokens in pieces of {' + '.join(map(str, pieces))}: from position {t} on the logits differ from those of one "
        f"forward, by {apart[t]:.2g} of their spread there"
    )
    cause, diagnosis, seen = _from_the_start(probe) if t < pieces[0] else _later(probe, pieces)
    return failed(cause, float(apart.max()), TOLERANCE, case=case, diagnosis=diagnosis, seen=seen)


def _from_the_start(probe: Probe) -> Why:
    (found,) = positions(probe, past=0, new=1)
    if found:
        seen = f"the first token of an empty cache stands at position {found}, by its score in the first attention"
        cause = "position-off-by-one" if found == 1 else "position-wrong"
        return cause, DIAGNOSES[cause], (seen,)
    return "empty-cache", DIAGNOSES["empty-cache"], ()


def _later(probe: Probe, pieces: list[int]) -> Why:
    inputs = Probe(probe.subject, probe.seed).inputs(1, sum(pieces))
    full = influence(Probe(probe.subject, probe.seed), inputs)
    cached = influence(Probe(through_cache(probe, pieces), probe.seed), inputs)
    gained, lost = (cached > TOLERANCE) & (full <= MIN_INFLUENCE), (full > TOLERANCE) & (cached <= MIN_INFLUENCE)
    seen = (
        f"with the cache {int(lost.sum())} influences of a token on a later logit are lost, {int(gained.sum())} new",
    )
    T = len(full)  # noqa: N806
    starts = torch.tensor([0, *pieces[:-1]]).cumsum(0).repeat_interleave(torch.tensor(pieces))[:, None]
    t, s = torch.arange(T)[:, None], torch.arange(T)
    if gained.any():
        cause = "chunk-mask" if gained.triu(1).any() else "window-lost"
        return cause, DIAGNOSES[cause], seen
    if not lost.any():
        return _by_attention(probe, min(max(pieces[1:]), 2))
    if not (cached > MIN_INFLUENCE)[s < starts].any():
        return "past-forgotten", DIAGNOSES["past-forgotten"], seen
    if torch.equal(lost, (full > TOLERANCE) & (starts > 0) & (s > t - starts) & (s != t)):
        return "mask-corner", DIAGNOSES["mask-corner"], seen
    where = "the step at {} does not see token {}; ".format(*lost.nonzero()[0].tolist())
    return "past-cut", DIAGNOSES["past-cut"], (where + seen[0],)


def _by_attention(probe: Probe, new: int) -> Why:
    past = probe.length() // 2
    right, found = list(range(past, past + new)), positions(probe, past, new)
    seen = (f"after {past} tokens the queries of the next stand at {found}, by the scores of the first attention",)
    attended, hidden, same_keys = kept(probe, past, new)
    off = {None if place is None else place - ours for place, ours in zip(found, right, strict=True)}
    if attended and hidden:
        cause, seen = "past-cut", (f"of {past} cached tokens the first attention sees {attended} and not {hidden}",)
    elif None in off or off == {0}:
        cause = "differs" if same_keys else "keys-changed"
    elif found == list(range(new)):
        cause = "position-restarts"
    elif off in ({1}, {-1}):
        cause = "position-off-by-one"
    elif len(set(found)) < new:
        cause = "chunk-positions"
    else:
        cause = "position-wrong"
    return cause, DIAGNOSES[cause], seen


def through_cache(probe: Probe, pieces: list[int]) -> Subject:
    """The subject, called with a cache, piece by piece."""

    def call(_model: Any, *tokens: Tensor) -> Tensor:
        return probe.steps(Inputs(tokens[-1], source=tokens[0] if len(tokens) == 2 else None), pieces)

    return dataclasses.replace(probe.subject, call=call)


DIAGNOSES = {
    "chunk-mask": "Tokens of one piece see later tokens of the same piece: with a cache there is no causal mask. A "
    "single new token needs none, but several do.",
    "window-lost": "A step sees older tokens than one forward does: the sliding window is not applied to what is "
    "cached.",
    "past-forgotten": "A step sees nothing of what came before: the cached keys and values are not read, or not kept.",
    "mask-corner": "The mask of a piece is aligned to the wrong corner: query i sees keys 0 to i, and should see "
    "those up to (cached tokens) + i. F.scaled_dot_product_attention's is_causal=True does that where T is not S; "
    "use tril(S - T).",
    "past-cut": "Part of the past is lost: new keys and values take the place of old ones, or the mask hides some.",
    "empty-cache": "The first piece differs already, before anything is cached: either the cached path computes "
    "something else, or what an earlier text left behind is still there (see cache.separate).",
    "position-restarts": "The position restarts at 0 when the cache is not empty. Begin at the number of cached "
    "tokens.",
    "position-off-by-one": "New tokens stand one place from where they should. The first behind n cached ones has "
    "position n, as the count begins at 0.",
    "chunk-positions": "All tokens of a piece get the same position. Count on: (cached tokens) + arange(T).",
    "position-wrong": "New tokens do not stand behind the cached ones. Begin at the number of cached tokens.",
    "keys-changed": "The cached values are what they were and the keys are not: are they turned again at each step, "
    "or scaled, or kept from before their norm?",
    "differs": "All of the past is seen, from the right position as far as that can be told, and still the numbers "
    "are not the same: look for keys or values written to the wrong slot or layer, a mask, a norm or a scale that "
    "only one path applies.",
}
