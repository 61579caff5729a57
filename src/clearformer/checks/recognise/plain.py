"""A module or function that is given tokens, or vectors, and returns logits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.recognise import (
    heads,
    images,
    kinds,
    losses,
    plain_masks,
    plain_padding,
    required_arguments,
    signature,
    trial,
)
from clearformer.checks.recognise.experiment import Experiment
from clearformer.checks.recognise.loss_forms import BATCHES, SURE, Batch, is_target
from clearformer.checks.recognise.outputs import are_probabilities, extract_logits
from clearformer.checks.subject import Kind, Subject
from clearformer.errors import CheckError

LENGTHS = (trial.LENGTH, 5)
KINDS: tuple[Kind, ...] = ("causal", "classifier")
"""what is tried where the kind is not given: logits for each token, then for each sequence"""
NAMES_OF_TOKENS = ("input_ids", "tokens", "ids", "inputs", "x", "idx", "src")


TIES = ("tie_weights", "tie_word_embeddings", "tie_embeddings", "weight_tying", "tied_embeddings")
FEATURES = ("feat", "hidden", "encode", "backbone", "body")
"""in names of methods that give a vector a token, where `forward` reads candidates or labels too"""
VECTORS = (*FEATURES, "embed", "represent", "pool")
"""in names of methods that give a vector a text, where `forward` compares texts with each other"""


@dataclass(frozen=True)
class CallForm:
    """A form of call, as text and as a function."""

    description: str
    call: Callable[[Any, Tensor], Any]
    width: int | None = None
    """of the vectors that the model reads instead of tokens"""
    masked: plain_masks.MaskedCall | None = None
    """the same call with padding, where the model requires a mask"""
    arrange: heads.Arrange = heads.as_it_is
    """what `call` does with the model's output"""

    def inputs(self, length: int, pad: int | None = None) -> Tensor:
        return trial.sample_tokens(length, pad) if self.width is None else torch.randn(trial.ROWS, length, self.width)


def recognise(model: Any, kind: Kind | None) -> Subject:
    """By the first form of call that gives logits. Without `kind` it is inferred: see `kinds`.

    Raises CheckError where none does.
    """
    attempts: list[str] = []
    for one in (kind,) if kind else KINDS:
        for length in LENGTHS:
            for form in _call_forms(model, one, length):
                out, description = trial.try_call(partial(form.call, model), form.inputs(length))
                if out is not None and (arrange := _arrangement(model, one, form, length, out)):
                    form = _arranged(model, one, form, length, arrange)
                    out = extract_logits(form.call(model, form.inputs(length)))
                if out is not None and _are_logits(out, one, length):
                    form = _completed(model, one, form, length)
                    return (
                        _of_inferred_kind(model, one, form, length, out)
                        if kind is None
                        else _subject(model, one, form, length)
                    )
                attempts.append(f"  {form.description}, {length} tokens each: {description}")
    if part := _part_with_logits(model):
        found = recognise(signature.method(model, part), kind)
        return replace(found, name=f"{signature.name_of(model)}.{part}")
    if kind in (None, "classifier") and (of_images := images.recognise(model)):
        return of_images
    if of_inner := _of_inner_language_model(model, kind):
        return of_inner
    axes = "[B, C]" if kind == "classifier" else "[B, T, V]"
    raise CheckError(
        f"logits {axes} were expected of {signature.name_of(model)}, but no form of call gave them. Tried, with "
        f"{trial.ROWS} rows:\n" + "\n".join(dict.fromkeys(attempts)) + "\nSay how it is called: return "
        f'Subject(model, call=lambda model, tokens: ..., kind="{kind or "causal"}", vocab_size=...)'
    )


def _part_with_logits(model: Any) -> str:
    """The name of a part that reads tokens, where the model gives its loss of tokens and what else it requires."""
    parameters = signature.parameters(model)
    tokens, others = trial.sample_tokens(), signature.required(parameters)[1:]
    for filling in required_arguments.fillings(parameters, others) if others else ():
        call = partial(required_arguments.call_with, {name: value for name, (_, value) in filling.items()})
        if part := heads.inner_model(model, call, tokens):
            return part
    return ""


def _of_inner_language_model(model: Any, kind: Kind | None) -> Subject | None:
    """The subject of a part that is a whole language model and holds half or more of what is trained.

    Such is the policy of a model that compares two answers. That part alone is checked, and it is said.
    """
    if not isinstance(model, nn.Module):
        return None
    for name, part in model.named_children():
        logits, _ = trial.try_call(part, tokens := trial.sample_tokens())
        if logits is None or logits.dim() != 3 or 2 * _num_trained(part) < max(_num_trained(model), 1):
            continue
        with trial.LookupRecorder() as recorder:
            part(tokens)
        if logits.shape[-1] == recorder.vocabulary(tokens):
            said = f"only its part `{name}` is checked: how the whole is called was not found"
            found = recognise(part, kind)
            return replace(found, name=f"{signature.name_of(model)}.{name}", ways=(said, *found.ways))
    return None


