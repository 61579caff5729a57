"""Arguments beside the tokens: segments and positions."""

import torch

from clearformer.checks.outcome import Outcome, failed, passed
from clearformer.checks.probe.influence import MIN_INFLUENCE, TOLERANCE
from clearformer.checks.probe.probe import Probe, difference


def segments(probe: Probe) -> Outcome:
    """Segments have an influence.

    A model that reads two sentences is told which token is of which. Where the embedding of segments is not added, or
    is indexed by something else, the argument is accepted and does nothing.

    The second half of a sequence is said to be of the first sentence and then of the second, and the logits must
    change.
    """
    inputs = probe.inputs(2)
    zeros = torch.zeros_like(inputs.tokens)
    halves = zeros.clone()
    halves[:, halves.shape[1] // 2 :] = 1
    assert probe.subject.segments is not None
    one, two = (
        probe.read_logits(probe.invoke(probe.subject.segments, inputs.tokens, values), inputs.tokens)
        for values in (zeros, halves)
    )
    change = float(difference(two, one).max())
    if change > MIN_INFLUENCE:
        return passed(0.0, TOLERANCE, f"the logits change by {change:.2g} standard deviations")
    case = "other segments for the second half of the tokens change nothing"
    return failed("ignored", 1, 0, case=case, diagnosis=DIAGNOSES["segments"])


def positions(probe: Probe) -> Outcome:
    """Positions that are given are used, and 0, 1, 2, ... are the default.

    Whoever pads on the left, or packs several texts into one row, says where each token stands. Where the model counts
    by itself all the same, or counts from 1, the logits are wrong without an error.

    The positions 0, 1, 2, ... must give the logits of the call without them, and others must change the logits. One
    number added to all changes nothing in a model whose positions are relative, so their order is reversed.
    """
    inputs = probe.inputs(2)
    forwards = torch.arange(inputs.tokens.shape[1]).expand(inputs.tokens.shape)
    assert probe.subject.positions is not None
    without = probe.logits(inputs)
    given, reversed_ = (
        probe.read_logits(probe.invoke(probe.subject.positions, inputs.tokens, values), inputs.tokens)
        for values in (forwards.clone(), forwards.flip(1))
    )
    error = float(difference(given, without).max())
    if error > TOLERANCE:
        case = f"with the positions 0, 1, 2, ... the logits are {error:.2g} standard deviations from those without"
        return failed("other-default", error, TOLERANCE, case=case, diagnosis=DIAGNOSES["other-default"])
    if difference(reversed_, given).max() > MIN_INFLUENCE:
        return passed(error, TOLERANCE)
    case = "the positions in reverse order change nothing"
    return failed("ignored", 1, 0, case=case, diagnosis=DIAGNOSES["positions"])


DIAGNOSES = {
    "segments": "The model accepts segments and does not use them: add their embedding to that of the tokens.",
    "positions": "The model accepts positions and does not use them: look them up instead of counting.",
    "other-default": "Without positions the model counts otherwise than from 0 in steps of 1.",
}
