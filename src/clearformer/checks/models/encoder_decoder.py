"""What the decoder sees of the source, and the encoder of the target."""

from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.explain.padding import PaddedBatch
from clearformer.checks.explain.repeatability import pass_or_explain
from clearformer.checks.models.batches import explain_padding_influence
from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.influence import MIN_INFLUENCE, TOLERANCE, influence
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.recognise.outputs import tensors_in
from clearformer.checks.weights import randomise_weights

WEIGHT_FACTORS = (1.0, 0.5, 0.25)
"""with smaller weights attention is smoother, and reaches tokens that sharp attention passes over"""


def source(probe: Probe) -> Outcome:
    """Every source token influences the logits at every target position.

    A decoder that never looks at the source still learns to write fluent text, and its loss falls for a long time. A
    causal mask in the cross-attention hides the end of the source from the beginning of the target.

    Each source token is replaced in turn, and all logits must change. Look at the source of the cross-attention's keys
    and values, and at its mask: [B, 1, 1, S], not causal.
    """
    without_influence = torch.ones(())
    for factor in WEIGHT_FACTORS:
        randomise_weights(probe.model, probe.seed, factor)
        without_influence = without_influence * (source_influence(probe, probe.inputs(1)) <= MIN_INFLUENCE)
    count, pairs = int(without_influence.sum()), without_influence.numel()
    if not count:
        return passed(0, 0)
    T, S = without_influence.shape  # noqa: N806
    t, s = without_influence.nonzero()[0].tolist()
    cause = "source-cut" if (without_influence.amin(0) > 0).any() else "some-positions"
    if count == pairs:
        cause = "source-ignored"
    elif torch.equal(without_influence, torch.ones_like(without_influence).triu(1)):
        cause = "causal-cross"
    case = f"replacing source token {s} of {S} does not change the logits at {t} of {T}; so in {count} of {pairs} pairs"
    return failed(cause, count, 0, case=case, diagnosis=DIAGNOSES[cause])


def source_padding(probe: Probe) -> Outcome:
    """Padding of the source changes nothing.

    Sources of unequal length share a batch. Padding must be hidden twice, in the encoder's self-attention and in the
    decoder's cross-attention; the second mask is the one that is forgotten.

    Sources of 10, 9, 5 and 1 tokens are computed in one batch and each alone, and then with other tokens as padding.
    """
    padding = PaddedBatch(probe, probe.subject.sides[0], "source")
    differences, change = padding.differences(), padding.padding_influence()
    if max(differences) <= TOLERANCE < change and padding.mask_influence() <= TOLERANCE:
        change = 0.0  # the model recognises padding by its token and not by a mask, so another token is no padding

    def explain() -> Outcome:
        where = None
        if not padding.mask_is_inverted() and padding.mask_influence() > TOLERANCE:
            where = _where_padding_is_attended(padding)
        if where is not None:
            return failed(
                where, max(*differences, change), TOLERANCE, case=padding.case(differences), diagnosis=DIAGNOSES[where]
            )
        return (
            padding.explain(differences) if max(differences) > TOLERANCE else explain_padding_influence(padding, change)
        )

    return pass_or_explain(probe, padding.inputs, max(*differences, change), explain)


def encoder(probe: Probe) -> Outcome:
    """The encoder does not see the target.

    An encoder that is given the target, or a decoder whose cross-attention reads the target itself, shows the answer to
    every position, through attention that has no causal mask. Training looks wonderful, and translation, where there is
    no target yet, is nonsense.

    The target is replaced, and the output of the submodule named encoder must not change. Then, if later target tokens
    change earlier logits and the source changes none, the target has taken its place.
    """
    inputs = probe.inputs(1)
    outputs = [
        encoder_output(probe, these) for these in (inputs, inputs.replace(tokens=probe.replacements(inputs.tokens)))
    ]
    change = 0.0
    if outputs[0] is not None and outputs[1] is not None:
        same_shape = outputs[0].shape == outputs[1].shape
        change = float(difference(*outputs).max()) if same_shape else float("inf")  # type: ignore[arg-type]
    leak = float(influence(probe, inputs).triu(1).max())
    source_is_ignored = leak > TOLERANCE and bool((source_influence(probe, inputs) <= MIN_INFLUENCE).all())

    def explain() -> Outcome:
        if change > TOLERANCE:
            case = f"with another target the encoder's output changes by {change:.2g} standard deviations"
            return failed(
                "encoder-reads-target", change, TOLERANCE, case=case, diagnosis=DIAGNOSES["encoder-reads-target"]
            )
        case = (
            f"later target tokens change earlier logits by {leak:.2g} standard deviations, and the source changes none"
        )
        return failed("target-for-source", leak, TOLERANCE, case=case, diagnosis=DIAGNOSES["target-for-source"])

    if leak > TOLERANCE and not source_is_ignored and outputs[0] is None:
        raise DoesNotApply(
            "later target tokens change earlier logits (see masks.future), and without a submodule named encoder it "
            "is unknown whether they do so through the encoder"
        )
    return pass_or_explain(probe, inputs, max(change, leak if source_is_ignored else 0.0), explain)


