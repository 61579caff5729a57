"""A model's further losses, and the loss of a classifier: each is compared with the cross-entropy of its own logits."""

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional

from clearformer.checks.explain.loss import labelled_batch, model_loss
from clearformer.checks.models import loss
from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.probe import Inputs, Probe

FOR_EVALUATION = ("val", "eval", "test", "nll", "estimate", "perplexity")
"""parts of names of losses that need no gradient"""


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
        smoothing = getattr(function, "smoothing", None) or 0.0
        start = getattr(function, "start", probe.subject.start)
        subject = dataclasses.replace(probe.subject, loss=function, smoothing=smoothing, start=start)
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

    Four rows with the labels 0, 1, 2, ... are compared with the formula, and with the known mistakes. Another loss, as
    with weights of the classes, smoothed targets or a margin, is not judged.
    """
    tokens, labels = _classified(probe)
    logits = probe.logits(Inputs(tokens)).double()
    measured = model_loss(probe, tokens, labels).item()
    right = functional.cross_entropy(logits, labels).item()
    tolerance, error = loss.LOSS_TOLERANCE * max(1.0, right), abs(measured - right)
    if error <= tolerance:
        return passed(error, tolerance, f"{measured:.5g} nats")
    mistakes = {
        "summed": right * len(logits),
        "probabilities": functional.cross_entropy(logits.softmax(-1), labels).item(),
        "log-of-logits": functional.nll_loss(logits, labels).item(),
    }
    cause = next((name for name, value in mistakes.items() if abs(value - measured) <= tolerance), "")
    case = f"{right:.5g} nats were expected for {len(logits)} rows, found {measured:.5g}"
    if not cause and math.isfinite(measured):
        raise DoesNotApply(f"{case}: it is another loss than cross-entropy, and no known mistake")
    cause = cause or "not-finite"
    return failed(cause, error, tolerance, case=case, diagnosis=DIAGNOSES[cause])


def trains(probe: Probe) -> Outcome:
    """The loss can be differentiated.

    A loss that was turned into a number, by `.item()`, `float()` or NumPy, or computed under `torch.no_grad()`, is
    printed as well as any other, and trains nothing.

    Each of the model's losses, but for those whose name says that they validate, is computed with gradients enabled,
    and must have one in some parameter.
    """
    if not any(weight.requires_grad for weight in probe.module.parameters()):
        raise DoesNotApply("the model has no parameter that requires a gradient")
    tokens, labels = labelled_batch(probe, rows=2) if probe.kind != "classifier" else _classified(probe)
    functions = {"its loss": probe.subject.loss, **probe.subject.losses}
    names = {getattr(one, "description", name).partition(": ")[0]: one for name, one in functions.items()}
    tried = 0
    for name, function in names.items():
        if any(word in name for word in FOR_EVALUATION):
            continue
        with torch.enable_grad():
            value = model_loss(Probe(dataclasses.replace(probe.subject, loss=function), probe.seed), tokens, labels)
        tried += 1
        if not value.requires_grad:
            case = f"{name}: {float(value):.4g}, without a gradient"
            return failed("no-gradient", 1, 0, case=case, diagnosis=DIAGNOSES["no-gradient"])
    if not tried:
        raise DoesNotApply("it has losses for validation alone")
    return passed(0, 0, f"{tried} of its losses have gradients")


def _classified(probe: Probe) -> tuple[Tensor, Tensor]:
    """Tokens, and a class for each row."""
    inputs = probe.inputs(4)
    return inputs.tokens, torch.arange(4) % probe.logits(inputs).shape[-1]


DIAGNOSES = {
    "no-gradient": "The loss is a number without a gradient, so that nothing is trained: look for .item(), float(), "
    "detach(), torch.no_grad() or NumPy in it.",
    "summed": "The loss is the sum over the rows, not their mean: its gradient grows with the batch.",
    "probabilities": "The loss takes the softmax of a softmax: give cross-entropy the logits.",
    "log-of-logits": "nll_loss is given logits, and reads them as logarithms of probabilities: use cross_entropy.",
    "not-finite": "The loss is NaN or infinite though the logits are finite: look for a division by 0, or a logarithm "
    "of 0.",
}
