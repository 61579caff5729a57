"""The model's own losses, and what each expects of its labels: found by comparing its value with known formulas.

The formulas are the mean cross-entropy of the model's own logits, with labels aligned or shifted, and with smoothing.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from clearformer.checks.outcome import DoesNotApply
from clearformer.checks.recognise import signature
from clearformer.checks.recognise.experiment import Experiment, attempt
from clearformer.checks.recognise.loss_forms import LossForm, forms
from clearformer.checks.recognise.outputs import extract_logits, extract_loss
from clearformer.checks.subject import Kind

IGNORE = -100
SMALL_TOKENS = (0, 1, 2, 3)
"""one of which may be the padding token of a model that does not declare it"""
MAX_SMOOTHING = 0.5
TOLERANCE = 1e-4
"""nats, or relative where the loss is above 1, as float32 noise stays below 1e-6"""

Convention = Literal["given", "inside", "alone", "aligned", "whole", "three", "labels"]
DESCRIPTIONS: dict[Convention, str] = {
    "given": "labels belong to the tokens in their place, so the caller shifts them by one",
    "inside": "it shifts the labels by one itself",
    "alone": "it makes the labels from the tokens",
    "aligned": "each label belongs to the token in its place",
    "whole": "it reads the whole target and shifts it by one itself",
    "three": "the decoder's tokens and the labels are given apart",
    "labels": "it makes the decoder's tokens from the labels",
}
STARTS = (
    "decoder_start_token_id",
    "bos_token_id",
    "bos_idx",
    "bos_id",
    "sos_idx",
    "sos_id",
    "start_token",
    "bos",
    "sos",
)


@dataclass(frozen=True)
class FoundLoss:
    """A model's loss in the form of `Subject.loss`."""

    form: LossForm
    convention: Convention
    kind: Kind
    ignored: int | None = None
    """the label that it ignores"""
    pad: int = 0
    start: int = 0
    smoothing: float = 0.0
    matched: bool = False
    """whether its value is the cross-entropy of the model's logits"""

    def __call__(self, model: Any, *arguments: Tensor) -> Tensor:
        """(model, tokens, labels) or (model, source, labels) -> mean loss. Raises DoesNotApply, ModelCrashed."""
        *inputs, labels = arguments
        if (labels == IGNORE).any() and self.ignored is None:
            raise DoesNotApply(f"{self.form.description} was tried with {IGNORE}, -1 and padding, and ignores no label")
        return extract_loss(self.form.run(model, *self.arrange(inputs[0], labels)))

    def arrange(self, tokens: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """What the form is given: for a causal model the tokens and their labels, for an encoder-decoder the source."""
        labels = labels if self.ignored is None else labels.masked_fill(labels == IGNORE, self.ignored)
        if self.convention == "given":
            return tokens[:, :-1], labels[:, 1:]
        if self.convention == "alone":
            return (torch.where(labels == self.ignored, labels, tokens) if self.ignored is not None else tokens,)
        if self.kind != "encoder-decoder" or self.convention == "labels":
            return tokens, labels
        start = torch.full_like(labels[:, :1], self.start)
        if self.convention == "whole":
            if (labels < 0).any():
                raise DoesNotApply(f"{self.form.description} reads its labels, and has no padding token to hide one")
            return tokens, torch.cat([start, labels], dim=1)
        decoder_tokens = torch.cat([start, labels[:, :-1]], dim=1)
        return tokens, decoder_tokens.masked_fill(decoder_tokens < 0, self.pad), labels

    @property
    def description(self) -> str:
        return f"{self.form.description}: {DESCRIPTIONS[self.convention]}"


def find(experiment: Experiment, only: str | None = None) -> list[FoundLoss]:
    """All losses that can be called, those whose value is a cross-entropy first; of a method with `only`."""
    found = [one for form in forms(experiment.subject, only) for one in [_recognise(experiment, form, only)] if one]
    seen: dict[str, FoundLoss] = {}
    for one in sorted(found, key=lambda one: not one.matched):
        seen.setdefault(one.form.description.split("(")[0], one)
    return list(seen.values())


def _recognise(experiment: Experiment, form: LossForm, only: str | None) -> FoundLoss | None:
    """The convention in which this form is right; else the one that its names suggest, if they or `only` are sure."""
    candidates = list(_candidates(experiment, form))
    running = []
    for candidate in candidates:
        batches = _batches(experiment, candidate)
        measured = [_value(experiment, candidate, *batch) for batch in batches]
        if any(not math.isfinite(value) for value in measured):
            continue
        running.append(candidate)
        smoothing = _smoothing(measured, [_terms(experiment, candidate, *batch) for batch in batches])
        if smoothing is not None:
            return _with_ignored(experiment, replace(candidate, smoothing=smoothing, matched=True))
    mistaken = [one for one in running if form.certain or only or _is_mistaken(experiment, one)]
    return _with_ignored(experiment, mistaken[-1]) if mistaken else None


def _candidates(experiment: Experiment, form: LossForm) -> Iterator[FoundLoss]:
    """The conventions in which the form may be meant, the likeliest last."""
    model, kind = experiment.model, experiment.kind
    conventions: tuple[Convention, ...] = ("given", "inside") if form.label_name == "labels" else ("inside", "given")
    if form.label_name == "labels" and "input_ids" in signature.parameters(model):
        conventions = ("inside",)  # by the convention of transformers, where labels may be the tokens themselves
    if kind in ("bidirectional", "classifier"):
        conventions = ("aligned",) if form.takes_labels else ()
    elif kind == "encoder-decoder":
        conventions = ("three",) if form.takes_labels else ("labels", "whole")
    elif not form.takes_labels:
        conventions = ("alone",)
    pad, declared = experiment.subject.pad, signature.declared(model, STARTS)
    likely = declared if declared is not None else int(experiment.tokens[0, 0])
    for convention in conventions:
        starts = {*SMALL_TOKENS, pad, likely} if convention == "labels" else {likely}
        for start in sorted(starts, key=lambda start: start == likely):
            yield FoundLoss(form, convention, kind, pad=pad, start=start)


def _batches(experiment: Experiment, loss: FoundLoss) -> list[tuple[Tensor, Tensor]]:
    """Two batches of what the loss reads, and labels, which are drawn independently unless it makes them itself."""
    tokens, labels = experiment.tokens, experiment.labels
    if loss.convention == "alone":
        return [(tokens, tokens), (tokens.flip(1), tokens.flip(1))]
    if loss.kind == "classifier":
        C = experiment.own_logits.shape[-1]  # noqa: N806
        return [(tokens, torch.arange(len(tokens)) % C), (tokens.flip(1), torch.arange(1, len(tokens) + 1) % C)]
    inputs = experiment.source if loss.kind == "encoder-decoder" else tokens
    return [(inputs, labels), (inputs.flip(1), labels.flip(1))]


def _value(experiment: Experiment, loss: FoundLoss, inputs: Tensor, labels: Tensor) -> float:
    """The loss, or NaN where it cannot be called like this or is random."""
    values = [attempt(lambda *batch: loss(experiment.model, *batch).item(), inputs, labels) for _ in range(2)]
    return float(values[0]) if None not in values and values[0] == values[1] else math.nan


def _terms(experiment: Experiment, loss: FoundLoss, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
    """The mean -log p of the labels, and that over the vocabulary, where both are right for this kind of model."""
    if loss.kind == "encoder-decoder":
        start = torch.full_like(labels[:, :1], loss.start)
        decoder_tokens = torch.cat([start, labels[:, :-1]], dim=1)
        decoder_tokens = decoder_tokens.masked_fill(decoder_tokens < 0, loss.pad)
        logits = extract_logits(experiment.subject.call(experiment.model, inputs.clone(), decoder_tokens))
    else:
        logits = experiment.logits(inputs)
    if loss.kind == "causal":
        logits, labels = logits[:, :-1], labels[:, 1:]
    log_p = logits.double().log_softmax(-1).flatten(0, -2)
    predicted = labels.flatten() != IGNORE
    each = functional.nll_loss(log_p, labels.flatten().masked_fill(~predicted, 0), reduction="none")
    return float(each[predicted].mean()), float(-log_p[predicted].mean())


def _is_mistaken(experiment: Experiment, loss: FoundLoss) -> bool:
    """Whether a causal model's value is that of a known mistake, so that this is a loss of these labels indeed."""
    if loss.kind != "causal":
        return False
    inputs, labels = _batches(experiment, loss)[0]
    value, logits = _value(experiment, loss, inputs, labels), experiment.own_logits.double()
    count = labels[:, 1:].numel()
    mistakes = [
        (logits[:, :-1].softmax(-1), labels[:, 1:], 1),
        (logits[:, :-1], labels[:, 1:], count),
        (logits[:, :-1], labels[:, :-1], 1),
        (logits, labels, 1),
        (logits[:, :-2], labels[:, 2:], 1),
    ]
    return any(
        _agree(factor * functional.cross_entropy(one.flatten(0, 1), targets.flatten()).item(), value)
        for one, targets, factor in mistakes
    )


def _smoothing(measured: list[float], terms: list[tuple[float, float]]) -> float | None:
    """The share of label smoothing with which the terms give the measured losses of both batches; None where none."""
    (nll, uniform), *_ = terms
    share = 0.0 if _agree(nll, measured[0]) else (nll - measured[0]) / (nll - uniform)
    right = all(
        _agree((1 - share) * nll + share * uniform, value)
        for value, (nll, uniform) in zip(measured, terms, strict=True)
    )
    return round(share, 4) if right and 0 <= share <= MAX_SMOOTHING else None


def _agree(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one))


def _with_ignored(experiment: Experiment, loss: FoundLoss) -> FoundLoss:
    """The loss with the label that it ignores: a declared padding token, or one that is seen to be ignored."""
    if loss.kind == "classifier":
        return replace(loss, ignored=IGNORE)
    pad = signature.declared(experiment.model, signature.PADS)
    (inputs, labels), _ = _batches(experiment, loss)
    labels = labels.clone()
    labels[0, -2:] = labels[1, -1] = IGNORE
    for ignored in (*([] if pad is None else [pad]), IGNORE, -1, *(SMALL_TOKENS if loss.matched else ())):
        candidate = replace(loss, ignored=ignored)
        value = _value(experiment, candidate, inputs, labels)
        nll, uniform = _terms(experiment, candidate, inputs, labels)
        expected = (1 - loss.smoothing) * nll + loss.smoothing * uniform
        if _agree(expected, value) if loss.matched else math.isfinite(value):
            return candidate
    return replace(loss, ignored=pad)
