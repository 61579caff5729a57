"""Encoder-decoders that are called with a source and a target, and perhaps with masks for them."""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.recognise import composed, features, heads, kinds, pair_batch, signature, trial
from clearformer.checks.recognise.encoder_decoder_calls import (
    LABELS,
    SOURCE_WORDS,
    TARGET_WORDS,
    CallSearch,
    PairCall,
    has_word,
    is_length,
)
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.recognise.pair_batch import BatchCall
from clearformer.checks.subject import MAX_LENGTH, Kind, Subject
from clearformer.errors import CheckError

VOCABULARIES = ("src_vocab_size", "tgt_vocab_size", "trg_vocab_size", "src_vocab", "tgt_vocab", "trg_vocab")
KINDS = (None, "encoder-decoder")
TARGET_NAMES = ("tgt", "trg", "dec", "prev_output")
"""with which the name of a target begins, whatever the source is called"""
FILLING_IN = ("mask", "masked", "cmlm", "nat")
"""words in the names of encoder-decoders that fill in a target, all of it at once"""
AnyCall = PairCall | BatchCall
EXTRA = 2
"""tokens that the source is longer than the target, so that the two can be told apart"""


def recognise(model: Any, kind: Kind | None) -> Subject | None:
    """A model whose first two parameters are a source and a target, by their names or by `kind`; else None.

    One that takes both in one argument is found by trying.

    Raises CheckError where no form of call gives logits.
    """
    parameters, through = signature.parameters(model), None
    names = None
    if kind in KINDS:
        names = _source_and_target(parameters, certain=kind == "encoder-decoder")
    length = min(trial.LENGTH, (signature.declared(model, signature.CONTEXTS) or MAX_LENGTH) - EXTRA)
    if names is None and kind in KINDS and (framed := _of_frames(model, parameters, length)):
        return framed
    if names is None:
        inputs = (_inputs(None, length + EXTRA), _inputs(None, length))
        if kind in KINDS and (batched := pair_batch.find(model, *inputs)):
            return _subject(model, batched, None, None, length)
        if kind not in KINDS or (through := composed.find(model)) is None:
            return None
        names, parameters = (through.source, through.target), through.parameters
    width = signature.width(model)
    attempts = []
    for vector_width in (None, width) if width else (None,):
        source, tokens = _inputs(vector_width, length + EXTRA), _inputs(vector_width, length)
        search = CallSearch(model, source, tokens, names, parameters, through=through)
        call = search.find_call()
        if call is not None:
            if kind is None:
                _refuse_one_that_fills_in(model, search, call)
            padded, head = (
                search.find_padded_call(),
                heads.left_to_the_caller(model, call.without_padding, source, tokens),
            )
            return _subject(
                model, replace(call, head=head), padded and replace(padded, head=head), vector_width, length
            )
        attempts.append(search.first_attempt)
    raise CheckError(
        f"logits [B, T, V] were expected of {signature.name_of(model)} for a source [B, S] and a target [B, T], but no "
        "form of call gave them. Tried:\n" + "\n".join(attempts) + "\nSay how it is called: return Subject(model, "
        'call=lambda model, source, tokens: ..., kind="encoder-decoder", vocab_size=...)'
    )


def _refuse_one_that_fills_in(model: Any, search: CallSearch, call: PairCall) -> None:
    """Raises CheckError for a decoder that sees both sides and is named after masks."""
    if kinds.is_named(model, FILLING_IN) and not search.hides_the_future(call):
        raise CheckError(
            f"a decoder that writes from left to right was expected, found {signature.name_of(model)}, which sees both "
            "sides and by its name fills in masked tokens, for which there are no checks. Is it to write from left to "
            "right? Then its causal mask is missing: run again with --kind encoder-decoder"
        )


def _of_frames(model: Any, parameters: Mapping[str, inspect.Parameter], length: int) -> Subject | None:
    """A model whose source is frames, as those of a sound, and its target tokens; None where that does not run."""
    first, *rest = [name for name in signature.required(parameters) if not is_length(name)] or [""]
    if not signature.has_word(first, features.WORDS) or not rest or not isinstance(model, nn.Module):
        return None
    source, tokens = _inputs(None, length + EXTRA), _inputs(None, length)
    for frames in features.forms(model):
        search = CallSearch(model, source, tokens, (first, rest[0]), parameters, frames)
        if (call := search.find_call()) is not None:
            return _subject(model, call, None, None, length)
    return None


