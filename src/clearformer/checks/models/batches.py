"""Rows of a batch, and the padding that makes them equally long."""

import random

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clearformer.checks.explain.padding import DIAGNOSES, PaddedBatch, Side
from clearformer.checks.explain.repeatability import pass_or_explain
from clearformer.checks.outcome import DoesNotApply, Outcome, failed
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.probe.training import NoDropout, without_dropout

ROWS = 4


def independent(probe: Probe) -> Outcome:
    """No row of a batch influences another, and a row alone gives the same as in a batch.

    Rows are batched to save time, which must not change the result. A mean over the wrong axis, or attention along the
    batch instead of the sequence (nn.MultiheadAttention without batch_first=True), mixes unrelated sequences. What a
    user gets then depends on the other requests in the batch.

    Each row in turn gets other tokens, and the other rows must not change, in training mode neither, where dropout is
    taken out; then each row is computed alone. Look for an axis that is off by one: in a mean, a norm, a softmax, a
    reshape, or a squeeze that removes the axis of a single row.
    """
    inputs = probe.inputs(ROWS)
    in_batch = probe.logits(inputs)
    alone = torch.cat([probe.logits(inputs.row(row)) for row in range(ROWS)])
    changes = row_influence(probe, inputs, in_batch)
    from_alone = float(difference(alone, in_batch).max())

    def explain() -> Outcome:
        if changes.max() > TOLERANCE:
            return _rows_mixed(probe, inputs, in_batch, changes)
        return failed(
            "batch-size",
            from_alone,
            TOLERANCE,
            case=f"a row alone is {from_alone:.2g} standard deviations of the logits away from the "
            f"same row among {ROWS}",
            diagnosis="The tokens of other rows do not matter, but the number of rows does: look for a squeeze that "
            "removes the axis of a single row, for B in place of T, or for a dependence on the row's index.",
        )

    worst = max(float(changes.max()), from_alone)
    in_training = _row_influence_in_training(probe, inputs) if worst <= TOLERANCE else 0.0
    if in_training > TOLERANCE:
        return failed(
            "rows-mixed-in-training",
            in_training,
            TOLERANCE,
            case=f"in training mode other tokens in a row change another row by {in_training:.2g} standard deviations "
            "of the logits; in evaluation they do not",
            diagnosis="Statistics of the batch are used in training: a mean, a variance or a sum over axis 0.",
        )
    return pass_or_explain(probe, inputs, worst, explain)


def _row_influence_in_training(probe: Probe, inputs: Inputs) -> float:
    """0 where the model is no module, has PyTorch's batch norms, or draws random numbers beside dropout."""
    if not isinstance(probe.model, nn.Module) or any(isinstance(part, _BatchNorm) for part in probe.module.modules()):
        return 0.0
    clone = without_dropout(probe)
    clone.module.train()
    with NoDropout():
        random_states = torch.get_rng_state(), random.getstate()
        logits = clone.logits(inputs)
        repeatable = float(difference(logits, clone.logits(inputs)).max()) <= TOLERANCE
        if not (repeatable and torch.equal(torch.get_rng_state(), random_states[0])):
            return 0.0
        if random.getstate() != random_states[1]:  # layers are left out now and then
            return 0.0
        return float(row_influence(clone, inputs, logits).max())


def permuted(probe: Probe) -> Outcome:
    """Rows in another order give the same outputs in that order.

    The result must not depend on the index of a row. Something that is added by row, such as positions counted along
    the wrong axis, makes it do so.

    Four rows are computed in two orders and compared. Look for arange(B), or for a tensor that broadcasts along the
    batch.
    """
    inputs, order = probe.inputs(ROWS), torch.tensor([2, 0, 3, 1])
    logits = probe.logits(inputs)
    worst = float(difference(probe.logits(inputs.map(lambda tensor: tensor[order])), logits[order]).max())

    def explain() -> Outcome:
        changes = row_influence(probe, inputs, logits)
        if changes.max() > TOLERANCE:
            return _rows_mixed(probe, inputs, logits, changes)
        return failed(
            "row-number",
            worst,
            TOLERANCE,
            case=f"four rows in the order 2, 0, 3, 1 give logits that differ by {worst:.2g} standard deviations",
            diagnosis="The index of a row matters, while the other rows' tokens do not: something is added or looked "
            "up by row index.",
        )

    return pass_or_explain(probe, inputs, worst, explain)


def right_padding(probe: Probe) -> Outcome:
    """Padding on the right changes nothing for real tokens.

    Sequences of unequal length share a batch, and the shorter ones are padded. The logits of the real tokens must be
    those of the sequence alone. TransformerLens and transformers had models in which they were not.

    Rows of 12, 11, 6 and 1 tokens are computed in one batch and each alone. Fix the mask: padding keys are hidden in
    every attention layer, in addition to the causal mask and not in its place, and no mean includes them.
    """
    return _check_padding(probe, "right")


