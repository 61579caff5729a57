"""What a model declares: its parameters, and the sizes in its attributes or its configuration."""

import inspect
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn

VOCABULARIES = ("vocab_size", "n_vocab", "num_tokens", "n_tokens", "vocab", "ntoken")
CONTEXTS = (
    *("context", "context_length", "context_size", "block_size", "max_position_embeddings", "n_positions", "n_ctx"),
    *("max_seq_len", "max_seq_length", "max_sequence_length", "seq_len", "max_len", "max_length", "mem_len"),
)
WIDTHS = ("d_model", "hidden_size", "n_embd", "embed_dim", "dim", "width")
PADS = ("pad_token_id", "pad_idx", "pad_id", "padding_idx", "src_pad_idx", "trg_pad_idx", "tgt_pad_idx", "pad_token")
SEGMENTS = ("token_type_ids", "token_types", "segment_ids", "segments", "segment", "type_ids", "segment_label")
CONFIGS = ("config", "cfg", "args", "hparams", "params", "conf")


LIBRARIES = ("torch.", "transformers.", "x_transformers.", "clearformer.")
"""whose classes have methods with meanings of their own"""


def parameters(model: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a call, or of a method; empty where Python cannot read the signature."""
    found = _signature(model)
    return {name: p for name, p in found.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def takes_any_name(model: Any) -> bool:
    """Whether a call takes arguments of any names and no others, as `forward(self, **batch)`."""
    return [p.kind for p in _signature(model).values()] == [inspect.Parameter.VAR_KEYWORD]


def _signature(model: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(model.forward if isinstance(model, nn.Module) else model).parameters
    except (TypeError, ValueError):
        return {}


def methods(model: Any, words: Sequence[str] | None = None) -> list[str]:
    """Public methods of the user's own classes, those whose names hold one of these words; the shortest name first."""
    if not isinstance(model, nn.Module):
        return []
    names = {
        name
        for family in type(model).__mro__
        if family is not object and not f"{family.__module__}.".startswith(LIBRARIES)
        for name, value in vars(family).items()
        if (inspect.isfunction(value) or isinstance(value, staticmethod | classmethod)) and not name.startswith("_")
    }
    named = [name for name in names - {"forward"} if words is None or has_word(name, words)]
    return sorted(named, key=lambda name: (len(name), name))


def is_of_a_library(model: Any) -> bool:
    """Whether its class comes from a library whose models are recognised by their interface."""
    return f"{type(model).__module__}.".startswith(LIBRARIES)


def method(model: Any, name: str) -> Any:
    """The method of that name, or of a part of the model, as in "decoder.step"."""
    return operator.attrgetter(name)(model)


def has_word(name: str, words: Iterable[str]) -> bool:
    """Whether the name holds one of the words, as `next_loss` holds "loss"; a word may have several parts."""
    return any(f"_{word}_" in f"_{name.lower()}_" for word in words)


def is_prefix(name: str) -> bool:
    """Whether it says how much of each row is a prefix, which is seen whole, as `prefix_lengths` does."""
    return has_word(name, ("prefix", "prompt")) and has_word(name, ("length", "lengths", "len", "lens"))


def give(model: Any, *inputs: Any, **named: Any) -> Any:
    """What the model returns. Inputs that it takes only by name are given by their names."""
    found = list(_signature(model).values())[: len(inputs)]
    by_name = {p.name: value for p, value in zip(found, inputs, strict=False) if p.kind is p.KEYWORD_ONLY}
    if len(by_name) < len(inputs):
        return model(*inputs, **named)
    return model(**by_name, **named)


def required(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    return [name for name, parameter in parameters.items() if parameter.default is parameter.empty]


def declared(model: Any, names: Iterable[str]) -> int | None:
    """The first of these attributes of the model or its configuration that is a whole number."""
    holders = [model, *(getattr(model, name) for name in CONFIGS if hasattr(model, name))]
    for name in names:
        for holder in holders:
            value = holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return value
    return None


def is_said(model: Any, names: Iterable[str]) -> bool:
    """Whether one of these attributes of the model or its configuration is True."""
    holders = [model, *(getattr(model, name) for name in CONFIGS if hasattr(model, name))]
    values = (
        holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
        for holder in holders
        for name in names
    )
    return any(value is True for value in values)


def names_a_setting(model: Any, words: Iterable[str]) -> bool:
    """Whether the name of an attribute of the model or of its configuration holds one of these words."""
    holders = [model, *(getattr(model, name) for name in CONFIGS if hasattr(model, name))]
    names = (name for one in holders for name in (one if isinstance(one, Mapping) else getattr(one, "__dict__", {})))
    return any(has_word(str(name), words) for name in names)


def padding_token(model: Any) -> int | None:
    """As declared; else the one `padding_idx` of the model's embeddings, or a constant that its methods use."""
    found = declared(model, PADS)
    if found is None and isinstance(model, nn.Module):
        named = {part.padding_idx for part in model.modules() if isinstance(part, nn.Embedding)} - {None}
        found = named.pop() if len(named) == 1 else used_constant(model, ("pad",))
    return found


def words(model: Any) -> str:
    """The documentation of the class and of `forward`, in small letters."""
    return f"{type(model).__doc__} {getattr(getattr(model, 'forward', None), '__doc__', None)}".lower()


def constant(model: Any, names: Iterable[str]) -> int | None:
    """The first of these, or of their capitals, that is a whole number in the file of the model."""
    known = getattr(type(model).forward, "__globals__", {}) if isinstance(model, nn.Module) else {}
    found = (known.get(spelt) for name in names for spelt in (name.upper(), name))
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), None)


def used_constant(model: Any, words: Iterable[str]) -> int | None:
    """The whole number that methods of the model's class use by a global name that holds one of these words; None
    where they use none, or several."""
    named = (getattr(type(model), name, None) for name in ("forward", *methods(model)))
    functions = [function for function in map(inspect.unwrap, filter(None, named)) if inspect.isfunction(function)]
    found = {
        value
        for function in functions
        for name in function.__code__.co_names
        for value in [function.__globals__.get(name)]
        if has_word(name, words) and isinstance(value, int) and not isinstance(value, bool)
    }
    return found.pop() if len(found) == 1 else None


def declare(model: Any, names: Iterable[str], value: int) -> bool:
    """Give the attribute that `declared` reads another value; whether there is one that can be changed."""
    for name in names:
        for holder in (model, *(getattr(model, one) for one in CONFIGS if hasattr(model, one))):
            found = getattr(holder, name, None)
            if isinstance(found, int) and not isinstance(found, bool):
                try:
                    setattr(holder, name, value)
                except (AttributeError, TypeError):  # a frozen configuration
                    return False
                return True
    return False


def width(model: Any) -> int | None:
    """The width of the vectors that a model reads, as declared or as in its first norm or linear layer."""
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