def source_influence(probe: Probe, inputs: Inputs) -> Tensor:
    """[T, S]: the change of the logits at t, in standard deviations, when the source token at s is replaced.

    `inputs` has one row.
    """
    assert inputs.source is not None
    S = inputs.source.shape[1]  # noqa: N806
    rows = inputs.map(lambda tensor: tensor.repeat_interleave(S + 1, dim=0))
    new = probe.replacements(inputs.source)[0]
    for s in range(S):
        assert rows.source is not None
        rows.source[s + 1, s] = new[s]
    logits = probe.logits(rows)
    return torch.stack([difference(row, logits[0]) for row in logits[1:]], dim=1)


def encoder_output(probe: Probe, inputs: Inputs) -> Tensor | None:
    """The output of the submodule named encoder; None where there is none, or it was not called."""
    modules = probe.model.named_modules() if isinstance(probe.model, nn.Module) else ()
    encoder_module = next((module for name, module in modules if name.rpartition(".")[2] == "encoder"), None)
    if encoder_module is None:
        return None
    outputs: list[Any] = []
    handle = encoder_module.register_forward_hook(lambda _module, _inputs, out: outputs.append(out))
    try:
        probe.logits(inputs)
    finally:
        handle.remove()
    vectors = next((one for out in outputs for one in tensors_in(out) if one.dim() == 3), None)
    if vectors is None or inputs.source is None:
        return vectors
    time_first = vectors.shape[:2] == inputs.source.shape[1::-1] != inputs.source.shape[:2]
    return (vectors.transpose(0, 1) if time_first else vectors).clone()


def _where_padding_is_attended(padding: PaddedBatch) -> str | None:
    """The cause, by whether other padding tokens change the encoder's output at real ones; None where unknown."""
    S = padding.lengths[2]  # noqa: N806
    row = padding.padded.row(2)
    refilled = row.replace(source=padding.refilled()[2:3])
    one, other = (encoder_output(padding.probe, these) for these in (row, refilled))
    if one is None or other is None or padding.padding_influence() <= TOLERANCE:
        return None
    axis = next((axis for axis, size in enumerate(one.shape) if size == len(padding.real[2])), None)
    if axis is None:
        return None
    start = 0 if padding.side == "right" else len(padding.real[2]) - S
    change = difference(*(output.narrow(axis, start, S) for output in (one, other))).max()
    return "encoder-padding" if change > TOLERANCE else "cross-padding"


DIAGNOSES = {
    "source-ignored": "The decoder does not use the source: the encoder's output does not reach the cross-attention, "
    "or the cross-attention does not reach the logits.",
    "causal-cross": "The cross-attention has a causal mask: position t sees source tokens up to t. The source is "
    "known in full before the first target token, so only its padding may be hidden.",
    "source-cut": "Some source tokens are never used: the source is truncated, or a mask hides a part of it.",
    "some-positions": "Some target positions do not see all of the source: look at the cross-attention's mask.",
    "encoder-padding": "The encoder attends to padded source tokens: its self-attention lacks the mask of real tokens.",
    "cross-padding": "The decoder attends to padded source tokens: the cross-attention lacks the source's mask. The "
    "encoder's own attention has it.",
    "encoder-reads-target": "The encoder is given the target, or something computed from it: pass the source alone.",
    "target-for-source": "The target is used instead of the source: the encoder is given the target, or the "
    "cross-attention takes its keys and values from the decoder's own input.",
}
