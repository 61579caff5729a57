"""Rows of a batch, and the padding that makes them equally long."""

import torch
from torch import Tensor

from clearformer.checks.explain.padding import DIAGNOSES, Padding, Side
from clearformer.checks.explain.repeatability import pass_or_explain
from clearformer.checks.outcome import DoesNotApply, Outcome, failed
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe, difference

ROWS = 4


def independent(probe: Probe) -> Outcome:
    """No row of a batch moves another, and a row alone is what it is in a batch.

    Rows are batched to save time, and that must not show. A mean over the wrong axis, or attention along the batch
    where it should go along the text (nn.MultiheadAttention without batch_first=True), mixes texts that have nothing to
    do with each other. What a user gets then depends on who else asked.

    Each row in turn gets other tokens, and the others must stay as they were; then each is computed alone. Look for an
    axis that is off by one: in a mean, a norm, a softmax, a reshape, or a squeeze that takes the axis of a single row.
    """
    inputs = probe.inputs(ROWS)
    together = probe.logits(inputs)
    alone = torch.cat([probe.logits(inputs.row(row)) for row in range(ROWS)])
    moved = mixing(probe, inputs, together)
    apart = float(difference(alone, together).max())

    def explain() -> Outcome:
        if moved.max() > TOLERANCE:
            return _mixed(probe, inputs, together, moved)
        return failed(
            "batch-size",
            apart,
            TOLERANCE,
            case=f"a row alone is {apart:.2g} of the logits' spread away from the same row among {ROWS}",
            diagnosis="No token of another row matters, but the number of rows does: look for a squeeze that takes the "
            "axis of a single row, for B where T is meant, or for what depends on a row's number.",
        )

    return pass_or_explain(probe, inputs, max(float(moved.max()), apart), explain)


def permuted(probe: Probe) -> Outcome:
    """Rows in another order give the same outputs in that order.

    What a text means does not depend on the row it stands in. Something that is added by row, as positions counted
    along the wrong axis, makes it so.

    Four rows are computed in two orders and compared. Look for arange(B), or for a tensor that broadcasts along the
    batch.
    """
    inputs, order = probe.inputs(ROWS), torch.tensor([2, 0, 3, 1])
    logits = probe.logits(inputs)
    worst = float(difference(probe.logits(inputs.map(lambda tensor: tensor[order])), logits[order]).max())

    def explain() -> Outcome:
        moved = mixing(probe, inputs, logits)
        if moved.max() > TOLERANCE:
            return _mixed(probe, inputs, logits, moved)
        return failed(
            "row-number",
            worst,
            TOLERANCE,
            case=f"four rows in the order 2, 0, 3, 1 give logits that are {worst:.2g} of their spread away",
            diagnosis="The row that a text stands in matters, while the other rows' tokens do not: something is added or "
            "looked up by the row's number.",
        )

    return pass_or_explain(probe, inputs, worst, explain)


def right_padding(probe: Probe) -> Outcome:
    """Padding on the right changes nothing for real tokens.

    Texts of unequal length share a batch, and the shorter ones are filled up. The real tokens' logits must be those of
    the text alone. TransformerLens and transformers had models in which they were not.

    Rows of 12, 11, 6 and 1 tokens go together and each alone. Mend the mask: keys at padded places are hidden in every
    attention, beside the causal mask and not in its place, and no mean counts them.
    """
    return _padding(probe, "right")


def left_padding(probe: Probe) -> Outcome:
    """Padding on the left changes nothing for real tokens.

    Prompts of unequal length are padded on the left, so that all go on at the same place. Then positions must begin at
    the first real token: GPT-2 in transformers is wrong unless it is given position_ids, and it raises no error.

    Rows of 12, 11, 6 and 1 tokens go together and each alone. Mend the positions: (real.cumsum(-1) - 1).clamp(min=0).
    """
    return _padding(probe, "left")


