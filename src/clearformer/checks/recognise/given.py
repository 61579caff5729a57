"""What the user says about a model, over what is found: the padding token, the context, and methods by their names."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor

from clearformer.checks.recognise import signature, ways
from clearformer.checks.recognise.experiment import Experiment
from clearformer.checks.subject import Subject
from clearformer.errors import CheckError

Way = str | Callable[..., Any] | None
"""the name of a method, such as "model.compute_loss", or a function as in `Subject`"""
MEANINGS = {
    "loss": "tokens, labels or a batch of both, and gave no loss of one number",
    "step": "tokens and a cache, and gave no logits for them",
    "generate": "a prompt and a number of tokens, and gave no token ids",
}


@dataclass(frozen=True)
class Given:
    """Fields of a subject in part; None where nothing is said."""

    loss: Way = None
    step: Way = None
    generate: Way = None
    pad: int | None = None
    context: int | None = None

    def sizes(self, subject: Subject) -> Subject:
        """The subject with the padding token and the context, before other ways in are tried."""
        if self.context is not None:
            if self.context < 1:
                raise CheckError(f"a number of tokens was expected as the context, found {self.context}")
            subject = replace(subject, context=self.context)
        if self.pad is None:
            return subject
        if subject.vocab_size is None or not 0 <= self.pad < subject.vocab_size:
            tokens = "no tokens" if subject.vocab_size is None else f"the tokens 0 to {subject.vocab_size - 1}"
            raise CheckError(f"a padding token of the model was expected, which reads {tokens}, found {self.pad}")
        return _with_pad(subject, self.pad)

    def methods(self, subject: Subject) -> Subject:
        """The subject with the methods that are named."""
        for name in MEANINGS:
            way = getattr(self, name)
            if callable(way):
                subject = replace(subject, **{name: way})
            elif way is not None:
                subject = _with_method(subject, name, way)
        return subject


def _with_pad(subject: Subject, pad: int) -> Subject:
    """The subject with that token as padding, which is recognised by it unless a mask was found."""
    subject = replace(subject, pad=pad, reserved=tuple(sorted({*subject.reserved, pad})))
    if subject.padded is not None and not isinstance(subject.padded, partial):
        return subject
    return replace(subject, padded=partial(_padded_by_token, subject.call, pad))


def _padded_by_token(call: Callable[..., Any], pad: int, model: Any, *arguments: Tensor) -> Any:
    """Tokens, or source and tokens, and as many masks of what is real."""
    inputs, masks = arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]
    return call(model, *(tokens.masked_fill(~real, pad) for tokens, real in zip(inputs, masks, strict=True)))


def _with_method(subject: Subject, field: str, text: str) -> Subject:
    name = _method_name(subject.model, field, text)
    if subject.vocab_size is None:
        raise CheckError(f"{field} was given, but the model reads vectors and not tokens; return a Subject instead")
    fields = ways.FIELDS[field](Experiment(subject), name)
    if field not in fields:
        raise CheckError(
            f"model.{name} was called in all known forms with {MEANINGS[field]}; say how it is called: "
            f"Subject(..., {field}=lambda model, ...: ...)"
        )
    said = fields.pop("ways")
    return replace(subject, ways=tuple(dict.fromkeys((*subject.ways, *said))), **fields)


def _method_name(model: Any, field: str, text: str) -> str:
    """The name without "model."; raises CheckError where the model has no such method."""
    name = text.removeprefix("model.")
    try:
        found = signature.method(model, name)
    except AttributeError:
        found = None
    if callable(found):
        return name
    own = signature.methods(model)
    near = difflib.get_close_matches(name, own, n=1)
    hint = f"did you mean model.{near[0]}?" if near else f"it has {', '.join(own) or 'none'}"
    owner = signature.name_of(model)
    raise CheckError(f"a method of {owner} was expected for {field}, such as model.{field}, found {text!r}; {hint}")
