"""Is the loss right? Each is compared with one computed from the model's logits, correctly and with known mistakes."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.explain.loss import (
    DIAGNOSES,
    aligned,
    labelled_batch,
    mean_loss,
    model_loss,
    targets_of,
    uniform_shares,
    wrong_losses,
)
from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.probe.training import IGNORE_INDEX, without_dropout
from clearformer.checks.recognise import signature
from clearformer.checks.recognise.found_loss import FoundLoss
from clearformer.checks.recognise.generation import END_TOKENS

LOSS_TOLERANCE = 1e-5
"""nats, or relative where the loss is above 1: float32 noise was below 5e-7, the effect of mistakes above 2e-4"""
MATCH = 0.2
"""of the tolerance: one of many formulas may come that near by chance in one of thousands"""
SHARE_TOLERANCE = 2e-4
"""of the smoothing weights and their sum: noise was below 2e-6"""
GRADIENT_TOLERANCE = 1e-3
"""relative to the norm of the gradient: noise was below 1e-6, the effect of mistakes above 0.8"""
ACCUMULATION_DIAGNOSES = {
    "mean-of-means": "The batches' mean losses are averaged, so that a token in a short batch weighs more: divide each "
    "batch's summed loss by the number of tokens in all of them.",
    "not-divided": "The batches' mean losses are added up and not divided: the gradient grows with their number.",
    "summed": "The gradient is that of the summed loss: divide by the number of tokens in all batches.",
    "last-batch-only": "Gradients are set to zero between the batches: do it once, before the first.",
    "other": "No known mistake gives this gradient.",
}


def shift(probe: Probe) -> Outcome:
    """Targets are shifted by exactly one.

    A causal model predicts the next token, so logits at t belong to the label at t + 1. Without the shift it learns to
    copy its input, and with two (one in the data, one in the loss) to skip a token; both train without an error. A
    bidirectional model predicts the token in its place, without a shift; an encoder-decoder reads a start token and
    then its labels.

    The loss of random tokens is compared with the cross-entropy of the model's own logits. The mistake whose formula
    gives the same number is named.
    """
    tokens, labels = labelled_batch(probe, rows=3)
    return _compare_with_formula(probe, tokens, labels)


def padding(probe: Probe) -> Outcome:
    """Labels of -100 are ignored.

    Padding is no text. If it is predicted, the loss looks better the more padding there is, and the model learns to
    write it; if it only counts in the divisor, rows with much padding learn less.

    The labels of three rows end after 12, 7 and 3 tokens. The loss must be the mean over those that are predicted. A
    loss that takes the mask which `forward` takes must also pass it on: rows with padding on the left tell. And what
    it leaves out must not be the token that ends a text, where padding is another.
    """
    tokens, labels = labelled_batch(probe, rows=3)
    T = labels.shape[1]  # noqa: N806
    for row, real in enumerate((T, T * 7 // 12, T // 4)):
        labels[row, max(real, 2) :] = IGNORE_INDEX
    outcome = _compare_with_formula(probe, tokens, labels)
    return outcome if outcome.status == "failed" else _mask_not_passed(probe) or _end_not_learned(probe) or outcome


def _end_not_learned(probe: Probe) -> Outcome | None:
    """A failure where the label that the loss leaves out is the end of a text, by its name, and padding is another."""
    loss, model = probe.subject.loss, probe.model
    if not isinstance(loss, FoundLoss) or loss.ignored is None or loss.ignored < 0:
        return None
    end, pad = (
        signature.constant(model, (*names, word)) if found is None else found
        for names, word in ((END_TOKENS, "end"), (signature.PADS, "pad"))
        for found in [signature.declared(model, names)]
    )
    if loss.ignored != end or pad in (None, end):
        return None
    case = f"the label {end}, which ends a text, is not counted; padding is {pad}"
    return failed("end-ignored", 1, 0, case=case, diagnosis=DIAGNOSES["end-ignored"])


def _mask_not_passed(probe: Probe) -> Outcome | None:
    """A failure where the loss takes the mask of `forward` and computes its logits without it."""
    loss = probe.subject.loss
    if not isinstance(loss, FoundLoss) or loss.mask is None or probe.subject.padded is None or probe.kind != "causal":
        return None
    if loss.form.mask_name not in signature.parameters(probe.model):
        return None
    tokens, labels = labelled_batch(probe, rows=3)
    T = labels.shape[1]  # noqa: N806
    for row, padding in enumerate((0, T // 3, T // 2)):
        labels[row, :padding] = IGNORE_INDEX
    real = labels != IGNORE_INDEX
    tokens = tokens.masked_fill(~real, probe.subject.pad)
    measured = model_loss(probe, tokens, labels).item()
    masked, unmasked = (
        mean_loss(probe, probe.logits(inputs)[:, :-1], labels[:, 1:], measured)
        for inputs in (Inputs(tokens, real=real), Inputs(tokens))
    )
    error, tolerance = abs(measured - masked), LOSS_TOLERANCE * max(1.0, abs(masked))
    if error <= tolerance or abs(measured - unmasked) > tolerance:
        return None
    case = f"with padding on the left {masked:.5g} nats were expected, found {measured:.5g}, as without a mask"
    return failed("mask-not-passed", error, tolerance, case=case, diagnosis=DIAGNOSES["mask-not-passed"])


def masked_positions(probe: Probe) -> Outcome:
    """The loss is that of the masked positions only.

    A bidirectional model has to predict the tokens it cannot see. Where every token is predicted, most of the loss is
    about copying, which is easy and teaches nothing.

    One position in three has a label, which is not its token, and the loss must be that of these alone.
    """
    tokens, labels = labelled_batch(probe, rows=3)
    labels[:, torch.arange(labels.shape[1]) % 3 != 1] = IGNORE_INDEX
    return _compare_with_formula(probe, tokens, labels)


def accumulation(probe: Probe) -> Outcome:
    """Accumulated batches of unequal length equal the full batch.

    The mean of two batches' means is not the mean over all tokens where one has more of them: transformers and trl
    weighted tokens wrongly for years, and the Annotated Transformer's loop forgot to divide at all. The loss itself has
    to be a mean over predicted tokens, not over rows.

    Four rows, whose labels end after 12, 8, 3 and 2 tokens, are given as one batch and as two; weighted by their
    numbers of predicted tokens the two losses must give the one. With Subject(accumulate=...), the gradients it leaves
    must be those of the full batch.
    """
    tokens, labels = labelled_batch(probe, rows=4)
    T = labels.shape[1]  # noqa: N806
    for row, real in enumerate((T, T * 2 // 3, T // 4, 2)):
        labels[row, max(real, 2) :] = IGNORE_INDEX
    halves = [(tokens[:2], labels[:2]), (tokens[2:], labels[2:])]
    counts = [int((targets_of(probe, part) != IGNORE_INDEX).sum()) for _, part in halves]
    full, parts = model_loss(probe, tokens, labels).item(), [model_loss(probe, *half).item() for half in halves]
    weighted = sum(count * part for count, part in zip(counts, parts, strict=True)) / sum(counts)
    error, tolerance = abs(full - weighted), LOSS_TOLERANCE * max(1.0, abs(full))
    if error > tolerance:
        outcome = _compare_with_formula(probe, tokens, labels)  # whose cause is more specific
        cause = outcome.cause if outcome.cause in ("mean-of-rows", "divided-by-all", "summed") else "other"
        case = f"batches of {counts[0]} and {counts[1]} tokens: {full:.5g} as one, {weighted:.5g} as two"
        return failed(cause, error, tolerance, case=case, diagnosis=DIAGNOSES[cause])
    if probe.subject.accumulate is None or not isinstance(probe.model, nn.Module):
        return passed(error, tolerance, "gradients were not compared: Subject(accumulate=...) is not given")
    return _compare_gradients(probe, (tokens, labels), halves, counts)


def smoothing(probe: Probe) -> Outcome:
    """Label smoothing is as declared, and its weights sum to one.

    Smoothing takes a weight from the target and spreads it over all tokens: (1 - s) and s / V. Where the weights do not
    sum to one, the loss is scaled, or asks for probabilities that no model can give.

    The loss of eight batches is fitted by a multiple of the target's -log p plus a multiple of the mean -log p over the
    vocabulary. s / (V - 1) over all tokens but the target is accepted too.
    """
    rows, losses = [], []
    for _ in range(8):
        tokens, labels = labelled_batch(probe, rows=2)
        logits, targets = aligned(probe, tokens, labels)
        log_p = logits.flatten(0, 1).double().log_softmax(-1)
        rows.append(torch.stack([F.nll_loss(log_p, targets.flatten()), -log_p.mean()]))
        losses.append(model_loss(probe, tokens, labels).double())
    terms, measured = torch.stack(rows), torch.stack(losses)
    if not measured.isfinite().all():
        raise DoesNotApply("the loss is not finite: see loss.shift")
    shares = torch.linalg.lstsq(terms, measured[:, None]).solution[:, 0]
    residual = float((terms @ shares - measured).abs().max())
    if not residual <= LOSS_TOLERANCE * max(1.0, float(measured.abs().max())):
        raise DoesNotApply(
            "the loss is no weighted sum of the target's -log p and the vocabulary's mean: see loss.shift"
        )
    target_share, uniform_share = shares.tolist()
    shares_text = f"{target_share:.4f} on the target and {uniform_share:.4f} spread over the vocabulary"
    total = target_share + uniform_share
    if abs(total - 1) > SHARE_TOLERANCE:
        diagnosis = (
            "The target distribution does not sum to one: 1 - s on the target, and s / V on each of the V tokens."
        )
        return failed(
            "does-not-sum-to-one",
            abs(total - 1),
            SHARE_TOLERANCE,
            case=f"{shares_text}, together {total:.4f}",
            diagnosis=diagnosis,
        )
    V = logits.shape[-1]  # noqa: N806
    error = min(abs(uniform_share - share) for share in uniform_shares(probe.subject.smoothing, V))
    if error <= SHARE_TOLERANCE:
        return passed(error, SHARE_TOLERANCE, shares_text)
    case = f"{shares_text}; Subject(smoothing={probe.subject.smoothing:g}) is declared"
    return failed(
        "other-smoothing", error, SHARE_TOLERANCE, case=case, diagnosis="The label smoothing is not the declared one."
    )


def _compare_with_formula(probe: Probe, tokens: Tensor, labels: Tensor) -> Outcome:
    """Compare the model's loss with the right formula, and if it differs, with the known mistakes."""
    measured = model_loss(probe, tokens, labels).item()
    logits, targets = aligned(probe, tokens, labels)
    right = mean_loss(probe, logits, targets, measured)
    tolerance = LOSS_TOLERANCE * max(1.0, abs(right))
    if float(logits.double().std()) < 1e-9:
        raise DoesNotApply("the logits are all equal, so that the loss is the same for all targets")
    if not math.isfinite(measured):
        case = f"{right:.5g} nats were expected, found {measured}"
        return failed("not-finite", math.inf, tolerance, case=case, diagnosis=DIAGNOSES["not-finite"])
    error = abs(measured - right)
    if not error > tolerance:
        return passed(error, tolerance, f"{measured:.5g} nats")
    mistakes = wrong_losses(probe, tokens, labels, measured)
    distances = {cause: min(abs(value - measured) for value in values) for cause, values in mistakes.items() if values}
    cause = min(distances, key=lambda name: distances[name])
    cause = cause if distances[cause] <= MATCH * tolerance else "other"
    case = f"{right:.5g} nats were expected over {int((targets != IGNORE_INDEX).sum())} tokens, found {measured:.5g}"
    return failed(cause, error, tolerance, case=case, diagnosis=DIAGNOSES[cause])


