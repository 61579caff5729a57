"""What a plain model requires beside its tokens: positions, an empty cache, segments, the lengths of rows."""

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import signature
from clearformer.checks.recognise.encoder_decoder_calls import is_length
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.recognise.steps import CACHES, POSITIONS

Value = tuple[str, Callable[[Tensor], Any]]
"""as text, and as a function of the tokens"""
ZERO: Value = ("0", lambda _: 0)
ZEROS: Value = ("zeros", torch.zeros_like)
EMPTY: Value = ("None", lambda _: None)
LENGTHS: Value = ("lengths", lambda tokens: torch.full(tokens.shape[:1], tokens.shape[1]))
NO_LENGTHS: Value = ("0 [B]", lambda tokens: tokens.new_zeros(len(tokens)))
EACH: tuple[Value, ...] = (
    ("positions [T]", lambda tokens: torch.arange(tokens.shape[1])),
    ("positions [B, T]", lambda tokens: torch.arange(tokens.shape[1]).expand(tokens.shape[:2]).clone()),
)
TIMES: tuple[Value, ...] = (
    ("0.5 [B]", lambda tokens: torch.full(tokens.shape[:1], 0.5)),
    ("1 [B]", lambda tokens: torch.ones(tokens.shape[:1], dtype=torch.int64)),
)
"""between 0 and 1, or a number of steps"""
OF_A_TIME = ("t", "time", "times", "timestep", "timesteps", "sigma", "noise_level")
"""names of how far each row has been turned into noise"""
OF_EACH_TOKEN = ("ids", "positions", "input_pos")
"""in names of what holds a position for each token, and not the first of them"""


def fillings(parameters: Mapping[str, inspect.Parameter], names: Sequence[str]) -> Iterator[dict[str, Value]]:
    """The likely values of these arguments, the likeliest first; none where one of them has no known meaning."""
    for values in itertools.product(*(_values(parameters[name]) for name in names)):
        yield dict(zip(names, values, strict=True))


def _values(parameter: inspect.Parameter) -> tuple[Value, ...]:
    name = parameter.name
    if signature.has_word(name, CACHES):
        return (EMPTY,)
    if name in signature.SEGMENTS:
        return (ZEROS,)
    if signature.is_prefix(name):
        return (NO_LENGTHS,)
    if is_length(name) and not signature.has_word(name, POSITIONS):
        return (LENGTHS,)
    times = TIMES if name in OF_A_TIME else ()
    if not signature.has_word(name, POSITIONS):
        return times
    if parameter.annotation in (int, "int"):
        return (ZERO,)
    of_each = parameter.annotation in (Tensor, "Tensor", "torch.Tensor") or signature.has_word(name, OF_EACH_TOKEN)
    return (*EACH, ZERO, *times) if of_each else (ZERO, *EACH, *times)


def call_with(others: Mapping[str, Callable[[Tensor], Any]], model: Any, tokens: Tensor) -> Any:
    return signature.give(model, tokens, **{name: value(tokens) for name, value in others.items()})


def call_by_name(name: str, model: Any, tokens: Tensor) -> Any:
    return model(**{name: tokens})


def call_by_rows(model: Any, tokens: Tensor) -> Tensor:
    """The logits of a model that reads one sequence [T], and has no axis for a batch."""
    return torch.stack([extract_logits(model(row)) for row in tokens])
