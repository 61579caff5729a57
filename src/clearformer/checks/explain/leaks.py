"""Why a past logit depends on a future token."""

import torch
from torch import Tensor

from clearformer.checks.probe.attention import Attention
from clearformer.checks.probe.influence import TOLERANCE


def explain_leak(moved: Tensor, attentions: list[Attention]) -> tuple[str, str, tuple[str, ...]]:
    """The cause of influence on the past, what it means, and what else was seen."""
    T = len(moved)  # noqa: N806
    distances = torch.arange(T) - torch.arange(T)[:, None]
    reach = int(distances[moved > TOLERANCE].max())
    weights = [float(attention.weights.triu(1).max()) for attention in attentions]
    used = [float(attention.used.triu(1).max()) for attention in attentions]
    per_layer = [int(distances.expand_as(a.used)[a.used > 0].max()) for a in attentions if a.used.triu(1).any()]
    seen = [f"a token is moved by those up to {reach} places ahead"]
    if attentions:
        share = ", ".join(f"{weight:.2g}" for weight in used)
        seen.append(f"largest attention weight on a future token, attention by attention: {share}")
    if not (moved.tril(-1) > TOLERANCE).any():
        return (
            "transposed",
            "The mask is transposed: each token sees what follows and not what came before.",
            tuple(seen),
        )
    if any(weight > 0 and after == 0 for weight, after in zip(weights, used, strict=True)):
        return (
            "after-softmax",
            "The mask is applied after the softmax: future scores still count in its sum. Set them to -inf before it.",
            tuple(seen),
        )
    if attentions and not any(used):
        return (
            "leak",
            "Attention itself looks at no future token, so something else mixes positions: a norm or a mean over the "
            "time axis, a shift, a convolution that is not causal, or an input that holds its own target.",
            tuple(seen),
        )
    one = max(per_layer, default=reach)
    if one < T - 1:
        return (
            "diagonal",
            f"The mask has the wrong diagonal: in a layer each token sees {one} ahead. Keys s <= t are allowed, "
            "as tril(0) or ~triu(1) has it.",
            tuple(seen),
        )
    if not all(used):
        blind = ", ".join(str(number) for number, weight in enumerate(used) if weight > 0)
        return "some-layers", f"Some attentions lack the causal mask, counted from 0: {blind}.", tuple(seen)
    if any(not attention.used.triu(1).amax((-2, -1)).all() for attention in attentions):
        return "some-heads", "Some heads lack the causal mask, and others have it.", tuple(seen)
    return (
        "no-mask",
        "There is no causal mask: every token sees the whole text. If that is meant, as in BERT, say "
        "--kind bidirectional.",
        tuple(seen),
    )
