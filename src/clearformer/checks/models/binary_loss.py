"""Losses of yes and no: of several labels a text, or of one number a token."""

import contextlib
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clearformer.checks.models.loss import LOSS_TOLERANCE
from clearformer.checks.outcome import DoesNotApply, ModelCrashed, Outcome, failed, passed
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.recognise import plain_masks, signature
from clearformer.checks.recognise.loss_forms import is_target
from clearformer.checks.recognise.outputs import extract_logits, extract_loss

DIAGNOSES = {
    "two-sigmoids": "The loss takes the sigmoid of a sigmoid: give binary_cross_entropy_with_logits the logits.",
    "summed": "The loss is the sum over all labels, not their mean: its gradient grows with the batch.",
    "not-finite": "The loss is NaN or infinite though the logits are finite: use binary_cross_entropy_with_logits.",
    "padding-counted": "Labels of padding count: multiply the losses by the mask, and divide by its sum.",
}


def binary(probe: Probe) -> Outcome:
    """A loss of yes and no is the binary cross-entropy of the logits.

    With several labels a text, or one number a token, no label says that it is to be left out, as -100 does: only the
    mask can. And a sigmoid in `forward` with another in the loss is trained as if nothing were wrong.

    Of a classifier the loss of labels 0 and 1 is compared with the formula and with known mistakes; of one number a
    token, with other labels at the places of padding. Losses of another formula, as with weights, are not judged.
    """
    name = next((name for name in signature.parameters(probe.model) if is_target(name)), "")
    inputs = probe.inputs(4)
    logits = probe.logits(inputs).double()
    if not name or (probe.kind == "bidirectional" and logits.shape[-1] != 1):
        raise DoesNotApply("`forward` takes no labels of yes and no")
    labels = (torch.arange(logits.numel()) % 3 == 0).float().view(logits.shape)
    if probe.kind == "bidirectional":
        return _without_padding(probe, name, inputs.tokens, labels[..., 0])
    measured = _loss(probe, inputs.tokens, **{name: labels})
    right = F.binary_cross_entropy_with_logits(logits, labels.double()).item()
    tolerance, error = LOSS_TOLERANCE * max(1.0, right), abs(measured - right)
    if error <= tolerance:
        return passed(error, tolerance, f"{measured:.5g} nats a label")
    mistakes = {
        "two-sigmoids": F.binary_cross_entropy_with_logits(logits.sigmoid(), labels.double()).item(),
        "summed": right * labels.numel(),
    }
    cause = next((cause for cause, value in mistakes.items() if abs(value - measured) <= tolerance), "")
    case = f"{right:.5g} nats a label were expected, found {measured:.5g}"
    if not cause and math.isfinite(measured):
        raise DoesNotApply(f"{case}: it is another loss, and no known mistake")
    cause = cause or "not-finite"
    return failed(cause, error, tolerance, case=case, diagnosis=DIAGNOSES[cause])


def _without_padding(probe: Probe, name: str, tokens: Tensor, labels: Tensor) -> Outcome:
    """Labels of padding have no part in the loss, and those of tokens have one."""
    mask = next((each for each in signature.parameters(probe.model) if each in plain_masks.NAMES), "")
    if not mask or probe.subject.padded is None:
        raise DoesNotApply("`forward` takes no mask with which to leave labels out")
    real = torch.ones_like(tokens, dtype=torch.bool)
    real[:, -3:] = False
    expected = probe.logits(Inputs(tokens, real=real))[..., 0]
    for given in (real.long(), real.float(), real, ~real):
        with contextlib.suppress(ModelCrashed):
            logits = extract_logits(_output(probe, tokens, {mask: given}))
            if logits.numel() == expected.numel() and torch.equal(logits.view_as(expected)[real], expected[real]):
                break
    else:
        raise DoesNotApply(f"how `{mask}` hides padding was not found")
    other_tokens, other_padding = labels.clone(), labels.clone()
    other_tokens[:, 0], other_padding[:, -1] = 1 - labels[:, 0], 1 - labels[:, -1]
    value, of_tokens, of_padding = (
        _loss(probe, tokens, **{mask: given, name: each}) for each in (labels, other_tokens, other_padding)
    )
    tolerance = LOSS_TOLERANCE * max(1.0, abs(value))
    if abs(of_tokens - value) <= tolerance:
        raise DoesNotApply("labels of 0 and 1 do not change the loss")
    error = abs(of_padding - value)
    if error <= tolerance:
        return passed(error, tolerance)
    case = f"with another label for the last token, which is padding, the loss is {of_padding:.5g} and not {value:.5g}"
    return failed("padding-counted", error, tolerance, case=case, diagnosis=DIAGNOSES["padding-counted"])


def _loss(probe: Probe, tokens: Tensor, **named: Tensor) -> float:
    """Raises DoesNotApply where the model does not take such labels."""
    try:
        return float(extract_loss(_output(probe, tokens, named)).detach())
    except ModelCrashed as crash:
        raise DoesNotApply(f"its labels are no yes and no: {crash}") from crash


def _output(probe: Probe, tokens: Tensor, named: dict[str, Tensor]) -> Any:
    """What `forward` returns of copies of the tensors."""
    copies = {name: tensor.clone() for name, tensor in named.items()}
    return probe.invoke(lambda model, tokens: signature.give(model, tokens, **copies), tokens)
