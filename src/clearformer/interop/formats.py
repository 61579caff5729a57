"""What a format of Hugging Face's calls our settings and parameters: one table each, for import and export alike.

`tables` has them. A format computes what a model of ours computes with certain settings. Those that it has a key for
are in `keys`; of the others, `ours` has the values that it can mean, and `theirs` the values of its keys that ours can
mean.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearformer.config import ModelConfig
from clearformer.errors import InteropError

Values = Mapping[str, Any]
"""of a config.json"""


@dataclass(frozen=True)
class Format:
    """A class of transformers, and the models of ours that it can hold."""

    architecture: str
    model_type: str
    kind: str
    """our family"""
    body: str
    """the prefix of the names of the body's modules, which some files leave out"""
    keys: Mapping[str, str]
    """a setting of ours, and its key"""
    defaults: Values
    activation_key: str
    activations: dict[str, str]
    """ours and theirs"""
    ours: Mapping[str, tuple[Any, ...]]
    theirs: Values
    modules: Mapping[str, str | tuple[str, ...]]
    """a module of ours, # being the number of a layer, and theirs; several have its rows in this order"""
    gated_modules: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """the same, of modules that have other names where the activation is gated"""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """other names of their activations, and ours"""
    transposed: bool = False
    """whether the matrices of layers are [in, out]"""
    first_position: int = 0
    """the row of the table of positions that a text's first token has; those above are padding's"""
    completed: Mapping[str, Any] = field(default_factory=dict)
    """settings of every model of the format, which are reached by parameters that are zero"""
    unused: tuple[str, ...] = ()
    """ends of names of tensors that have no part in the logits"""
    untrained: tuple[str, ...] = ()
    """beginnings of the names of our parameters that the format does not have, so that they are as before training"""
    copies: tuple[str, ...] = ()
    """other names that files have for the embedding's matrix"""
    constants: Mapping[str, tuple[str, Callable[[tuple[int, ...]], NDArray[np.float32]]]] = field(default_factory=dict)
    """tensors that some files have and our models do not learn: what they must hold, in words and by their shape"""
    optional: Mapping[str, str] = field(default_factory=dict)
    """such constants that some files have learned, which are vectors of ours, and the setting of ours that says so"""
    sines_first: bool = False
    """whether a vector of the residual stream has all sines of its position before all cosines; ours alternate"""
    ungated: dict[str, str] = field(default_factory=dict)
    """a gated activation of ours that means theirs where the half that is gated is 1 everywhere"""
    factors: Callable[[Any], Mapping[str, float]] = lambda _: {}
    """ends of names of their tensors, by a model's configuration, and what ours are as multiples of them"""
    read: Callable[[Values], dict[str, Any]] = lambda _: {}
    """further settings of ours. Raises InteropError for what our models lack"""
    write: Callable[[Any], dict[str, Any]] = lambda _: {}
    """further keys of theirs"""
    biased: Callable[[Values], tuple[str, ...]] = lambda _: ("",)
    """ends of the names of our modules that have biases there"""


def lacks(key: str, found: Any, needed: str) -> InteropError:
    """The error of a config.json that asks for what our models do not compute."""
    return InteropError(
        f"{key} {needed} was expected in config.json, found {found!r}; no model of clearformer has that"
    )


def whole_number(values: Values, key: str) -> int:
    """The value of a key. Raises InteropError if it is no whole number above 0."""
    found = values[key]
    if type(found) is not int or found < 1:
        raise InteropError(f"{key} must be a whole number above 0 in config.json, found {found!r}; repair it")
    return found


def head_width(values: Values, key: str, width: str, heads: str) -> dict[str, Any]:
    """Our setting of the heads' width, where `key` has another than the model's width divided by their number."""
    if values.get(key) is None:
        return {}
    found = whole_number(values, key)
    return {} if found * whole_number(values, heads) == whole_number(values, width) else {"head_width": found}


def read_settings(format_: Format, values: Values) -> dict[str, Any]:
    """Our model's settings, from a config.json. Raises InteropError, naming the key, for what our models lack."""
    if values.get("quantization_config"):
        raise lacks("quantization_config", values["quantization_config"], "none")
    for key, needed in format_.theirs.items():
        if values.get(key, needed) != needed:
            raise lacks(key, values[key], repr(needed))
    theirs = {**format_.defaults, **values}
    named = theirs.get(format_.activation_key, next(iter(format_.activations.values())))
    activations = {name: ours for ours, name in (format_.activations | format_.ungated).items()} | dict(format_.aliases)
    if named not in activations:
        raise lacks(format_.activation_key, named, f"of {', '.join(activations)}")
    fixed = {name: allowed[0] for name, allowed in format_.ours.items() if len(allowed) == 1}
    fixed = {name: value for name, value in fixed.items() if value is not None}  # that is said by no key
    settings = {name: theirs[key] for name, key in format_.keys.items()}
    return fixed | settings | {"kind": format_.kind, "activation": activations[named]} | format_.read(theirs)


def misfits(format_: Format, config: ModelConfig) -> list[str]:
    """The settings of a model that the format cannot hold."""
    if config.kind != format_.kind:
        return [f"kind {config.kind}"]
    allowed = {**format_.ours, "activation": (*format_.activations, *format_.ungated)}
    return [
        f"{name} {getattr(config, name)}" for name, values in allowed.items() if getattr(config, name) not in values
    ]


def write_values(format_: Format, config: ModelConfig) -> dict[str, Any]:
    """The config.json of a model that the format can hold."""
    return {
        "architectures": [format_.architecture],
        "model_type": format_.model_type,
        "dtype": "float32",
        **format_.theirs,
        **{key: getattr(config, name) for name, key in format_.keys.items()},
        format_.activation_key: (format_.activations | format_.ungated)[config.activation],
        **format_.write(config),
    }
