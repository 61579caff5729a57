"""What the decoder knows of the source, and the encoder of the target."""

from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.explain.padding import Padding
from clearformer.checks.explain.repeatability import pass_or_explain
from clearformer.checks.models.batches import seen_padding
from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.influence import TOLERANCE, MIN_INFLUENCE, influence
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.weights import randomise_weights

GENTLER = (1.0, 0.5, 0.25)
"""factors on the weights: what a sharp attention passes over at one, a smoother one sees at another"""


def source(probe: Probe) -> Outcome:
    """Every source token moves the logits at every target position.

    A decoder that never looks at the source still learns to write fluent text, and its loss falls for long. A causal
    mask that slipped into the cross-attention hides the end of the source from the beginning of the target.

    Each source token is exchanged in turn, and all logits must move. Look at what the cross-attention's keys and values
    are made from, and at its mask: [B, 1, 1, S], without causality.
    """
    unseen = torch.ones(())
    for factor in GENTLER:
        randomise_weights(probe.model, probe.seed, factor)
        unseen = unseen * (by_source(probe, probe.inputs(1)) <= MIN_INFLUENCE)
    count, pairs = int(unseen.sum()), unseen.numel()
    if not count:
        return passed(0, 0)
    T, S = unseen.shape  # noqa: N806
    t, s = unseen.nonzero()[0].tolist()
    cause = "source-cut" if (unseen.amin(0) > 0).any() else "some-positions"
    if count == pairs:
        cause = "source-ignored"
    elif torch.equal(unseen, torch.ones_like(unseen).triu(1)):
        cause = "causal-cross"
    case = f"exchanging source token {s} of {S} does not move the logits at {t} of {T}; so in {count} of {pairs} pairs"
    return failed(cause, count, 0, case=case, diagnosis=DIAGNOSES[cause])


def source_padding(probe: Probe) -> Outcome:
    """Padding of the source changes nothing.

    Sources of unequal length share a batch. Padded places must be hidden twice, in the encoder's own attention and in
    the decoder's attention to the encoder's output; the second mask is the one that is forgotten.

    Sources of 10, 9, 5 and 1 tokens go together and each alone, and then other tokens stand in the padded places.
    """
    padding = Padding(probe, probe.subject.sides[0], "source")
    apart, moved = padding.apart(), padding.seen()
    if max(apart) <= TOLERANCE < moved and padding.told() <= TOLERANCE:
        moved = 0.0  # padding is known by its token and not by what the model is told, so another token is none

    def explain() -> Outcome:
        where = None if padding.inverted() or padding.told() <= TOLERANCE else _where_padding_is_seen(padding)
        if where is not None:
            return failed(where, max(*apart, moved), TOLERANCE, case=padding.case(apart), diagnosis=DIAGNOSES[where])
        return padding.explain(apart) if max(apart) > TOLERANCE else seen_padding(padding, moved)

    return pass_or_explain(probe, padding.inputs, max(*apart, moved), explain)


def encoder(probe: Probe) -> Outcome:
    """The encoder does not see the target.

    An encoder that is given the target, or a decoder whose cross-attention reads the target itself, hands the answer to
    every position at once, through attention that has no causal mask. Training looks wonderful, and translation, where
    there is no target yet, is nonsense.

    The target is exchanged, and the output of the submodule named encoder must stay as it was. Then, if later target
    tokens move earlier logits, the source tells by what way: where it moves nothing, the target has taken its place.
    """
    inputs = probe.inputs(1)
    outputs = [encoded(probe, given) for given in (inputs, inputs.replace(tokens=probe.other(inputs.tokens)))]
    moved = 0.0
    if outputs[0] is not None and outputs[1] is not None:
        same_shape = outputs[0].shape == outputs[1].shape
        moved = float(difference(*outputs).max()) if same_shape else float("inf")  # type: ignore[arg-type]
    leak = float(influence(probe, inputs).triu(1).max())
    ignored = leak > TOLERANCE and bool((by_source(probe, inputs) <= MIN_INFLUENCE).all())

    def explain() -> Outcome:
        if moved > TOLERANCE:
            case = f"with another target the encoder's output moves by {moved:.2g} of its spread"
            return failed("encoder-reads-target", moved, TOLERANCE, case=case, diagnosis=DIAGNOSES["encoder-reads-target"])
        case = f"later target tokens move earlier logits by {leak:.2g} of their spread, and the source moves none"
        return failed("target-for-source", leak, TOLERANCE, case=case, diagnosis=DIAGNOSES["target-for-source"])

    if leak > TOLERANCE and not ignored and outputs[0] is None:
        raise DoesNotApply(
            "later target tokens move earlier logits (see masks.future), and without a submodule named encoder it "
            "cannot be told whether they do so through the encoder"
        )
    return pass_or_explain(probe, inputs, max(moved, leak if ignored else 0.0), explain)


