"""The loss of a language model, recomputed from the model's logits: correctly, and with each known mistake."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, ModelCrashed
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.probe.training import IGNORE_INDEX

DIAGNOSES = {
    "predicts-itself": "Each position predicts the token it reads, not the next: shift labels by one, logits[:, :-1] "
    "against labels[:, 1:]. The loss will fall to 0, and the model learns to copy.",
    "shifted-twice": "Labels are shifted by two: in the loss and once more before it. Shift once.",
    "backwards": "The shift has the wrong direction: each position predicts the token before it.",
    "shifted": "The labels are aligned with the tokens, and the loss shifts them as for a causal model: do not shift.",
    "wraps-around": "The last position predicts the row's first token, as after torch.roll: leave that position out.",
    "padding-counted": "Labels of -100 are predicted too, as if they were tokens: use ignore_index=-100, or set the "
    "padded labels to it.",
    "mask-not-passed": "The loss takes a mask, leaves out the labels that it hides, and computes the logits "
    "without it, so that padding is attended to in training: pass the mask on to the model.",
    "end-ignored": "The loss leaves out the token that ends a text and counts padding, so that the model never learns "
    "to end: leave out the padding token.",
    "divided-by-all": "The sum over the predicted tokens is divided by the number of all tokens: divide by theirs.",
    "divided-by-rows": "The sum over the predicted tokens is divided by the number of rows: divide by the number of "
    "predicted tokens, or long rows weigh more than short ones.",
    "runs-on": "The rows are joined before the shift, so that the last position of a row predicts the first token of "
    "the next: shift each row, logits[:, :-1] against labels[:, 1:].",
    "mean-of-rows": "Each row is averaged first, so that a token in a short row weighs more: sum over all predicted "
    "tokens, then divide by their number.",
    "summed": "The loss is the sum over the tokens, not their mean: its gradient grows with the batch.",
    "all-positions": "All positions are predicted, the masked ones and those that the model can see: set labels to "
    "-100 where nothing was masked.",
    "unmasked-positions": "The positions whose label is -100 are predicted and the others are not: the mask of the "
    "loss is the wrong way round.",
    "not-finite": "The loss is NaN or infinite though the logits are finite: look for a division by a number of tokens "
    "that is 0, or a logarithm of 0.",
    "probabilities": "The loss takes the softmax of a softmax: give cross-entropy the logits.",
    "other": "No known mistake gives this number: compare logits and labels as they enter the cross-entropy. Smoothing "
    "and the decoder's first token are declared by Subject(smoothing=..., start=...).",
}


def labelled_batch(probe: Probe, rows: int) -> tuple[Tensor, Tensor]:
    """The loss function's arguments: tokens (of an encoder-decoder the source), and labels [B, T], none ignored."""
    inputs = probe.inputs(rows)
    if probe.kind == "causal":
        return inputs.tokens, inputs.tokens.clone()
    if probe.kind == "bidirectional":
        return inputs.tokens, probe.replacements(inputs.tokens) % probe.logits(inputs).shape[-1]  # tags are few
    if probe.subject.start is None:
        raise DoesNotApply("the decoder's first token is not known: write Subject(..., start=...)")
    assert inputs.source is not None
    return inputs.source, inputs.tokens


def model_loss(probe: Probe, tokens: Tensor, labels: Tensor) -> Tensor:
    """The model's own loss, a scalar."""
    loss = torch.as_tensor(probe.invoke(probe.subject.loss, tokens, labels))  # type: ignore[arg-type]  # needed by the check
    if loss.numel() != 1:
        raise ModelCrashed(f"one number was expected of the loss, found {list(loss.shape)}")
    return loss.reshape(())


def _loss_inputs(probe: Probe, tokens: Tensor, labels: Tensor, shift: bool = True) -> Inputs:
    """The model's inputs inside the loss. An encoder-decoder's decoder reads its labels, shifted right by one."""
    if probe.kind != "encoder-decoder":
        return Inputs(tokens)
    decoder_tokens = labels.masked_fill(labels == IGNORE_INDEX, probe.subject.pad)
    if shift:
        start = torch.full_like(decoder_tokens[:, :1], probe.subject.start or 0)
        decoder_tokens = torch.cat([start, decoder_tokens[:, :-1]], dim=1)
    return Inputs(decoder_tokens, source=tokens)


