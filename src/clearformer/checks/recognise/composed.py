"""Encoder-decoders whose `forward` says nothing of a source and a target: one calls `encode`, and then `decode`."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from clearformer.checks.recognise import signature
from clearformer.checks.recognise.encoder_decoder_calls import TARGET_WORDS, has_word, is_padding_mask

ANY = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)


@dataclass(frozen=True)
class Composition:
    """`decode` of what `encode` gives, called with the parameters of both."""

    source: str
    target: str
    memory: tuple[str, ...]
    """what `decode` takes of `encode`, in its order"""
    encode: Mapping[str, inspect.Parameter]
    decode: Mapping[str, inspect.Parameter]

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """Of the whole call: the source, the target, masks."""
        return {name: one for name, one in {**self.encode, **self.decode}.items() if name not in self.memory}

    def __call__(self, model: Any, **given: Any) -> Any:
        encoded = model.encode(**{name: value for name, value in given.items() if name in self.encode})
        parts = encoded if isinstance(encoded, tuple) else (encoded,)
        of_decode = {name: value for name, value in given.items() if name in self.decode}
        return model.decode(**of_decode, **dict(zip(self.memory, parts, strict=False)))


def find(model: Any) -> Composition | None:
    """None where `forward` names what it takes, or the two methods do not fit each other."""
    if not isinstance(model, nn.Module) or not {"encode", "decode"} <= {*signature.methods(model)}:
        return None
    if not any(one.kind in ANY for one in inspect.signature(model.forward).parameters.values()):
        return None
    encode, decode = (signature.parameters(signature.method(model, name)) for name in ("encode", "decode"))
    others = [name for name in decode if "mask" not in name and not is_padding_mask(name)]
    target = next((name for name in others if has_word(name, TARGET_WORDS)), None)
    memory = tuple(name for name in others if name != target and name in signature.required(decode))
    if target is None or not memory or not encode:
        return None
    return Composition(next(iter(encode)), target, memory, encode, decode)
