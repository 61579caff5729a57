"""A model's further losses, and the loss of a classifier: each is compared with the cross-entropy of its own logits."""

import dataclasses

import torch
from torch.nn import functional

from clearformer.checks.explain.loss import model_loss
from clearformer.checks.models import loss
from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.probe import Probe


def methods(probe: Probe) -> Outcome:
    """All of the model's losses are right.

    A model often has two: one in `forward` with targets, and a method for training. Only one of them is used in
    training, and the other one, which evaluates or fine-tunes, is then wrong for years.

    Each is compared with the cross-entropy of the model's own logits, as in loss.shift and loss.padding.
    """
    if not probe.subject.losses:
        raise DoesNotApply("it has no second loss")
    outcomes = []
    for name, function in probe.subject.losses.items():
        smoothing = getattr(function, "smoothing", 0.0)
        subject = dataclasses.replace(probe.subject, loss=function, smoothing=smoothing)
        for check in (loss.shift, loss.padding):
            try:
                outcome = check(Probe(subject, probe.seed))
            except DoesNotApply:
                continue
            if outcome.status == "failed":
                return dataclasses.replace(outcome, case=f"{name}: {outcome.case}")
            outcomes.append(outcome)
    if not outcomes:
        raise DoesNotApply("none of its further losses could be compared with a formula")
    return max(outcomes, key=lambda outcome: outcome.measured or 0.0)


def classes(probe: Probe) -> Outcome:
    """A classifier's loss is the cross-entropy of its logits.

    A softmax in `forward` and another one in the loss give a loss that falls, slowly, and stays far from 0; a loss that
    is summed changes its gradient with the size of the batch.

    Four rows with the labels 0, 1, 2, ... are compared with the formula, and with the known mistakes.
    """
    inputs = probe.inputs(4)
    logits = probe.logits(inputs).double()
    labels = torch.arange(len(logits)) % logits.shape[-1]
    measured = model_loss(probe, inputs.tokens, labels).item()
    right = functional.cross_entropy(logits, labels).item()
    tolerance, error = loss.LOSS_TOLERANCE * max(1.0, right), abs(measured - right)
    if error <= tolerance:
        return passed(error, tolerance, f"{measured:.5g} nats")
    mistakes = {
        "summed": right * len(logits),
        "probabilities": functional.cross_entropy(logits.softmax(-1), labels).item(),
        "log-of-logits": functional.nll_loss(logits, labels).item(),
    }
    cause = next((name for name, value in mistakes.items() if abs(value - measured) <= tolerance), "other")
    case = f"{right:.5g} nats were expected for {len(logits)} rows, found {measured:.5g}"
    return failed(cause, error, tolerance, case=case, diagnosis=DIAGNOSES[cause])


DIAGNOSES = {
    "summed": "The loss is the sum over the rows, not their mean: its gradient grows with the batch.",
    "probabilities": "The loss takes the softmax of a softmax: give cross-entropy the logits.",
    "log-of-logits": "nll_loss is given logits, and reads them as logarithms of probabilities: use cross_entropy.",
    "other": "No known mistake gives this number: compare logits and labels as they enter the cross-entropy.",
}
