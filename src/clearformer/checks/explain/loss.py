"""The loss of a language model: what it has to be, from the model's logits, and what each known mistake makes of it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, ModelCrashed
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.probe.training import IGNORE_INDEX

DIAGNOSES = {
    "predicts-itself": "Each place is asked for the token it reads, not for the next: shift labels by one, "
    "logits[:, :-1] against labels[:, 1:]. The loss will fall to 0, and the model learns to copy.",
    "shifted-twice": "Labels are shifted by two: they are shifted in the loss and once more before it. Do it once.",
    "backwards": "The shift goes the wrong way: each place is asked for the token before it.",
    "shifted": "The labels stand where the tokens stand, and the loss shifts them as for a causal model: do not shift.",
    "wraps-around": "The last place is asked for the row's first token, as torch.roll leaves it: leave that place out.",
    "padding-counted": "Labels of -100 are predicted too, as if a token stood there: use ignore_index=-100, or set the "
    "padded labels to it.",
    "divided-by-all": "The sum runs over the predicted tokens, but is divided by all places: divide by their number.",
    "mean-of-rows": "Each row is averaged first, so that a token in a short row weighs more: sum over all predicted "
    "tokens, then divide by their number.",
    "summed": "The loss is the sum over the tokens, not their mean: its gradient grows with the batch.",
    "all-positions": "All places are predicted, the masked ones and those that the model can see: set labels to -100 "
    "where nothing was masked.",
    "probabilities": "The loss takes the softmax of a softmax: give cross-entropy the logits.",
    "other": "No known mistake gives this number: compare logits and labels as they enter the cross-entropy. Smoothing "
    "and the decoder's first token are declared by Subject(smoothing=..., start=...).",
}
"""what each mistake is, and how to mend it"""


def labelled(probe: Probe, rows: int) -> tuple[Tensor, Tensor]:
    """What the loss function reads, tokens or a source, and labels [B, T] for every place."""
    inputs = probe.inputs(rows)
    if probe.kind == "causal":
        return inputs.tokens, inputs.tokens.clone()
    if probe.kind == "bidirectional":
        return inputs.tokens, probe.other(inputs.tokens)
    if probe.subject.start is None:
        raise DoesNotApply("the token that a decoder begins with is not known: write Subject(..., start=...)")
    assert inputs.source is not None
    return inputs.source, inputs.tokens


def loss_of(probe: Probe, first: Tensor, labels: Tensor) -> Tensor:
    """What the model's own loss says: one number."""
    found = probe.invoke(probe.subject.loss, first, labels)  # type: ignore[arg-type]  # the catalogue needs it
    loss = torch.extract_logits(found)
    if loss.numel() != 1:
        raise ModelCrashed(f"one number was expected of the loss, found {list(loss.shape)}")
    return loss.reshape(())


def _inputs(probe: Probe, first: Tensor, labels: Tensor, begin: bool = True) -> Inputs:
    """What the model reads while the loss is computed. `begin`: a decoder's input is its labels moved by one."""
    if probe.kind != "encoder-decoder":
        return Inputs(first)
    known = labels.masked_fill(labels == IGNORE_INDEX, probe.subject.pad)
    if begin:
        start = torch.full_like(known[:, :1], probe.subject.start or 0)
        known = torch.cat([start, known[:, :-1]], dim=1)
    return Inputs(known, source=first)


def asked_of(probe: Probe, labels: Tensor) -> Tensor:
    """The labels that belong to the logits, from the first one on."""
    return labels[:, 1:] if probe.kind == "causal" else labels


def aligned(probe: Probe, first: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and the labels that belong to them."""
    targets = asked_of(probe, labels)
    return probe.logits(_inputs(probe, first, labels))[:, : targets.shape[1]], targets


def wrong_ways(probe: Probe, first: Tensor, labels: Tensor, found: float) -> dict[str, list[float]]:
    """What each known mistake would make of the loss."""

    def mean(logits: Tensor, targets: Tensor) -> float:
        return mean_loss(probe, logits, targets, found)

    whole, (logits, targets) = probe.logits(_inputs(probe, first, labels)), aligned(probe, first, labels)
    asked = targets != IGNORE_INDEX
    right, count = mean(logits, targets), int(asked.sum())
    rows = [mean(logits[row], targets[row]) for row in range(len(targets)) if asked[row].any()]
    as_tokens = [labels.masked_fill(labels == IGNORE_INDEX, token) for token in (0, probe.subject.pad)]
    ways = {
        "backwards": [mean(whole[:, 1:], labels[:, :-1])],
        "divided-by-all": [right * count / asked.numel(), right * count / labels.numel()],
        "mean-of-rows": [sum(rows) / len(rows)],
        "summed": [right * count],
        "probabilities": [mean(logits.softmax(-1), targets)],
        "padding-counted": [mean(logits, asked_of(probe, filled)) for filled in as_tokens],
    }
    if probe.kind == "causal":
        ways["predicts-itself"] = [mean(whole, labels), mean(whole[:, :-1], labels[:, :-1])]
        ways["shifted-twice"] = [mean(whole[:, :-2], labels[:, 2:])]
        ways["wraps-around"] = [mean(whole, labels.roll(-1, 1))]
        ways["padding-counted"].append(mean(logits, asked_of(probe, first)))
    elif probe.kind == "bidirectional":
        ways["shifted"] = [mean(whole[:, :-1], labels[:, 1:])]
        ways["all-positions"] = [mean(whole, first), mean(whole, torch.where(labels == IGNORE_INDEX, first, labels))]
    else:
        seen = probe.logits(_inputs(probe, first, labels, begin=False))
        ways["predicts-itself"] = [mean(seen, labels)]
        ways["shifted-twice"] = [mean(whole[:, :-1], labels[:, 1:])]
    return ways


def shares_of(smoothing: float, V: int) -> tuple[float, float]:  # noqa: N803
    """The share that is spread over all tokens: of s / V, and of s / (V - 1) over all but the target."""
    return smoothing, smoothing * V / (V - 1)


def mean_loss(probe: Probe, logits: Tensor, targets: Tensor, found: float) -> float:
    """Mean cross-entropy, by that way of smoothing which is nearer to what was found."""
    flat, V = logits.flatten(0, -2).double(), logits.shape[-1]  # noqa: N806
    values = [
        F.cross_entropy(flat, targets.flatten(), ignore_index=IGNORE_INDEX, label_smoothing=share).item()
        for share in shares_of(probe.subject.smoothing, V)
    ]
    return min(values, key=lambda value: abs(value - found))