def _compare_gradients(
    probe: Probe, full: tuple[Tensor, Tensor], halves: list[tuple[Tensor, Tensor]], counts: list[int]
) -> Outcome:
    """Compare the gradients that `accumulate` leaves with those of the full batch, and with known mistakes."""
    clone = without_dropout(probe)
    right = _gradient(clone, *full)
    parts = [_gradient(clone, *half) for half in halves]
    clone.module.zero_grad()
    with torch.enable_grad():
        clone.invoke(clone.subject.accumulate, halves)  # type: ignore[arg-type]  # the caller has checked
    measured = _flatten(clone, [weight.grad for weight in _weights(clone)])
    mistakes = {
        "mean-of-means": torch.stack(parts).mean(0),
        "not-divided": torch.stack(parts).sum(0),
        "summed": right * sum(counts),
        "last-batch-only": parts[-1] * (measured @ parts[-1]) / (parts[-1] @ parts[-1]),  # by whatever factor
    }
    error = float((measured - right).norm() / right.norm())
    if not error > GRADIENT_TOLERANCE:
        return passed(error, GRADIENT_TOLERANCE)
    cause = next(
        (
            name
            for name, gradient in mistakes.items()
            if (measured - gradient).norm() <= GRADIENT_TOLERANCE * gradient.norm()
        ),
        "other",
    )
    case = (
        f"batches of {counts[0]} and {counts[1]} tokens: the gradients differ from the full "
        f"batch's by {error:.2g} of their norm"
    )
    return failed(cause, error, GRADIENT_TOLERANCE, case=case, diagnosis=ACCUMULATION_DIAGNOSES[cause])


def _gradient(probe: Probe, tokens: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the model's loss by all weights, as one vector."""
    with torch.enable_grad():
        loss = model_loss(probe, tokens, labels)
        if not loss.requires_grad:
            raise DoesNotApply("the loss has no gradient, so that accumulated ones cannot be compared with it")
        return _flatten(probe, torch.autograd.grad(loss, _weights(probe), allow_unused=True))


def _weights(probe: Probe) -> list[Tensor]:
    return [weight for weight in probe.module.parameters() if weight.requires_grad]


def _flatten(probe: Probe, gradients: Sequence[Tensor | None]) -> Tensor:
    pairs = zip(gradients, _weights(probe), strict=True)
    return torch.cat([(torch.zeros_like(w) if g is None else g).flatten().double() for g, w in pairs])