def _num_trained(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def _completed(model: Any, kind: Kind, form: CallForm, length: int) -> CallForm:
    """The form with the axes in their order and the head that the caller applies, where that is so."""
    if kind == "classifier" or form.width is not None:
        return form
    if form.masked is None and heads.time_is_first(model, form.call):
        return CallForm("model(tokens [T, B])", partial(heads.call_time_first, form.call))
    if form.masked is None and heads.stands_at_what_it_predicts(form.call, model, form.inputs(length)):
        said = f"{form.description}, of one token more, whose logits stand at what they predict"
        return CallForm(said, partial(heads.call_one_further, form.call))
    name = heads.left_to_the_caller(model, form.call, form.inputs(length))
    if not name:
        return form
    described = replace(form, description=f"model.{name}({form.description})")
    return _arranged(model, kind, described, length, partial(heads.with_head, name))


def _arranged(model: Any, kind: Kind, form: CallForm, length: int, arrange: heads.Arrange) -> CallForm:
    """The form with its output, and that of the call with padding, arranged."""
    if form.masked is None:
        return replace(form, call=partial(heads.call_arranged, arrange, form.call), arrange=arrange)
    name, others = form.masked.name, form.masked.others
    masked = plain_masks.find_masked_call(model, name, kind, form.inputs(length), _per_query(kind), others, arrange)
    assert masked is not None  # it ran before
    return replace(form, call=masked.without_padding, masked=masked, arrange=arrange)


def _of_inferred_kind(model: Any, kind: Kind, form: CallForm, length: int, out: Tensor) -> Subject:
    """The subject of the kind that the model is taken for, and why."""
    if kind == "classifier":
        said = f"kind: taken for a classifier, since it returns {out.shape[1]} numbers for each sequence"
        return replace(_subject(model, kind, form, length), ways=(said,))
    subject = _subject(model, kind, form, length)
    tokens = form.inputs(length, signature.padding_token(model))
    inferred, said = kinds.infer(model, form.call, tokens, _gives_labels(model, subject.vocab_size, out.shape[-1]))
    if inferred == kind or _loss_shifts(subject):
        return subject
    return replace(recognise(model, inferred), ways=(said,))


def _gives_labels(model: Any, vocabulary: int | None, width: int) -> bool:
    """Whether logits of this width are neither of tokens nor the model's vectors."""
    return vocabulary is not None and 2 * width <= vocabulary and width != signature.width(model)


def _loss_shifts(subject: Subject) -> bool:
    """Whether the model's own loss compares logits with the next token, so that it is causal whatever it sees."""
    if subject.vocab_size is None or not isinstance(subject.model, nn.Module):
        return False
    found = losses.find(Experiment(subject))
    return any(loss.matched and loss.convention in ("inside", "alone") for loss in found)


def _are_logits(out: Tensor, kind: Kind, length: int) -> bool:
    expected = (trial.ROWS,) if kind == "classifier" else (trial.ROWS, length)
    return out.is_floating_point() and out.dim() == len(expected) + 1 and tuple(out.shape[:-1]) == expected


def _per_query(kind: Kind) -> tuple[bool, ...]:
    """Whether a mask has a row for each query: what is tried."""
    return (True, False) if kind == "causal" else (False,)


def _arrangement(model: Any, kind: Kind, form: CallForm, length: int, out: Tensor) -> heads.Arrange | None:
    """What puts logits [B * T, V], or one number for each token or each sequence, into the usual axes."""
    shape = tuple(out.shape)
    if not out.is_floating_point():
        return None
    if out.dim() > 1 and _has_a_loss_beside(model) and are_probabilities(out):
        return heads.logarithms
    if kind == "classifier":
        return heads.numbers if shape == (trial.ROWS,) else None
    if len(shape) == 2 and len(out) == trial.ROWS * length:
        return heads.rows
    if len(shape) == 3 and heads.grows_layer_by_layer(model, form.call, form.inputs(length)):
        return heads.last
    if shape != (trial.ROWS, length):
        return None
    longer, _ = trial.try_call(partial(form.call, model), form.inputs(length + 1))
    return heads.numbers if longer is not None and longer.shape == (trial.ROWS, length + 1) else None


def _takes_one(method: Any) -> bool:
    return len(signature.required(signature.parameters(method))) == 1


def _has_a_loss_beside(model: Any) -> bool:
    """Whether its loss is another method, so that the probabilities that the model returns are for its users."""
    return bool(signature.methods(model, SURE)) and not any(is_target(name) for name in signature.parameters(model))


def _call_forms(model: Any, kind: Kind, length: int) -> Iterator[CallForm]:
    """Common forms, the most common first."""
    parameters = signature.parameters(model)
    required, first = signature.required(parameters)[1:], next(iter(parameters), "")
    mask = next((name for name in required if name in plain_masks.NAMES), None)
    fillings = [*required_arguments.fillings(parameters, [name for name in required if name != mask])]
    targets = next((name for name in [*parameters][1:] if is_target(name)), None)
    tokens = trial.sample_tokens(length)
    by_name = next((f"{p.name}=" for p in parameters.values() if p.kind is p.KEYWORD_ONLY and p.name == first), "")
    for filling in fillings:
        written = "".join(f", {name}={value}" for name, (value, _) in filling.items())
        others = {name: value for name, (_, value) in filling.items()}
        if mask is None:
            yield CallForm(f"model({by_name}tokens{written})", partial(required_arguments.call_with, others))
        elif masked := plain_masks.find_masked_call(model, mask, kind, tokens, _per_query(kind), others):
            description = f"model({by_name}tokens, {mask} {masked.convention.description}{written})"
            yield CallForm(description, masked.without_padding, masked=masked)
    if required:
        yield CallForm("model(tokens)", lambda model, tokens: model(tokens))
    if signature.takes_any_name(model):
        for name in NAMES_OF_TOKENS:
            yield CallForm(f"model({name}=tokens)", partial(required_arguments.call_by_name, name))
    if not required and signature.has_word(first, BATCHES):
        yield CallForm("model({tokens})", lambda model, tokens: model(Batch(tokens, mask=torch.ones_like(tokens))))
    if targets is not None:
        yield CallForm(
            f"model(tokens, {targets}=tokens)",
            lambda model, tokens: signature.give(model, tokens, **{targets: tokens.clone()}),  # it may write to them
        )
    if not isinstance(model, nn.Module):
        yield CallForm("model(tokens.numpy())", lambda model, tokens: model(tokens.numpy()))
    if isinstance(model, nn.Module):
        yield CallForm("model(tokens [T]) for each row", required_arguments.call_by_rows)
    if inner := heads.inner_model(model, lambda model, tokens: model(tokens), tokens):
        yield CallForm(f"model.{inner}(tokens)", partial(heads.call_part, inner))
    for name in signature.methods(model) if required else ():
        if any(word in name.lower() for word in (FEATURES if kind == "causal" else VECTORS)) and _takes_one(
            signature.method(model, name)
        ):
            yield CallForm(f"model.{name}(tokens)", partial(heads.call_part, name))
    width = signature.width(model)
    if width is not None:
        yield CallForm(f"model(vectors [B, T, {width}])", lambda model, x: model(x), width)


def _takes_vectors(model: Any, form: CallForm, length: int) -> bool:
    return trial.try_call(partial(form.call, model), form.inputs(length))[0] is not None


def _with_prefix(name: str, model: Any, tokens: Tensor, lengths: Tensor) -> Any:
    """One number where that is the default, and else one for each row."""
    is_one = isinstance(signature.parameters(model)[name].default, int)
    return signature.give(model, tokens, **{name: int(lengths[0]) if is_one else lengths})


def _subject(model: Any, kind: Kind, form: CallForm, length: int) -> Subject:
    fields = plain_padding.padding_fields(model, kind, form.call, form.masked, form.arrange, form.inputs(length))
    if form.width is None:
        vocabulary, context = trial.vocabulary_and_context(model, form.call, length)
        if context is not None and context == signature.declared(model, signature.CONTEXTS):
            context -= heads.reads_one_more(form.call)
        sizes: dict[str, Any] = {"vocab_size": vocabulary, "context": context}
    else:
        works = partial(_takes_vectors, model, form)
        context = signature.declared(model, signature.CONTEXTS) or trial.find_max_length(works, length)
        sizes = {"width": form.width, "context": context}
    if prefix := next(filter(signature.is_prefix, signature.parameters(model)), ""):
        fields["prefixed"] = partial(_with_prefix, prefix)
    name = signature.name_of(model)
    return Subject(
        model,
        call=form.call,
        kind=kind,
        tied=True if kind != "classifier" and signature.is_said(model, TIES) else None,
        name=name if form.description == "model(tokens)" else f"{name}, called as {form.description}",
        **sizes,
        **fields,
    )
