"""A module or function that is given tokens, or vectors, and returns logits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.recognise import (
    heads,
    kinds,
    losses,
    plain_masks,
    plain_padding,
    required_arguments,
    signature,
    trial,
)
from clearformer.checks.recognise.experiment import Experiment
from clearformer.checks.recognise.loss_forms import BATCHES, Batch, is_target
from clearformer.checks.subject import Kind, Subject
from clearformer.errors import CheckError

LENGTHS = (trial.LENGTH, 5)
KINDS: tuple[Kind, ...] = ("causal", "classifier")
"""what is tried where the kind is not given: logits for each token, then for each sequence"""


@dataclass(frozen=True)
class CallForm:
    """A form of call, as text and as a function."""

    description: str
    call: Callable[[Any, Tensor], Any]
    width: int | None = None
    """of the vectors that the model reads instead of tokens"""
    masked: plain_masks.MaskedCall | None = None
    """the same call with padding, where the model requires a mask"""

    def inputs(self, length: int) -> Tensor:
        return trial.sample_tokens(length) if self.width is None else torch.randn(trial.ROWS, length, self.width)


def recognise(model: Any, kind: Kind | None) -> Subject:
    """By the first form of call that gives logits. Without `kind` it is inferred: see `kinds`.

    Raises CheckError where none does.
    """
    attempts: list[str] = []
    for one in (kind,) if kind else KINDS:
        for length in LENGTHS:
            for form in _call_forms(model, one, length):
                out, description = trial.try_call(partial(form.call, model), form.inputs(length))
                if out is not None and _are_flat_logits(out, one, length):
                    form = CallForm(form.description, partial(heads.call_flat, form.call), form.width)
                    out = out.unflatten(0, (trial.ROWS, length))
                if out is not None and _are_logits(out, one, length):
                    form = _completed(model, one, form, length)
                    return (
                        _of_inferred_kind(model, one, form, length, out)
                        if kind is None
                        else _subject(model, one, form, length)
                    )
                attempts.append(f"  {form.description}, {length} tokens each: {description}")
    axes = "[B, C]" if kind == "classifier" else "[B, T, V]"
    raise CheckError(
        f"logits {axes} were expected of {signature.name_of(model)}, but no form of call gave them. Tried, with "
        f"{trial.ROWS} rows:\n" + "\n".join(dict.fromkeys(attempts)) + "\nSay how it is called: return "
        f'Subject(model, call=lambda model, tokens: ..., kind="{kind or "causal"}", vocab_size=...)'
    )


def _completed(model: Any, kind: Kind, form: CallForm, length: int) -> CallForm:
    """The form with the axes in their order and the head that the caller applies, where that is so."""
    if kind == "classifier" or form.width is not None:
        return form
    if form.masked is None and heads.time_is_first(model, form.call):
        return CallForm("model(tokens [T, B])", partial(heads.call_time_first, form.call))
    name = heads.left_to_the_caller(model, form.call, form.inputs(length))
    if not name:
        return form
    description = f"model.{name}({form.description})"
    masked = None if form.masked is None else replace(form.masked, head=name)
    return CallForm(
        description, masked.without_padding if masked else partial(_with_head, form.call, name), None, masked
    )


def _with_head(call: Callable[[Any, Tensor], Any], name: str, model: Any, tokens: Tensor) -> Any:
    return heads.apply(name, model, call(model, tokens))


def _of_inferred_kind(model: Any, kind: Kind, form: CallForm, length: int, out: Tensor) -> Subject:
    """The subject of the kind that the model is taken for, and why."""
    if kind == "classifier":
        said = f"kind: taken for a classifier, since it returns {out.shape[1]} numbers for each sequence"
        return replace(_subject(model, kind, form, length), ways=(said,))
    subject = _subject(model, kind, form, length)
    inferred, said = kinds.infer(model, form.call, form.inputs(length))
    if inferred == kind or _loss_shifts(subject):
        return subject
    return replace(recognise(model, inferred), ways=(said,))


def _loss_shifts(subject: Subject) -> bool:
    """Whether the model's own loss compares logits with the next token, so that it is causal whatever it sees."""
    if subject.vocab_size is None or not isinstance(subject.model, nn.Module):
        return False
    found = losses.find(Experiment(subject))
    return any(loss.matched and loss.convention in ("inside", "alone") for loss in found)


def _are_logits(out: Tensor, kind: Kind, length: int) -> bool:
    expected = (trial.ROWS,) if kind == "classifier" else (trial.ROWS, length)
    return out.is_floating_point() and out.dim() == len(expected) + 1 and tuple(out.shape[:-1]) == expected


def _are_flat_logits(out: Tensor, kind: Kind, length: int) -> bool:
    return kind != "classifier" and out.is_floating_point() and out.dim() == 2 and len(out) == trial.ROWS * length


def _call_forms(model: Any, kind: Kind, length: int) -> Iterator[CallForm]:
    """Common forms, the most common first."""
    parameters = signature.parameters(model)
    required = signature.required(parameters)[1:]
    mask = next((name for name in required if name in plain_masks.NAMES), None)
    fillings = [*required_arguments.fillings(parameters, [name for name in required if name != mask])]
    targets = next((name for name in [*parameters][1:] if is_target(name)), None)
    tokens = trial.sample_tokens(length)
    per_query = (True, False) if kind == "causal" else (False,)
    for filling in fillings:
        written = "".join(f", {name}={value}" for name, (value, _) in filling.items())
        others = {name: value for name, (_, value) in filling.items()}
        if mask is None:
            yield CallForm(f"model(tokens{written})", partial(required_arguments.call_with, others))
        elif masked := plain_masks.find_masked_call(model, mask, kind, tokens, per_query, others):
            description = f"model(tokens, {mask} {masked.convention.description}{written})"
            yield CallForm(description, masked.without_padding, masked=masked)
    if required:
        yield CallForm("model(tokens)", lambda model, tokens: model(tokens))
    if not required and signature.has_word(next(iter(parameters), ""), BATCHES):
        yield CallForm("model({tokens})", lambda model, tokens: model(Batch(tokens, mask=torch.ones_like(tokens))))
    if targets is not None:
        yield CallForm(
            f"model(tokens, {targets}=tokens)",
            lambda model, tokens: model(tokens, **{targets: tokens.clone()}),  # which the model may write to
        )
    if not isinstance(model, nn.Module):
        yield CallForm("model(tokens.numpy())", lambda model, tokens: model(tokens.numpy()))
    if isinstance(model, nn.Module):
        yield CallForm("model(tokens [T]) for each row", required_arguments.call_by_rows)
    if inner := heads.inner_model(model, tokens):
        yield CallForm(f"model.{inner}(tokens)", partial(heads.call_part, inner))
    width = signature.width(model)
    if width is not None:
        yield CallForm(f"model(vectors [B, T, {width}])", lambda model, x: model(x), width)


def _subject(model: Any, kind: Kind, form: CallForm, length: int) -> Subject:
    fields = plain_padding.padding_fields(model, kind, form.call, form.masked, form.inputs(length))
    sizes: dict[str, Any] = {"width": form.width, "context": signature.declared(model, signature.CONTEXTS)}
    if form.width is None:
        vocabulary, context = trial.vocabulary_and_context(model, form.call, length)
        sizes = {"vocab_size": vocabulary, "context": context}
    name = signature.name_of(model)
    return Subject(
        model,
        call=form.call,
        kind=kind,
        name=name if form.description == "model(tokens)" else f"{name}, called as {form.description}",
        **sizes,
        **fields,
    )