def targets_of(probe: Probe, labels: Tensor) -> Tensor:
    """The labels that belong to the logits at position 0, 1, ...: those of a causal model are shifted."""
    return labels[:, 1:] if probe.kind == "causal" else labels


def aligned(probe: Probe, tokens: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [B, T', V] and the targets [B, T'] that belong to them."""
    targets = targets_of(probe, labels)
    return probe.logits(_loss_inputs(probe, tokens, labels))[:, : targets.shape[1]], targets


def wrong_losses(probe: Probe, tokens: Tensor, labels: Tensor, measured: float) -> dict[str, list[float]]:
    """The loss with each known mistake, in its variants, by cause."""

    def mean(logits: Tensor, targets: Tensor) -> float:
        return mean_loss(probe, logits, targets, measured)

    all_logits, (logits, targets) = probe.logits(_loss_inputs(probe, tokens, labels)), aligned(probe, tokens, labels)
    predicted = targets != IGNORE_INDEX
    right, count = mean(logits, targets), int(predicted.sum())
    rows = [mean(logits[row], targets[row]) for row in range(len(targets)) if predicted[row].any()]
    filled_labels = [labels.masked_fill(labels == IGNORE_INDEX, token) for token in (0, probe.subject.pad)]
    losses = {
        "backwards": [mean(all_logits[:, 1:], labels[:, :-1])],
        "divided-by-all": [right * count / predicted.numel(), right * count / labels.numel()],
        "divided-by-rows": [right * count / len(labels)],
        "mean-of-rows": [sum(rows) / len(rows)],
        "summed": [right * count],
        "probabilities": [mean(logits.softmax(-1), targets)],
        "padding-counted": [mean(logits, targets_of(probe, filled)) for filled in filled_labels],
    }
    if probe.kind == "causal":
        losses["predicts-itself"] = [mean(all_logits, labels), mean(all_logits[:, :-1], labels[:, :-1])]
        losses["shifted-twice"] = [mean(all_logits[:, :-2], labels[:, 2:])]
        losses["runs-on"] = [mean(all_logits.flatten(0, 1)[None, :-1], labels.flatten()[None, 1:])]
        losses["wraps-around"] = [mean(all_logits, labels.roll(-1, 1))]
        padded = tokens.masked_fill(labels == IGNORE_INDEX, probe.subject.pad)
        losses["padding-counted"].append(mean(logits, targets_of(probe, tokens)))
        losses["padding-counted"].append(mean(probe.logits(Inputs(padded))[:, :-1], padded[:, 1:]))
    elif probe.kind == "bidirectional":
        losses["shifted"] = [mean(all_logits[:, :-1], labels[:, 1:])]
        unmasked_labels = torch.where(labels == IGNORE_INDEX, tokens, labels)
        ignored = labels == IGNORE_INDEX
        losses["unmasked-positions"] = [
            mean(all_logits, filled.masked_fill(~ignored, IGNORE_INDEX))
            for filled in (tokens, torch.zeros_like(tokens))
            if ignored.any()
        ]
        losses["all-positions"] = [mean(all_logits, tokens), mean(all_logits, unmasked_labels)]
    else:
        unshifted = probe.logits(_loss_inputs(probe, tokens, labels, shift=False))
        losses["predicts-itself"] = [mean(unshifted, labels)]
        losses["shifted-twice"] = [mean(all_logits[:, :-1], labels[:, 1:])]
    return losses


def uniform_shares(smoothing: float, V: int) -> tuple[float, float]:  # noqa: N803
    """The weight of the mean over the vocabulary, with s / V on all tokens, or s / (V - 1) on all but the target."""
    return smoothing, smoothing * V / (V - 1)


def mean_loss(probe: Probe, logits: Tensor, targets: Tensor, measured: float) -> float:
    """Mean cross-entropy in nats, by the convention of label smoothing that is nearer to the measured loss.

    Infinite where a target is no class, as a token is none of a tagger.
    """
    flat, V = logits.flatten(0, -2).double(), logits.shape[-1]  # noqa: N806
    if targets.max() >= V:
        return math.inf
    values = [
        F.cross_entropy(flat, targets.flatten(), ignore_index=IGNORE_INDEX, label_smoothing=share).item()
        for share in uniform_shares(probe.subject.smoothing, V)
    ]
    return min(values, key=lambda value: abs(value - measured))
