"""What can be seen of a model from outside: its signature, its configuration, what it looks up, what it returns."""

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from clearformer.checks.load.errors import describe_error
from clearformer.checks.outcome import ModelCrashed
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import MAX_LENGTH
from clearformer.checks.weights import preserve_state, randomise_weights

ROWS, LENGTH = 2, 8
"""what a model is tried on: unequal, so that axes are told apart"""
VOCABULARIES = ("vocab_size", "n_vocab", "num_tokens", "n_tokens", "vocab", "ntoken")
CONTEXTS = (
    *("context", "context_length", "context_size", "block_size", "max_position_embeddings", "n_positions", "n_ctx"),
    *("max_seq_len", "max_seq_length", "max_sequence_length", "seq_len", "max_len", "max_length"),
)
WIDTHS = ("d_model", "hidden_size", "n_embd", "embed_dim", "dim", "width")
PADS = ("pad_token_id", "pad_idx", "pad_id", "padding_idx", "src_pad_idx", "trg_pad_idx", "tgt_pad_idx", "pad_token")
CONFIGS = ("config", "cfg", "args", "hparams", "params", "conf")


@contextlib.contextmanager
def on_loan(model: Any) -> Iterator[None]:
    """The model in evaluation mode and stirred, so that every input counts; afterwards all is as before."""
    with preserve_state(model), torch.no_grad():
        torch.manual_seed(0)
        if isinstance(model, nn.Module):
            model.eval()
        randomise_weights(model, 0)
        yield


def parameters(model: Any) -> dict[str, inspect.Parameter]:
    """What a call takes, by name; nothing where Python cannot tell."""
    try:
        found = inspect.signature(model.forward if isinstance(model, nn.Module) else model).parameters
    except (TypeError, ValueError):
        return {}
    return {name: p for name, p in found.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def required(takes: Mapping[str, inspect.Parameter]) -> list[str]:
    return [name for name, parameter in takes.items() if parameter.default is parameter.empty]


def declared(model: Any, names: Iterable[str]) -> int | None:
    """The first of these whole numbers that the model or its configuration has."""
    holders = [model, *(getattr(model, name) for name in CONFIGS if hasattr(model, name))]
    for name in names:
        for holder in holders:
            value = holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value
    return None


def width(model: Any) -> int | None:
    """Of the vectors that a model reads, as declared or as its first norm or linear layer has it."""
    found = declared(model, WIDTHS)
    if found is None and isinstance(model, nn.Module):
        for module in model.modules():
            if isinstance(module, nn.LayerNorm | nn.RMSNorm):
                return module.normalized_shape[-1]
            if isinstance(module, nn.Linear):
                return module.in_features
    return found


def name_of(model: Any) -> str:
    """The class of an object, the name of a function."""
    return str(getattr(model, "__name__", type(model).__name__))


def tried(call: Callable[..., Any], *inputs: Tensor) -> tuple[Tensor | None, str]:
    """The tensor that a call gave back and its shape in words, or None and what happened instead."""
    try:
        out = extract_logits(call(*(tensor.clone() for tensor in inputs)))
    except ModelCrashed as crash:
        return None, str(crash)
    except Exception as error:
        return None, describe_error(error)
    return out, f"{str(out.dtype).removeprefix('torch.')} {list(out.shape)}"


def few_tokens(length: int = LENGTH) -> Tensor:
    """[2, length] of the tokens 0 and 1, which every model has, in an order that no positions have."""
    return (torch.arange(ROWS * length).view(ROWS, length) * 5 // 3 + 1) % 2


def exchanged(tokens: Tensor, place: int) -> Tensor:
    """Another of the few tokens, or another vector, at that place of every row."""
    other = tokens.clone()
    other[:, place] = 1 - other[:, place]
    return other


class Lookups(TorchDispatchMode):
    """Which tables are looked up, as (rows, indices), however the model does it."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[tuple[int, Tensor]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: keeping the compiler out loads it first, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.embedding.default:
            self.found.append((args[0].shape[0], args[1]))
        elif func is torch.ops.aten.index.Tensor and len(args[1]) == 1 and args[1][0].dtype == torch.int64:
            self.found.append((args[0].shape[0], args[1][0]))
        return func(*args, **(kwargs or {}))

    def rows_at(self, tokens: Tensor) -> int | None:
        """Rows of the first table that these tokens were looked up in."""
        return next((rows for rows, at in self.found if torch.equal(at.flatten(), tokens.flatten())), None)

    def rows_of_positions(self, length: int) -> int | None:
        """How many positions a table has room for, if one was looked up at so many places in a row."""
        for rows, at in self.found:
            if at.numel() % length == 0 and at.shape[-1:] == (length,) and (at.diff(dim=-1) == 1).all():
                return rows - int(at.flatten()[0])
        return None


def vocabulary_and_context(model: Any, call: Callable[[Any, Tensor], Any], length: int) -> tuple[int, int | None]:
    """As declared; else the rows of the tables that are looked up; else what the output and longer inputs tell."""
    tokens = few_tokens(length)
    with Lookups() as lookups:
        out = extract_logits(call(model, tokens))
    vocabulary = declared(model, VOCABULARIES) or lookups.rows_at(tokens) or out.shape[-1]
    context = declared(model, CONTEXTS) or lookups.rows_of_positions(length)
    if context is None:
        context = longest_that_works(lambda n: tried(partial(call, model), few_tokens(n))[0] is not None, length)
    return vocabulary, context


def longest_that_works(works: Callable[[int], bool], length: int) -> int | None:
    """The longest input the model takes, from `length` on; None if it takes the longest that is ever tried."""
    low, high = length, MAX_LENGTH
    if works(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if works(middle) else (low, middle)
    return low
