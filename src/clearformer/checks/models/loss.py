"""Is the loss what it should be? Each number is computed again from the model's logits, right and wrong ways."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.explain.loss import (
    DIAGNOSES,
    aligned,
    asked_of,
    labelled,
    loss_of,
    mean_loss,
    shares_of,
    wrong_ways,
)
from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.probe import Probe
from clearformer.checks.probe.training import IGNORE_INDEX, without_dropout

EQUAL = 1e-5
"""nats, or a share of the loss where it is larger than 1: float32 noise was below 5e-7, the wrong ways' differences
above 2e-4"""
MIXED = 2e-4
"""of a share of smoothing, and of the sum of shares: noise was below 2e-6"""
SAME_GRADIENT = 1e-3
"""a share of the gradient's length: noise was below 1e-6, the wrong ways' differences above 0.8"""
ACCUMULATED = {
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
    copy its input, and with two (one in the data, one in the loss) to skip a word; both train without an error. What
    sees both sides is asked for the token in its place, without a shift; an encoder-decoder reads a start token and
    then its labels.

    The loss of random tokens is compared with the cross-entropy of the model's own logits. The wrong formula that gives
    the same number names the mistake.
    """
    first, labels = labelled(probe, rows=3)
    return _agrees(probe, first, labels)


def padding(probe: Probe) -> Outcome:
    """Labels of -100 count nowhere.

    Padding is no text. If it is predicted, the loss looks better the more padding there is, and the model learns to
    write it; if it only counts in the divisor, rows with much padding learn less.

    Of three rows the labels end after 12, 7 and 3 places. The loss must be the mean over those that are predicted.
    """
    first, labels = labelled(probe, rows=3)
    T = labels.shape[1]  # noqa: N806
    for row, real in enumerate((T, T * 7 // 12, T // 4)):
        labels[row, max(real, 2) :] = IGNORE_INDEX
    return _agrees(probe, first, labels)


def masked_positions(probe: Probe) -> Outcome:
    """The loss is that of the masked positions only.

    A model that sees both sides is asked for the tokens it cannot see. Where every token is asked for, most of the loss
    is about copying, which is easy and teaches nothing.

    One place in three has a label, which is not the token there, and the loss must be theirs alone.
    """
    first, labels = labelled(probe, rows=3)
    labels[:, torch.arange(labels.shape[1]) % 3 != 1] = IGNORE_INDEX
    return _agrees(probe, first, labels)


def accumulation(probe: Probe) -> Outcome:
    """Accumulated batches of unequal length equal the full batch.

    The mean of two batches' means is not the mean over all tokens where one has more of them: transformers and trl
    weighed tokens so for years, and the Annotated Transformer's loop forgot to divide at all. The loss itself has to be
    a mean over predicted tokens, not over rows.

    Four rows, whose labels end after 12, 8, 3 and 2 places, are given as one batch and as two; weighted by their
    numbers of predicted tokens the two losses must give the one. With Subject(accumulate=...), the gradients it leaves
    must be those of the full batch.
    """
    first, labels = labelled(probe, rows=4)
    T = labels.shape[1]  # noqa: N806
    for row, real in enumerate((T, T * 2 // 3, T // 4, 2)):
        labels[row, max(real, 2) :] = IGNORE_INDEX
    halves = [(first[:2], labels[:2]), (first[2:], labels[2:])]
    counts = [int((asked_of(probe, part) != IGNORE_INDEX).sum()) for _, part in halves]
    whole, parts = loss_of(probe, first, labels).item(), [loss_of(probe, *half).item() for half in halves]
    weighted = sum(count * part for count, part in zip(counts, parts, strict=True)) / sum(counts)
    apart, tolerance = abs(whole - weighted), EQUAL * max(1.0, abs(whole))
    if apart > tolerance:
        outcome = _agrees(probe, first, labels)  # names the formula
        cause = outcome.cause if outcome.cause in ("mean-of-rows", "divided-by-all", "summed") else "other"
        case = f"batches of {counts[0]} and {counts[1]} tokens: {whole:.5g} as one, {weighted:.5g} as two"
        return failed(cause, apart, tolerance, case=case, diagnosis=DIAGNOSES[cause])
    if probe.subject.accumulate is None or not isinstance(probe.model, nn.Module):
        return passed(apart, tolerance, "how gradients are accumulated was not given, as Subject(accumulate=...)")
    return _accumulated(probe, (first, labels), halves, counts)


def smoothing(probe: Probe) -> Outcome:
    """Label smoothing is as declared, and its shares sum to one.

    Smoothing takes a share from the target and spreads it over all tokens: (1 - s) and s / V. Where the shares do not
    sum to one, the loss is scaled, or asks for probabilities that no model can give.

    The loss of eight batches is split into a share of the target's -log p and a share of the mean -log p over the
    vocabulary. s / (V - 1) over all tokens but the target is accepted too.
    """
    rows, losses = [], []
    for _ in range(8):
        first, labels = labelled(probe, rows=2)
        logits, targets = aligned(probe, first, labels)
        log_p = logits.flatten(0, 1).double().log_softmax(-1)
        rows.append(torch.stack([F.nll_loss(log_p, targets.flatten()), -log_p.mean()]))
        losses.append(loss_of(probe, first, labels).double())
    known, found = torch.stack(rows), torch.stack(losses)
    if not found.isfinite().all():
        raise DoesNotApply("the loss is not finite: see loss.shift")
    shares = torch.linalg.lstsq(known, found[:, None]).solution[:, 0]
    left = float((known @ shares - found).abs().max())
    if not left <= EQUAL * max(1.0, float(found.abs().max())):
        raise DoesNotApply("the loss is no mixture of the target's -log p and the vocabulary's mean: see loss.shift")
    of_target, spread = shares.tolist()
    seen = f"{of_target:.4f} on the target and {spread:.4f} spread over the vocabulary"
    total = of_target + spread
    if abs(total - 1) > MIXED:
        diagnosis = "The target distribution does not sum to one: 1 - s on the target, and s / V on each of the V tokens."
        return failed("does-not-sum-to-one", abs(total - 1), MIXED, case=f"{seen}, together {total:.4f}", diagnosis=diagnosis)
    V = logits.shape[-1]  # noqa: N806
    apart = min(abs(spread - share) for share in shares_of(probe.subject.smoothing, V))
    if apart <= MIXED:
        return passed(apart, MIXED, seen)
    case = f"{seen}; Subject(smoothing={probe.subject.smoothing:g}) is declared"
    return failed("other-smoothing", apart, MIXED, case=case, diagnosis="The loss smooths by another share than declared.")


def _agrees(probe: Probe, first: Tensor, labels: Tensor) -> Outcome:
    """The model's loss against the right formula, and if it is another number, against the wrong ones."""
    found = loss_of(probe, first, labels).item()
    logits, targets = aligned(probe, first, labels)
    right = mean_loss(probe, logits, targets, found)
    tolerance = EQUAL * max(1.0, abs(right))
    if float(logits.double().std()) < 1e-9:
        raise DoesNotApply("the logits are all alike, so that the loss is the same for all targets")
    apart = abs(found - right)
    if not apart > tolerance:
        return passed(apart, tolerance, f"{found:.5g} nats")
    ways = wrong_ways(probe, first, labels, found)
    near = {cause: min(abs(value - found) for value in values) for cause, values in ways.items()}
    cause = min(near, key=lambda name: near[name])
    cause = cause if near[cause] <= tolerance else "other"
    case = f"{right:.5g} nats were expected over {int((targets != IGNORED).sum())} tokens, found {found:.5g}"
    return failed(cause, apart, tolerance, case=case, diagnosis=DIAGNOSES[cause])


def _accumulated(
    probe: Probe, whole: tuple[Tensor, Tensor], halves: list[tuple[Tensor, Tensor]], counts: list[int]
) -> Outcome:
    """The gradients that `accumulate` leaves, against those of the full batch and of known mistakes."""
    clone = without_dropout(probe)
    right = _gradient(clone, *whole)
    parts = [_gradient(clone, *half) for half in halves]
    clone.module.zero_grad()
    with torch.enable_grad():
        clone.invoke(clone.subject.accumulate, halves)  # type: ignore[arg-type]  # the caller has looked
    found = _flat(clone, [weight.grad for weight in _weights(clone)])
    ways = {
        "mean-of-means": torch.stack(parts).mean(0),
        "not-divided": torch.stack(parts).sum(0),
        "summed": right * sum(counts),
        "last-batch-only": parts[-1],
    }
    apart = float((found - right).norm() / right.norm())
    if not apart > SAME_GRADIENT:
        return passed(apart, SAME_GRADIENT)
    cause = next((name for name, way in ways.items() if (found - way).norm() <= SAME_GRADIENT * way.norm()), "other")
    case = f"batches of {counts[0]} and {counts[1]} tokens: gradients differ from the full batch's by {apart:.2g}"
    return failed(cause, apart, SAME_GRADIENT, case=case, diagnosis=ACCUMULATED[cause])


def _gradient(probe: Probe, first: Tensor, labels: Tensor) -> Tensor:
    """Of the model's loss, by all weights, as one vector."""
    with torch.enable_grad():
        loss = loss_of(probe, first, labels)
        if not loss.requires_grad:
            raise DoesNotApply("the loss has no gradient, so that accumulated ones cannot be compared with it")
        return _flat(probe, torch.autograd.grad(loss, _weights(probe), allow_unused=True))


def _weights(probe: Probe) -> list[Tensor]:
    return [weight for weight in probe.module.parameters() if weight.requires_grad]


def _flat(probe: Probe, gradients: Sequence[Tensor | None]) -> Tensor:
    pairs = zip(gradients, _weights(probe), strict=True)
    return torch.cat([(torch.zeros_like(w) if g is None else g).flatten().double() for g, w in pairs])