def padding_unseen(probe: Probe) -> Outcome:
    """What stands in padded places does not matter.

    Padding has no meaning, so another token in its place must not move the logits of any real one. This is the direct
    proof that padded places are not attended to.

    Padded places are filled with the padding token, then with random ones. Mend the mask: it hides keys, so its shape
    is [B, 1, 1, S], in every layer.
    """
    paddings = [Padding(probe, side) for side in probe.subject.sides]
    moved = [padding.seen() for padding in paddings]
    worst = paddings[moved.index(max(moved))]
    return pass_or_explain(probe, worst.inputs, max(moved), lambda: seen_padding(worst, max(moved)))


def seen_padding(padding: Padding, moved: float) -> Outcome:
    """Why tokens in padded places matter."""
    ignored, apart = padding.told() <= TOLERANCE, max(padding.apart())
    if ignored and apart <= TOLERANCE:
        raise DoesNotApply("the model knows padding by its token and not by what it is told, so another is no padding")
    cause = "mask-ignored" if ignored else "padding-attended"
    if padding.inverted():
        cause = "mask-inverted"
    case = (
        f"other tokens in padded places on the {padding.side} move logits of real ones by {moved:.2g} of their spread"
    )
    return failed(cause, moved, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])


def mixing(probe: Probe, inputs: Inputs, logits: Tensor) -> Tensor:
    """[B, B]: how far row j moves, where most, when row i gets other tokens; 0 for the row itself."""
    moved = []
    for row in range(len(logits)):
        at = torch.arange(len(logits)) == row
        changed = inputs.map(lambda tensor: tensor.clone())
        changed.tokens[at] = probe.other(inputs.tokens)[at]
        if inputs.source is not None and changed.source is not None:
            changed.source[at] = probe.other(inputs.source)[at]
        by_place = difference(probe.logits(changed), logits)
        moved.append(by_place.reshape(len(logits), -1).amax(1).masked_fill(at, 0.0))
    return torch.stack(moved)


def _mixed(probe: Probe, inputs: Inputs, logits: Tensor, moved: Tensor) -> Outcome:
    i, j = divmod(int(moved.argmax()), len(moved))
    pairs = ", ".join(f"{a} moves {b}" for a, b in (moved > TOLERANCE).nonzero().tolist())
    cause = "axes-swapped" if logits.dim() == 3 and _swapped(probe, inputs, logits) else "rows-mixed"
    case = f"other tokens in row {i} move row {j} by {moved[i, j]:.2g} of the logits' spread"
    return failed(cause, float(moved.max()), TOLERANCE, case=case, diagnosis=MIXED[cause], seen=(f"rows: {pairs}",))


MIXED = {
    "rows-mixed": "Rows of a batch see each other: something runs over the batch axis, a mean, a norm, a softmax or "
    "a reshape in which rows and positions change places.",
    "axes-swapped": "Attention runs along the batch and not along the text: a token sees those at its own position "
    "in other rows, and none of its own row. nn.MultiheadAttention needs batch_first=True.",
}


def _swapped(probe: Probe, inputs: Inputs, logits: Tensor) -> bool:
    """Does the first token of row 0 move other rows at that position alone, and nothing else in its own?"""
    tokens = inputs.tokens.clone()
    tokens[0, 0] = probe.other(tokens)[0, 0]
    moved = difference(probe.logits(inputs.replace(tokens=tokens)), logits) > TOLERANCE
    return bool(moved[1:, 0].any() and not moved[:, 1:].any())


def _padding(probe: Probe, side: Side) -> Outcome:
    if side not in probe.subject.sides:
        raise DoesNotApply(
            f"padding is not said to be possible on the {side}; if it is, write Subject(..., sides=('left', 'right'))"
        )
    padding = Padding(probe, side)
    apart = padding.apart()
    return pass_or_explain(probe, padding.inputs, max(apart), lambda: padding.explain(apart))
