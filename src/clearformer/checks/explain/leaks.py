"""Why a past logit depends on a future token."""

import torch
from torch import Tensor

from clearformer.checks.probe.attention import Attention
from clearformer.checks.probe.influence import TOLERANCE

MASKED_SHARE = 0.9
"""of the queries: without a mask it happens to a third of them or fewer, as to the first, which has one past token"""

Explanation = tuple[str, str, tuple[str, ...]]
"""a cause, its diagnosis, and notes"""


FINITE_MASK = (
    "The mask gives what it hides a low score, but a finite one, and other scores reach that. Use -inf, "
    "torch.finfo(dtype).min, or a boolean mask."
)


def explain_leak(influence: Tensor, attentions: list[Attention]) -> Explanation:
    """The cause of influence [T, T] above the diagonal, given the recorded self-attention."""
    T = len(influence)  # noqa: N806
    distances = torch.arange(T) - torch.arange(T)[:, None]
    reach = int(distances[influence > TOLERANCE].max())
    weights = [float(attention.weights.triu(1).max()) for attention in attentions]
    applied = [float(attention.applied.triu(1).max()) for attention in attentions]
    notes = [f"a logit depends on tokens up to {reach} positions ahead"]
    if attentions:
        values = ", ".join(f"{weight:.2g}" for weight in applied)
        notes.append(f"largest attention weight on a future token, attention by attention: {values}")
    return *_cause_and_diagnosis(influence, attentions, weights, applied, reach), tuple(notes)


def _cause_and_diagnosis(
    influence: Tensor, attentions: list[Attention], weights: list[float], applied: list[float], reach: int
) -> tuple[str, str]:
    """`weights`, `applied`: the largest on a future token, before and after masking, of each attention."""
    if not (influence.tril(-1) > TOLERANCE).any():
        return "transposed", "The mask is transposed: each token sees what follows and not what came before."
    if any(weight > 0 and after == 0 for weight, after in zip(weights, applied, strict=True)):
        return (
            "after-softmax",
            "The mask is applied after the softmax: future scores still count in its sum. Set them to -inf before it.",
        )
    if attentions and not any(applied):
        return (
            "leak",
            "Attention gives future tokens no weight, so something else mixes positions: a norm or a mean over the "
            "time axis, a reshape that cuts heads out of it, a shift, a convolution that is not causal, or an input "
            "that contains its own target.",
        )
    if any(is_masked_by_a_number(attention) for attention in attentions):
        return "finite-mask", FINITE_MASK
    T = len(influence)  # noqa: N806
    distances = torch.arange(T) - torch.arange(T)[:, None]
    per_layer = [
        int(distances.expand_as(one.applied)[one.applied > 0].max()) for one in attentions if one.applied.triu(1).any()
    ]
    in_one_layer = max(per_layer, default=reach)
    if in_one_layer < T - 1:
        return (
            "diagonal",
            f"The mask has the wrong diagonal: in one layer each token sees {in_one_layer} ahead. Keys s <= t are "
            "allowed, as in tril(0) or ~triu(1).",
        )
    if not all(applied):
        unmasked = ", ".join(str(number) for number, weight in enumerate(applied) if weight > 0)
        return "some-layers", f"Some attention layers lack the causal mask, counted from 0: {unmasked}."
    if any(not attention.applied.triu(1).amax((-2, -1)).all() for attention in attentions):
        return "some-heads", "Some heads lack the causal mask, and others have it."
    return (
        "no-mask",
        "There is no causal mask: every token sees the whole sequence. If that is intended, as in BERT, pass "
        "--kind bidirectional.",
    )


def is_masked_by_a_number(attention: Attention) -> bool:
    """Whether future tokens get weight though nearly every query's scores of them are below all those of its past."""
    if not attention.applied.triu(1).any():
        return False
    T = attention.scores.shape[-1]  # noqa: N806
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    scores = attention.scores.reshape(-1, T, T)[:, :-1]  # the last query has no future
    highest = scores.masked_fill(~future[:-1], -torch.inf).amax(-1)
    lowest = scores.masked_fill(future[:-1], torch.inf).amin(-1)
    return bool(scores.isfinite().all() and (highest < lowest).double().mean() > MASKED_SHARE)