def left_padding(probe: Probe) -> Outcome:
    """Padding on the left changes nothing for real tokens.

    Prompts of unequal length are padded on the left, so that all continue at the same index. Positions must then begin
    at the first real token: GPT-2 in transformers is wrong unless it is given position_ids, and it raises no error.

    Rows of 12, 11, 6 and 1 tokens are computed in one batch and each alone. Fix the positions: (real.cumsum(-1) -
    1).clamp(min=0).
    """
    return _check_padding(probe, "left")


def padding_unseen(probe: Probe) -> Outcome:
    """The tokens that fill the padding do not matter.

    Padding has no meaning, so another token in its place must not change the logits of a real one. This is the direct
    proof that padding is not attended to.

    The padding is filled with the padding token, then with random ones. Where a mask says what is padding, the places
    that it names are hidden, and not as many on the other side. Fix the mask: it hides keys, so its shape is
    [B, 1, 1, S], in every layer.
    """
    paddings = [PaddedBatch(probe, side) for side in probe.subject.sides]
    paddings += [left for left in _left_too(probe) if left.hides_the_other_side()]
    changes = [padding.padding_influence() for padding in paddings]
    largest = max(changes)
    worst = paddings[changes.index(largest)]
    return pass_or_explain(probe, worst.inputs, largest, lambda: explain_padding_influence(worst, largest))


def _left_too(probe: Probe) -> list[PaddedBatch]:
    """Padding on the left, where a mask may say so and all stays finite. A classifier may read the first place."""
    if "left" in probe.subject.sides or probe.kind == "classifier":
        return []
    left = PaddedBatch(probe, "left")
    return [left] if all(row.isfinite().all() for row in left.logits()) else []


def explain_padding_influence(padding: PaddedBatch, change: float) -> Outcome:
    """Why the tokens that fill the padding matter. `change` is their influence, in standard deviations."""
    mask_is_ignored = padding.mask_influence() <= TOLERANCE
    if mask_is_ignored and max(padding.differences()) <= TOLERANCE:
        raise DoesNotApply("the model recognises padding by its token and not by a mask, so another is no padding")
    cause = "mask-ignored" if mask_is_ignored else "padding-attended"
    if padding.side == "left" and padding.hides_the_other_side():
        cause = "side-ignored"
    elif padding.mask_is_inverted():
        cause = "mask-inverted"
    case = (
        f"other padding tokens on the {padding.side} change the logits of real ones by {change:.2g} standard deviations"
    )
    return failed(cause, change, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])


def row_influence(probe: Probe, inputs: Inputs, logits: Tensor) -> Tensor:
    """[B, B]: the largest change of row j when row i gets other tokens, in standard deviations; 0 on the diagonal."""
    influences = []
    for row in range(len(logits)):
        at = torch.arange(len(logits)) == row
        replaced = inputs.map(lambda tensor: tensor.clone())
        replaced.tokens[at] = probe.replacements(inputs.tokens)[at]
        if inputs.source is not None and replaced.source is not None:
            replaced.source[at] = probe.replacements(inputs.source)[at]
        changes = difference(probe.logits(replaced), logits)
        influences.append(changes.reshape(len(logits), -1).amax(1).masked_fill(at, 0.0))
    return torch.stack(influences)


def _rows_mixed(probe: Probe, inputs: Inputs, logits: Tensor, changes: Tensor) -> Outcome:
    i, j = divmod(int(changes.argmax()), len(changes))
    pairs = ", ".join(f"{a} influences {b}" for a, b in (changes > TOLERANCE).nonzero().tolist())
    cause = "axes-swapped" if logits.dim() == 3 and _axes_are_swapped(probe, inputs, logits) else "rows-mixed"
    case = f"other tokens in row {i} change row {j} by {changes[i, j]:.2g} standard deviations of the logits"
    return failed(
        cause, float(changes.max()), TOLERANCE, case=case, diagnosis=ROW_DIAGNOSES[cause], notes=(f"rows: {pairs}",)
    )


ROW_DIAGNOSES = {
    "rows-mixed": "Rows of a batch influence each other: a mean, a norm or a softmax runs over the batch axis, or a "
    "reshape swaps rows and positions.",
    "axes-swapped": "Attention runs along the batch and not along the sequence: a token sees those at its own position "
    "in other rows, and none of its own row. nn.MultiheadAttention needs batch_first=True.",
}


def _axes_are_swapped(probe: Probe, inputs: Inputs, logits: Tensor) -> bool:
    """Whether the first token of row 0 influences other rows at that position alone, and nothing else in its own."""
    tokens = inputs.tokens.clone()
    tokens[0, 0] = probe.replacements(tokens)[0, 0]
    changed = difference(probe.logits(inputs.replace(tokens=tokens)), logits) > TOLERANCE
    return bool(changed[1:, 0].any() and not changed[:, 1:].any())


def _check_padding(probe: Probe, side: Side) -> Outcome:
    if side not in probe.subject.sides:
        raise DoesNotApply(
            f"padding on the {side} is not declared as supported; if it is, write Subject(..., sides=('left', 'right'))"
        )
    padding = PaddedBatch(probe, side)
    differences = padding.differences()
    return pass_or_explain(probe, padding.inputs, max(differences), lambda: padding.explain(differences))