def by_source(probe: Probe, inputs: Inputs) -> Tensor:
    """[T, S]: how far the logits at t move when the source token at s is exchanged. `inputs` has one row."""
    assert inputs.source is not None
    S = inputs.source.shape[1]  # noqa: N806
    rows = inputs.map(lambda tensor: tensor.repeat_interleave(S + 1, dim=0))
    new = probe.other(inputs.source)[0]
    for s in range(S):
        assert rows.source is not None
        rows.source[s + 1, s] = new[s]
    logits = probe.logits(rows)
    return torch.stack([difference(row, logits[0]) for row in logits[1:]], dim=1)


def encoded(probe: Probe, inputs: Inputs) -> Tensor | None:
    """What the submodule named encoder gave out, or None where there is none, or it was not called."""
    modules = probe.model.named_modules() if isinstance(probe.model, nn.Module) else ()
    named = next((module for name, module in modules if name.rpartition(".")[2] == "encoder"), None)
    if named is None:
        return None
    outputs: list[Any] = []
    handle = named.register_forward_hook(lambda _module, _inputs, out: outputs.append(out))
    try:
        probe.logits(inputs)
    finally:
        handle.remove()
    return extract_logits(outputs[0]).clone() if outputs else None


def _where_padding_is_seen(padding: Padding) -> str | None:
    """In the encoder or behind it: does the encoder's output at real places move with what stands in padded ones?"""
    S = padding.lengths[2]  # noqa: N806
    row = padding.padded.row(2)
    refilled = row.replace(source=padding.refilled()[2:3])
    one, other = (encoded(padding.probe, given) for given in (row, refilled))
    if one is None or other is None or padding.seen() <= TOLERANCE:
        return None
    axis = next((axis for axis, size in enumerate(one.shape) if size == len(padding.real[2])), None)
    if axis is None:
        return None
    start = 0 if padding.side == "right" else len(padding.real[2]) - S
    moved = difference(*(output.narrow(axis, start, S) for output in (one, other))).max()
    return "encoder-padding" if moved > TOLERANCE else "cross-padding"


DIAGNOSES = {
    "source-ignored": "The decoder does not use the source: the encoder's output does not reach the cross-attention, "
    "or the cross-attention does not reach the logits.",
    "causal-cross": "The cross-attention has a causal mask: position t sees source tokens up to t. The source is "
    "known in full before the first target token, so nothing of it is hidden but padding.",
    "source-cut": "Some source tokens are never seen: the source is cut, or a mask hides a part of it.",
    "some-positions": "Some target positions do not see all of the source: look at the cross-attention's mask.",
    "encoder-padding": "The encoder attends to padded source tokens: its self-attention lacks the mask of real tokens.",
    "cross-padding": "The decoder attends to padded source tokens: the cross-attention lacks the source's mask. The "
    "encoder's own attention has it.",
    "encoder-reads-target": "The encoder is given the target, or something computed from it: pass the source alone.",
    "target-for-source": "The target stands where the source should: the encoder is given the target, or the "
    "cross-attention takes its keys and values from the decoder's own input.",
}
