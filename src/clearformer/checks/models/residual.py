"""The residual stream: what goes into a sub-layer goes past it, and what comes out of it stays."""

import itertools

import torch

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.blocking import Step, blocked_logits, steps
from clearformer.checks.probe.influence import MIN_INFLUENCE, TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe, difference

FEWEST_BETWEEN = 4
"""products with weights between the attentions of two layers; between separate heads of one layer there are three"""
MOST_AFTER = 2
"""products that belong to an attention and come after it: its output, and perhaps a gate"""


def residual(probe: Probe) -> Outcome:
    """What goes into a sub-layer also goes past it.

    Each attention and each feed-forward network adds to what it was given. Where its result takes the place of that, as
    in `x = attention(x)`, one layer still works; several lose the token itself, and a deep model hardly learns.

    The results of all attentions are set to zero, then those of all matrix products between the first attention and the
    last. Other tokens must still give other logits, as they get past; if not, each is set to zero alone, to find it.
    An attention whose queries do not depend on the tokens, as those of a Perceiver, has nothing of them to let past.

    Then all that follows the first layer's attention is set to zero, up to the last attention. What the first has read
    of other tokens must still reach the logits, by the stream alone.
    """
    inputs, count = probe.inputs(1), 0
    for field in ("tokens", "source"):
        tokens = getattr(inputs, field)
        if tokens is None:
            continue
        pair = inputs.map(lambda tensor: torch.cat([tensor, tensor]))
        pair = pair.replace(**{field: torch.cat([tokens, probe.replacements(tokens)])})
        found = steps(probe, pair)
        attentions = [n for n, step in enumerate(found) if step.queries == tokens.shape[1] and step.varies]
        between = range(attentions[0] + 1, attentions[-1]) if attentions else ()
        products = [number for number in between if found[number].weight]
        for group in (attentions, products):
            if group and not _something_passes(probe, pair, group):
                alone = (number for number in group if not _something_passes(probe, pair, [number]))
                return _nothing_gets_past(found, next(alone, None), group, field)
        count += len(attentions)
    if not count:
        raise DoesNotApply("no attention was recorded: no product of activations goes into a torch softmax")
    if _is_dropped(probe):
        return failed(
            "not-carried",
            1,
            0,
            case="with the results of all that follows the first layer's attention set to zero, the logits do not "
            "depend on other tokens",
            diagnosis="What attention gives is read by the next sub-layer, and is not in the stream after it: that "
            "adds to what was there before attention. Write x = x + attention(x), and then x = x + f(x).",
        )
    return passed(0, 0, f"{count} attentions")


def _is_dropped(probe: Probe) -> bool:
    """Whether the first layer's attention reaches the logits by way of the next sub-layer alone."""
    inputs = probe.inputs(1)
    T = inputs.tokens.shape[1]  # noqa: N806
    tokens = torch.cat([probe.replacements(inputs.tokens)[:, :-1], inputs.tokens[:, -1:]], dim=1)
    pair = inputs.map(lambda tensor: torch.cat([tensor, tensor])).replace(tokens=torch.cat([inputs.tokens, tokens]))
    found = steps(probe, pair)
    attentions = [number for number, step in enumerate(found) if (step.queries, step.keys) == (T, T)]
    ends = [a for a, b in itertools.pairwise(attentions) if _products(found, a, b) >= FEWEST_BETWEEN]
    if probe.kind == "classifier" or not ends:
        return False
    own = [number for number in range(ends[0], attentions[-1]) if found[number].weight][:MOST_AFTER]
    blocked = range(own[-1] + 1, attentions[-1] + 1)
    without, entire = (difference(*blocked_logits(probe, pair, these)[:, -1:]) for these in (blocked, ()))
    return bool(without.max() <= MIN_INFLUENCE and entire.max() > TOLERANCE)


def _products(found: list[Step], start: int, stop: int) -> int:
    return sum(bool(step.weight) for step in found[start:stop])


def _something_passes(probe: Probe, pair: Inputs, blocked: list[int]) -> bool:
    """Whether two rows of other tokens give other logits when the results of these steps are zero."""
    first, second = blocked_logits(probe, pair, blocked)
    return float(difference(first, second).max()) > TOLERANCE


def _nothing_gets_past(found: list[Step], number: int | None, group: list[int], field: str) -> Outcome:
    """`number`: the step without which nothing passes; None where it takes all of the `group`, such as heads."""
    name = "every attention" if not found[group[0]].weight else "every matrix product between two attentions"
    if number is not None:
        attention = sum(not step.weight for step in found[:number])
        name = f"the product with {found[number].weight}" if found[number].weight else f"attention {attention}"
    return failed(
        "no-residual",
        1,
        0,
        case=f"with the result of {name} set to zero, the logits do not depend on the {field}",
        diagnosis="Nothing of what goes into this sub-layer gets past it: its result takes the place of its input. Add "
        "the two, x = x + f(norm(x)) or x = norm(x + f(x)).",
    )
