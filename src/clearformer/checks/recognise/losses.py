"""The model's own losses, and what each expects of its labels: found by comparing its value with known formulas."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from clearformer.checks.recognise import heads, signature
from clearformer.checks.recognise.experiment import Experiment, attempt
from clearformer.checks.recognise.found_loss import Convention, FoundLoss, MaskMeaning
from clearformer.checks.recognise.generation import START_TOKENS
from clearformer.checks.recognise.loss_forms import LENGTHS, LossForm, forms
from clearformer.checks.recognise.loss_values import IGNORE, PLAIN, TOLERANCE, agree, fit

SMALL_TOKENS = (0, 1, 2, 3)
"""one of which may be the padding token of a model that does not declare it"""
NUM_BATCHES = 8
"""more than the shares that are fitted to them"""
SHIFTED_BEFORE = re.compile(r"labels?\b[^.;]*\b(follows?|next)\b|already (moved|shifted)|(moved|shifted) already")
"""in documentation: labels belong to the tokens in their place"""
MASKS: tuple[MaskMeaning, ...] = ("1 is real", "True hides")

Batch = tuple[Tensor, Tensor]
"""what a loss reads, and labels"""


def find(experiment: Experiment, only: str | None = None) -> list[FoundLoss]:
    """All losses that can be called, of a method with `only`: first those whose value is a cross-entropy, and of those
    the ones that take a mask, since only they are told what does not count. One number is no logits of anything."""
    if experiment.own_logits.shape[-1] == 1:
        return []
    found = [one for form in forms(experiment.subject, only) for one in [_recognise(experiment, form, only)] if one]
    seen: dict[tuple[str, bool], FoundLoss] = {}
    for one in sorted(found, key=lambda one: (not one.matched, one.mask is None)):
        makes_tokens = one.kind == "encoder-decoder" and not one.form.takes_labels
        seen.setdefault((one.form.description.split("(")[0], makes_tokens), one)
    return list(seen.values())


def _recognise(experiment: Experiment, form: LossForm, only: str | None) -> FoundLoss | None:
    """The convention in which this form is right; else the one that its names suggest, if they or `only` are sure."""
    running = []
    for candidate in _candidates(experiment, form):
        batches = _batches(experiment, candidate)
        if not math.isfinite(_value(experiment, candidate, *batches[0])):
            continue
        running.append(candidate)
        values = [_value(experiment, candidate, *batch) for batch in batches]
        shares = fit(values, [candidate.terms(experiment.model, *batch) for batch in batches])
        if shares is not None:
            return _with_ignored(experiment, replace(candidate, shares=shares))
        if _is_added_to(experiment, candidate, batches[0][0]):
            return _with_ignored(experiment, replace(candidate, shares=PLAIN, is_added_to=True))
    if running and _is_of_several(experiment, running[-1]):
        return None
    certain = only or (form.certain and not _are_tags(experiment))  # tags may have weights, or a CRF
    mistaken = [one for one in running if certain or _is_mistaken(experiment, one)]
    return _with_ignored(experiment, mistaken[-1]) if mistaken else None


def _is_added_to(experiment: Experiment, loss: FoundLoss, inputs: Tensor) -> bool:
    """Whether for other labels the value differs as the cross-entropy does: something else is added to it."""
    if loss.convention not in ("given", "inside", "aligned") or loss.kind == "classifier":
        return False
    draws = [experiment.draw(inputs.shape[1]) for _ in range(NUM_BATCHES)]
    added = [attempt(loss.added, experiment.model, inputs, labels) for labels in draws]
    return None not in added and all(abs(one - added[0]) <= TOLERANCE for one in added)


def _candidates(experiment: Experiment, form: LossForm) -> Iterator[FoundLoss]:
    """The conventions in which the form may be meant, the likeliest last."""
    model, kind = experiment.model, experiment.kind
    conventions: tuple[Convention, ...] = ("given", "inside") if form.label_name == "labels" else ("inside", "given")
    said = SHIFTED_BEFORE.search(signature.words(model))
    if form.label_name == "labels" and "input_ids" in signature.parameters(model) and not said:
        conventions = ("inside",)  # by the convention of transformers, where labels may be the tokens themselves
    if kind in ("bidirectional", "classifier"):
        conventions = ("aligned",) if form.takes_labels else ()
    elif kind == "encoder-decoder":
        conventions = ("three",) if form.takes_labels else ("labels", "whole")
        conventions = ("labels",) if form.label_name and form.certain and not form.takes_labels else conventions
    elif not form.takes_labels:
        conventions = ("alone",)
    pad, declared = experiment.subject.pad, signature.declared(model, START_TOKENS)
    declared = declared if experiment.subject.start is None else experiment.subject.start
    likely = declared if declared is not None else int(experiment.tokens[0, 0])
    masks: tuple[MaskMeaning | None, ...] = _meanings(form) if form.needs_mask else (None,)
    for convention in conventions:
        starts = {*SMALL_TOKENS, pad, likely} if convention == "labels" else {likely}
        for start in sorted(starts, key=lambda start: start == likely):
            for mask in masks:
                yield FoundLoss(form, convention, kind, experiment.subject.call, mask=mask, pad=pad, start=start)


def _meanings(form: LossForm) -> tuple[MaskMeaning, ...]:
    return ("lengths",) if signature.has_word(form.mask_name, LENGTHS) else MASKS


def _batches(experiment: Experiment, loss: FoundLoss) -> list[Batch]:
    """What the loss reads, and labels that are drawn independently, unless it makes them itself."""
    length = experiment.length
    batches = []
    for number in range(NUM_BATCHES):
        tokens = experiment.draw(length)
        if loss.convention == "alone":
            labels = tokens
        elif loss.kind == "classifier":
            labels = torch.arange(number, number + len(tokens)) % experiment.own_logits.shape[-1]
        else:
            labels = experiment.draw(length)
        if loss.kind == "bidirectional":  # of tags there are fewer than tokens
            labels = labels % experiment.own_logits.shape[-1]
        batches.append((tokens, labels))
    return batches


def _value(experiment: Experiment, loss: FoundLoss, inputs: Tensor, labels: Tensor) -> float:
    """The loss, or NaN where it cannot be called like this or is random."""
    values = [attempt(lambda *batch: loss.value(experiment.model, *batch).item(), inputs, labels) for _ in range(2)]
    return float(values[0]) if None not in values and values[0] == values[1] else math.nan


def _is_of_several(experiment: Experiment, loss: FoundLoss) -> bool:
    """Whether it weighs the cross-entropies of several predictions that the model returns, as one after each layer."""
    call = heads.unarranged(experiment.subject.call)
    if call is experiment.subject.call or loss.kind == "encoder-decoder":
        return False
    batches = _batches(experiment, loss)
    rows = []
    for inputs, labels in batches:
        tensors = attempt(call, experiment.model, inputs)
        if not isinstance(tensors, list):
            return False
        terms = [
            replace(loss, forward=partial(_one_of, call, at)).terms(experiment.model, inputs, labels).label
            for at in range(len(tensors))
        ]
        rows.append(terms)
    if not 1 < len(rows[0]) < len(batches):
        return False
    values = torch.tensor([[_value(experiment, loss, *batch)] for batch in batches], dtype=torch.float64)
    terms_of_all = torch.tensor(rows, dtype=torch.float64)
    shares = torch.linalg.lstsq(terms_of_all, values, driver="gelsd").solution
    fits = all(
        agree(one, other)
        for one, other in zip((terms_of_all @ shares)[:, 0].tolist(), values[:, 0].tolist(), strict=True)
    )
    return fits and bool((shares >= 0).all()) and agree(float(shares.sum()), 1.0)


def _one_of(call: Callable[..., Any], at: int, model: Any, tokens: Tensor) -> Tensor:
    return call(model, tokens)[at]


def _are_tags(experiment: Experiment) -> bool:
    """Whether a bidirectional model has fewer classes for each token than there are tokens."""
    return experiment.kind == "bidirectional" and experiment.own_logits.shape[-1] < (experiment.subject.vocab_size or 0)


def _is_mistaken(experiment: Experiment, loss: FoundLoss) -> bool:
    """Whether the value is that of a known mistake, so that this is a loss of these labels indeed."""
    if loss.kind != "causal" and not _are_tags(experiment):
        return False
    inputs, labels = _batches(experiment, loss)[0]
    value, logits = _value(experiment, loss, inputs, labels), experiment.logits(inputs).double()
    mistakes = [
        (logits[:, :-1].softmax(-1), labels[:, 1:], 1),
        (logits[:, :-1], labels[:, 1:], labels[:, 1:].numel()),
        (logits[:, :-1], labels[:, :-1], 1),
        (logits, labels, 1),
        (logits[:, :-2], labels[:, 2:], 1),
    ]
    if loss.kind != "causal":
        mistakes = [(logits.softmax(-1), labels, 1), (logits, labels, labels.numel())]
    return any(
        agree(factor * functional.cross_entropy(one.flatten(0, 1), targets.flatten()).item(), value)
        for one, targets, factor in mistakes
    )


def _with_ignored(experiment: Experiment, loss: FoundLoss) -> FoundLoss:
    """The loss with the way to leave a label out: a mask, a declared padding token, or one that is seen ignored."""
    if loss.kind == "classifier":
        return replace(loss, ignored=IGNORE)
    pad = signature.padding_token(experiment.model)
    inputs, labels = _batches(experiment, loss)[0]
    labels = labels.clone()
    labels[0, -2:] = labels[1, -1] = IGNORE
    tokens = (*([] if pad is None else [pad]), IGNORE, -1, *(SMALL_TOKENS if loss.matched else ()))
    masks = _meanings(loss.form) if loss.form.mask_name else ()
    candidates = [*(replace(loss, mask=mask) for mask in masks), *(replace(loss, ignored=token) for token in tokens)]
    expected = (loss.shares or PLAIN).loss(loss.terms(experiment.model, inputs, labels))
    if loss.is_added_to:
        expected += loss.added(experiment.model, inputs, experiment.draw(inputs.shape[1]))
    count = int((targets := labels[:, 1:] if loss.kind == "causal" else labels).ne(IGNORE).sum())
    divided_by_all = [expected * count / numel for numel in (targets.numel(), labels.numel())]
    for candidate in candidates:
        value = _value(experiment, candidate, inputs, labels)
        by_all = candidate.mask is not None and any(agree(one, value) for one in divided_by_all)
        if agree(expected, value) or by_all if loss.matched else math.isfinite(value):
            return candidate
    if loss.shares is not None and loss.shares.normaliser:
        return replace(loss, ignored=None, mask=None)  # which tokens the z-loss counts is not known
    if loss.convention == "alone" and pad is not None and masks:
        return replace(loss, mask=masks[0])  # padding is known and said, and yet it counts
    accepts = loss.form.takes_labels and math.isfinite(
        _value(experiment, replace(loss, ignored=IGNORE), inputs, labels)
    )
    counted = pad if pad is not None or not accepts else IGNORE  # no token, and yet it is taken without an error
    return loss if masks else replace(loss, ignored=counted)