def _source_and_target(parameters: Mapping[str, inspect.Parameter], certain: bool) -> tuple[str, str] | None:
    """The names of the source and the target, if the first two parameters are those; `certain`: they are.

    Lengths and masks may stand between them, and the target may have a default where it is the decoder's by name, or
    the first is a source and `target` alone is not its name, which may be a language model's labels.
    """
    first = next(iter(parameters), "")
    second = next((name for name in [*parameters][1:] if not is_length(name) and "mask" not in name), "")
    is_optional = bool(second) and parameters[second].default is not inspect.Parameter.empty
    is_clear = has_word(first, SOURCE_WORDS) and has_word(second, TARGET_WORDS) and second not in ("target", "targets")
    if not second or (is_optional and not certain and not second.startswith("decoder_input") and not is_clear):
        return None
    if has_word(first, TARGET_WORDS) and has_word(second, SOURCE_WORDS):
        return second, first
    is_pair = has_word(first, SOURCE_WORDS) and (has_word(second, TARGET_WORDS) or signature.has_word(second, LABELS))
    return (first, second) if certain or is_pair or second.startswith(TARGET_NAMES) else None


def _inputs(width: int | None, length: int) -> Tensor:
    return trial.sample_tokens(length) if width is None else torch.randn(trial.ROWS, length, width)


def _subject(model: Any, call: AnyCall, padded: PairCall | None, width: int | None, length: int) -> Subject:
    pad = signature.padding_token(model)
    sizes: dict[str, Any] = {"width": width, "context": signature.declared(model, signature.CONTEXTS)}
    if width is None:
        sizes = _sizes(model, call, length)
    start = call.start if isinstance(call, PairCall) else None
    by_token = None if pad is None or width else partial(_with_padding_tokens, call, pad)
    if isinstance(call, PairCall) and call.lengths and not width:
        by_token = partial(_with_lengths, call, pad or 0)
    return Subject(
        model,
        call=call.without_padding,
        kind="encoder-decoder",
        pad=pad or 0,
        reserved=tuple(token for token in dict.fromkeys((pad, start)) if token is not None),
        start=start,
        padded=padded or by_token,
        name=f"{signature.name_of(model)}, called as {call.description}",
        **sizes,
    )


def _with_padding_tokens(
    call: AnyCall, pad: int, model: Any, source: Tensor, tokens: Tensor, source_real: Tensor, real: Tensor
) -> Any:
    """For a model that recognises padding by its token."""
    return call.without_padding(model, source.masked_fill(~source_real, pad), tokens.masked_fill(~real, pad))


def _with_lengths(
    call: PairCall, pad: int, model: Any, source: Tensor, tokens: Tensor, source_real: Tensor, real: Tensor
) -> Any:
    """For a model that is told how long each source is."""
    filled = source.masked_fill(~source_real, pad), tokens.masked_fill(~real, pad)
    return call(model, *filled, source_real, real)


def _sizes(model: Any, call: AnyCall, length: int) -> dict[str, Any]:
    """The smaller of the two vocabularies and of the two contexts."""
    pad = signature.padding_token(model)
    source, tokens = trial.sample_tokens(length + EXTRA, pad), trial.sample_tokens(length, pad)
    with trial.LookupRecorder() as recorder:
        logits = extract_logits(call.without_padding(model, source, tokens))
    declared = [signature.declared(model, [name]) for name in VOCABULARIES]
    looked_up = [recorder.vocabulary(source), recorder.vocabulary(tokens)]
    vocabularies = [size for size in (declared if any(declared) else looked_up) if size]
    contexts = [size for size in (recorder.context(length + EXTRA), recorder.context(length)) if size]
    context = signature.declared(model, signature.CONTEXTS) or min(contexts, default=None)
    if context is not None and isinstance(call, PairCall) and call.ending == "begins":
        context -= 1  # for the token that the model puts in front
    if context is None:
        context = trial.find_max_length(partial(_works, model, call), length + EXTRA)
    smallest = min(vocabularies, default=logits.shape[-1])
    return {"vocab_size": signature.declared(model, signature.VOCABULARIES) or smallest, "context": context}


def _works(model: Any, call: AnyCall, length: int) -> bool:
    tokens = trial.sample_tokens(length, signature.padding_token(model))
    if isinstance(call, PairCall) and call.start is not None:
        tokens[:, 0] = call.start + 1  # a target that begins with it is shorter by one in the model
    return trial.try_call(partial(call.without_padding, model), tokens, tokens)[0] is not None
