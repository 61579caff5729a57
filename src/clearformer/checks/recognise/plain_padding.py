"""How a plain model is given padding: by a mask, by its padding token, or not at all."""

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import heads, plain_masks, signature, trial
from clearformer.checks.recognise.encoder_decoder_calls import is_length
from clearformer.checks.recognise.experiment import same
from clearformer.checks.recognise.plain_masks import MaskedCall
from clearformer.checks.subject import Kind

Call = Callable[[Any, Tensor], Any]
ON_THE_LEFT = re.compile(r"left[- ]pad|\bpad[^.;]*\b(left(?! to right)|(either|both|any) sides?)\b")
"""in the documentation of a class"""
PADDED = 3
"""tokens of a trial that are replaced by padding"""


def padding_fields(
    model: Any, kind: Kind, call: Call, masked: MaskedCall | None, arrange: heads.Arrange, tokens: Tensor
) -> dict[str, Any]:
    """The fields of Subject for padding: by a mask that hides it, by the rows' lengths, by its token, or by nothing.

    By nothing in a causal model alone.

    `masked` is the call with a mask, where one is required.
    """
    pad = signature.padding_token(model)
    fields: dict[str, Any] = {} if pad is None else {"pad": pad, "reserved": (pad,)}
    parameters = signature.parameters(model)
    names = [name for name in plain_masks.NAMES_OF_PADDING if name in parameters] if masked is None else []
    found = [_optional_mask(model, name, kind, tokens, arrange) for name in names]
    for masked_call in [one for one in (masked, *found) if one is not None and one.can_hide_padding]:
        if (
            masked_call is masked
            or masked_call.name in plain_masks.SAYING_PADDING
            or _speaks_of_padding(model, masked_call.name)
            or masked_call.hides_what_it_should(model, tokens, kind)
        ):
            return fields | {"padded": masked_call, "sides": _sides(model)}
    if masked is None and (lengths := _lengths(model, tokens)):
        by_length = partial(_by_length, lengths, arrange, pad or 0)
        if trial.try_call(partial(by_length, model), tokens, torch.ones_like(tokens, dtype=torch.bool))[0] is not None:
            return fields | {"padded": by_length}
    if pad is not None and not tokens.is_floating_point():
        left = kind == "bidirectional" and _is_padded_on_the_left(model, call, pad)
        return fields | {"padded": partial(_by_token, call, pad), "sides": ("left",) if left else ("right",)}
    return fields | ({"padded": partial(_unmarked, call)} if kind == "causal" else {})


def _optional_mask(model: Any, name: str, kind: Kind, tokens: Tensor, arrange: heads.Arrange) -> MaskedCall | None:
    """A mask of real tokens; or one that says who sees whom, in place of the model's own, where only that is right."""
    padding = plain_masks.find_masked_call(model, name, kind, tokens, (False,), arrange=arrange)
    if kind != "causal" or padding is None or padding.hides(model, tokens, kind) or padding.convention.rank == 2:
        return padding
    whole = plain_masks.find_masked_call(model, name, kind, tokens, (True,), arrange=arrange, of_rows=True)
    return whole if whole is not None and whole.hides(model, tokens, kind) else padding


def _speaks_of_padding(model: Any, name: str) -> bool:
    """Whether the documentation of `forward` says that this mask is about padding."""
    words = _words(model)
    return f"`{name}`" in words and "pad" in words


def _sides(model: Any) -> tuple[str, ...]:
    """Where padding may stand: on the right, and on the left too if the documentation says so."""
    words, of_class = _words(model), (type(model).__doc__ or "").lower()
    return ("right", "left") if ("pad" in words and "left" in words) or ON_THE_LEFT.search(of_class) else ("right",)


def _is_padded_on_the_left(model: Any, call: Call, pad: int) -> bool:
    """Whether padding by its token changes nothing on the left and much on the right, as where places are counted from
    the end of a row, the newest token."""
    tokens = trial.sample_tokens(trial.LENGTH, pad)
    real = torch.arange(trial.LENGTH).expand_as(tokens) >= PADDED
    kept = {"left": (real, slice(PADDED, None)), "right": (real.flip(1), slice(None, -PADDED))}
    hidden = {}
    for side, (one, where) in kept.items():
        padded, _ = trial.try_call(partial(_by_token, call, pad, model), tokens, one)
        alone, _ = trial.try_call(partial(call, model), tokens[:, where])
        hidden[side] = padded is not None and alone is not None and same(padded[:, where], alone)
    return hidden["left"] and not hidden["right"]


def _words(model: Any) -> str:
    return (inspect.getdoc(getattr(model, "forward", model)) or "").lower()


def _lengths(model: Any, tokens: Tensor) -> str:
    """The argument that says how long each row is; "" where there is none, or others are required beside it."""
    parameters = signature.parameters(model)
    name = next((name for name in [*parameters][1:] if is_length(name) and not signature.is_prefix(name)), "")
    required = set(signature.required(parameters)[1:]) - {name}
    return "" if required or tokens.is_floating_point() or not name.endswith(("lengths", "lens")) else name


def _by_length(name: str, arrange: heads.Arrange, pad: int, model: Any, tokens: Tensor, real: Tensor) -> Any:
    out = signature.give(model, tokens.masked_fill(~real, pad), **{name: real.sum(-1)})
    return arrange(model, out, tokens)


def _by_token(call: Call, pad: int, model: Any, tokens: Tensor, real: Tensor) -> Any:
    return call(model, tokens.masked_fill(~real, pad))


def says_by_token(padded: Any) -> bool:
    """Whether this call, a Subject's `padded`, tells the model what is padding by its token alone."""
    return isinstance(padded, partial) and padded.func in (_by_token, _unmarked)


def _unmarked(call: Call, model: Any, tokens: Tensor, _real: Tensor) -> Any:
    return call(model, tokens)
