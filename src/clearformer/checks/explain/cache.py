"""Why logits computed with a cache differ from one forward pass: from influence, and from the first attention."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.explain.cache_attention import attended_tokens, inferred_positions
from clearformer.checks.outcome import Outcome, failed
from clearformer.checks.probe.influence import MIN_INFLUENCE, TOLERANCE, influence
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.subject import Subject

Cause = tuple[str, tuple[str, ...]]
"""a cause, and notes"""


def explain(probe: Probe, chunks: list[int], differences: Tensor) -> Outcome:
    """The cause of `differences` [T] from one forward pass, with the tokens given in chunks of these lengths."""
    t = int((differences > TOLERANCE).nonzero()[0])
    case = (
        f"tokens in chunks of {' + '.join(map(str, chunks))}: from position {t} on the logits differ from one forward "
        f"pass, there by {differences[t]:.2g} standard deviations"
    )
    cause, notes = _cause_in_first_chunk(probe) if t < chunks[0] else _cause_in_later_chunks(probe, chunks)
    return failed(cause, float(differences.max()), TOLERANCE, case=case, diagnosis=DIAGNOSES[cause], notes=notes)


def _cause_in_first_chunk(probe: Probe) -> Cause:
    (position,) = inferred_positions(probe, past=0, new=1)
    if position:
        note = f"the first token of an empty cache gets position {position}, by its score in the first attention"
        return "position-off-by-one" if position == 1 else "position-wrong", (note,)
    return "empty-cache", ()


def _cause_in_later_chunks(probe: Probe, chunks: list[int]) -> Cause:
    inputs = Probe(probe.subject, probe.seed).inputs(1, sum(chunks))
    full = influence(Probe(probe.subject, probe.seed), inputs)
    cached = influence(Probe(with_cache(probe, chunks), probe.seed), inputs)
    gained = (cached > TOLERANCE) & (full <= MIN_INFLUENCE)
    lost = (full > TOLERANCE) & (cached <= MIN_INFLUENCE)
    note = f"with the cache, {int(lost.sum())} influences of a token on a later logit are lost, {int(gained.sum())} new"
    T = len(full)  # noqa: N806
    starts = torch.tensor([0, *chunks[:-1]]).cumsum(0).repeat_interleave(torch.tensor(chunks))[:, None]
    t, s = torch.arange(T)[:, None], torch.arange(T)
    if gained.any():
        return "chunk-mask" if gained.triu(1).any() else "window-lost", (note,)
    if not lost.any():
        return _cause_in_attention(probe, min(max(chunks[1:]), 2))
    if not (cached > MIN_INFLUENCE)[s < starts].any():
        return "past-forgotten", (note,)
    if torch.equal(lost, (full > TOLERANCE) & (starts > 0) & (s > t - starts) & (s != t)):
        return "mask-corner", (note,)
    first = "the step at {} does not see token {}; ".format(*lost.nonzero()[0].tolist())
    return "past-cut", (first + note,)


def _cause_in_attention(probe: Probe, new: int) -> Cause:
    past = probe.length() // 2
    expected, positions = list(range(past, past + new)), inferred_positions(probe, past, new)
    notes = (f"after {past} tokens the next queries get positions {positions}, by the scores of the first attention",)
    attended, hidden, same_keys = attended_tokens(probe, past, new)
    offsets = {None if found is None else found - right for found, right in zip(positions, expected, strict=True)}
    if attended and hidden:
        return "past-cut", (f"of {past} cached tokens the first attention sees {attended} and not {hidden}",)
    if None in offsets or offsets == {0}:
        return "differs" if same_keys else "keys-changed", notes
    if positions == list(range(new)):
        return "position-restarts", notes
    if offsets in ({1}, {-1}):
        return "position-off-by-one", notes
    return "chunk-positions" if len(set(positions)) < new else "position-wrong", notes


def with_cache(probe: Probe, chunks: list[int]) -> Subject:
    """The subject, called with a cache, chunk by chunk."""

    def call(_model: Any, *tokens: Tensor) -> Tensor:
        return probe.cached_logits(Inputs(tokens[-1], source=tokens[0] if len(tokens) == 2 else None), chunks)

    return dataclasses.replace(probe.subject, call=call)


DIAGNOSES = {
    "chunk-mask": "Tokens of a chunk see later tokens of the same chunk: with a cache there is no causal mask. A "
    "single new token needs none, but several do.",
    "window-lost": "A step sees older tokens than one forward pass does: the sliding window is not applied to cached "
    "tokens.",
    "past-forgotten": "A step sees no earlier token: the cached keys and values are not read, or not stored.",
    "mask-corner": "The mask of a chunk is aligned to the wrong corner: query i sees keys 0 to i, and should see "
    "those up to (cached tokens) + i. F.scaled_dot_product_attention's is_causal=True does that where T is not S; "
    "use tril(S - T).",
    "past-cut": "Part of the past is lost: new keys and values overwrite old ones, or the mask hides some.",
    "empty-cache": "The first chunk differs already, before anything is cached: the cached code path computes "
    "something else, or an earlier sequence is still in the cache (see cache.separate).",
    "position-restarts": "Positions restart at 0 when the cache is not empty. Begin at the number of cached tokens.",
    "position-off-by-one": "New tokens get a position that is off by one. The first after n cached ones has position "
    "n, as counting begins at 0.",
    "chunk-positions": "All tokens of a chunk get the same position. Use (cached tokens) + arange(T).",
    "position-wrong": "New tokens do not get the positions after the cached ones. Begin at the "
    "number of cached tokens.",
    "keys-changed": "The cached values are as first computed and the keys are not: are they rotated again at each "
    "step, or scaled, or stored before their norm?",
    "differs": "All of the past is seen, from the right position as far as can be inferred, and still the numbers "
    "differ: look for keys or values written to the wrong slot or layer, or for a mask, a norm or a scale in only one "
    "of the code paths.",
}
