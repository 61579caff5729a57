"""Encoder-decoders that are called with a source and a target, and perhaps with masks for them."""

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import introspection
from clearformer.checks.recognise.encoder_decoder_calls import OF_SOURCE, OF_TARGET, Finder, Way, is_of
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import MAX_LENGTH, Kind, Subject
from clearformer.errors import CheckError

VOCABULARIES = ("src_vocab_size", "tgt_vocab_size", "trg_vocab_size", "src_vocab", "tgt_vocab", "trg_vocab")
LONGER = 2
"""by so many tokens the source is longer than the target, so that the two are told apart"""


def recognise(model: Any, kind: Kind | None) -> Subject | None:
    """A model with a source and a target among its first inputs, or any that `kind` says is one."""
    takes = introspection.parameters(model)
    names = _names(takes, sure=kind == "encoder-decoder") if kind in (None, "encoder-decoder") else None
    if names is None:
        return None
    width = introspection.width(model)
    length = min(introspection.LENGTH, (introspection.declared(model, introspection.CONTEXTS) or MAX_LENGTH) - LONGER)
    said = []
    for vectors in (None, width) if width else (None,):
        source, tokens = _inputs(vectors, length + LONGER), _inputs(vectors, length)
        found = Finder(model, source, tokens, names, takes)
        way = found.called()
        if way is not None:
            return _subject(model, way, found.padded(), vectors, length)
        said.append(found.words)
    raise CheckError(
        f"logits [B, T, V] were expected of {introspection.name_of(model)} for a source [B, S] and a target [B, T], but no way "
        "to call it gave them. Tried:\n" + "\n".join(said) + "\nSay how it is called: return Subject(model, "
        'call=lambda model, source, tokens: ..., kind="encoder-decoder", vocab_size=...)'
    )


def _names(takes: Mapping[str, inspect.Parameter], sure: bool) -> tuple[str, str] | None:
    """What the source and the target are called, if the first two inputs are those."""
    first, second = [*takes, "", ""][:2]
    if "mask" in second or not second or (takes[second].default is not inspect.Parameter.empty and not sure):
        return None
    if is_of(first, OF_TARGET) and is_of(second, OF_SOURCE):
        return second, first
    alike = is_of(first, OF_SOURCE) and (is_of(second, OF_TARGET) or second == "y")
    return (first, second) if sure or alike or second.startswith(("tgt", "trg", "dec")) else None


def _inputs(width: int | None, length: int) -> Tensor:
    return introspection.few_tokens(length) if width is None else torch.randn(introspection.ROWS, length, width)


def _subject(model: Any, way: Way, padded: Way | None, width: int | None, length: int) -> Subject:
    pad = introspection.declared(model, introspection.PADS)
    sizes: dict[str, Any] = {"width": width, "context": introspection.declared(model, introspection.CONTEXTS)}
    if width is None:
        sizes = _sizes(model, way, length)
    by_token = None if pad is None or width else partial(_with_pads, way, pad)
    return Subject(
        model,
        call=way.unpadded,
        kind="encoder-decoder",
        pad=pad or 0,
        reserved=() if pad is None else (pad,),
        padded=padded or by_token,
        name=f"{introspection.name_of(model)}, called as {way.words}",
        **sizes,
    )


def _with_pads(
    way: Way, pad: int, model: Any, source: Tensor, tokens: Tensor, source_real: Tensor, real: Tensor
) -> Any:
    """For a model that knows padding by its token."""
    return way.unpadded(model, source.masked_fill(~source_real, pad), tokens.masked_fill(~real, pad))


def _sizes(model: Any, way: Way, length: int) -> dict[str, Any]:
    """The smaller of the two vocabularies, and what both sides have room for."""
    source, tokens = introspection.few_tokens(length + LONGER), introspection.few_tokens(length)
    with introspection.Lookups() as lookups:
        logits = extract_logits(way.unpadded(model, source, tokens))
    declared = [introspection.declared(model, [name]) for name in VOCABULARIES]
    looked_up = [lookups.rows_at(source), lookups.rows_at(tokens)]
    vocabularies = [rows for rows in (declared if any(declared) else looked_up) if rows]
    places = [lookups.rows_of_positions(length + LONGER), lookups.rows_of_positions(length)]
    room = [rows for rows in places if rows]
    context = introspection.declared(model, introspection.CONTEXTS) or min(room, default=None)
    if context is None:
        context = introspection.longest_that_works(partial(_fits, model, way), length + LONGER)
    return {
        "vocab_size": introspection.declared(model, introspection.VOCABULARIES)
        or min(vocabularies, default=logits.shape[-1]),
        "context": context,
    }


def _fits(model: Any, way: Way, length: int) -> bool:
    tokens = introspection.few_tokens(length)
    return introspection.tried(partial(way.unpadded, model), tokens, tokens)[0] is not None
