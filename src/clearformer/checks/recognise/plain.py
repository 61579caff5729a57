"""A module or function that is given tokens, or vectors, and returns logits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.recognise import introspection, plain_masks, plain_options
from clearformer.checks.subject import Kind, Subject
from clearformer.errors import CheckError

LENGTHS = (introspection.LENGTH, 5)


@dataclass(frozen=True)
class Way:
    """A way to call a model, in words and as a function."""

    words: str
    call: Callable[[Any, Tensor], Any]
    width: int | None = None
    """of the vectors that it reads in place of tokens"""
    masked: plain_masks.Masked | None = None
    """the same with a mask, where it must have one"""

    def inputs(self, length: int) -> Tensor:
        return (
            introspection.few_tokens(length)
            if self.width is None
            else torch.randn(introspection.ROWS, length, self.width)
        )


def recognise(model: Any, kind: Kind | None) -> Subject:
    """The first way that gives logits. A model is taken for causal unless `kind` says otherwise, whatever it does."""
    kind = kind or "causal"
    said = []
    for length in LENGTHS:
        for way in _ways(model, kind, length):
            out, words = introspection.tried(partial(way.call, model), way.inputs(length))
            if out is not None and _are_logits(out, kind, length):
                return _subject(model, kind, way, length)
            said.append(f"  {way.words}, {length} tokens each: {words}")
    raise CheckError(
        f"logits {'[B, C]' if kind == 'classifier' else '[B, T, V]'} were expected of {introspection.name_of(model)}, but no "
        f"way to call it gave them. Tried, with {introspection.ROWS} rows:\n" + "\n".join(said) + "\nSay how: return "
        f'Subject(model, call=lambda model, tokens: ..., kind="{kind}", vocab_size=...)'
    )


def _are_logits(out: Tensor, kind: Kind, length: int) -> bool:
    wanted = (introspection.ROWS,) if kind == "classifier" else (introspection.ROWS, length)
    return out.is_floating_point() and out.dim() == len(wanted) + 1 and tuple(out.shape[:-1]) == wanted


def _ways(model: Any, kind: Kind, length: int) -> Iterator[Way]:
    """The usual ones, the most usual first."""
    takes = introspection.parameters(model)
    needed = introspection.required(takes)[1:]
    targets = next((name for name in plain_options.TARGETS if name in takes), None)
    tokens = introspection.few_tokens(length)
    each = (True, False) if kind == "causal" else (False,)
    masked = (
        plain_masks.find(model, needed[0], kind, tokens, each)
        if len(needed) == 1 and needed[0] in plain_masks.NAMES
        else None
    )
    if masked is None:
        yield Way("model(tokens)", lambda model, tokens: model(tokens))
    else:
        yield Way(f"model(tokens, {masked.name} {masked.convention.words})", masked.whole, masked=masked)
    if targets is not None:
        yield Way(f"model(tokens, {targets}=tokens)", lambda model, tokens: model(tokens, **{targets: tokens}))
    if not isinstance(model, nn.Module):
        yield Way("model(tokens.numpy())", lambda model, tokens: model(tokens.numpy()))
    width = introspection.width(model)
    if width is not None:
        yield Way(f"model(vectors [B, T, {width}])", lambda model, x: model(x), width)


def _subject(model: Any, kind: Kind, way: Way, length: int) -> Subject:
    extras = plain_options.found(model, kind, way.call, way.masked, way.inputs(length))
    plainest = way.words == "model(tokens)"
    sizes: dict[str, Any] = {"width": way.width, "context": introspection.declared(model, introspection.CONTEXTS)}
    if way.width is None:
        vocabulary, context = introspection.vocabulary_and_context(model, way.call, length)
        sizes = {"vocab_size": vocabulary, "context": context}
    return Subject(
        model,
        call=way.call,
        kind=kind,
        name=introspection.name_of(model) if plainest else f"{introspection.name_of(model)}, called as {way.words}",
        **sizes,
        **extras,
    )
