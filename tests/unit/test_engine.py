"""Every engine implements the interface `Engine`, and refuses unsupported settings by name."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, get_args

import pytest

from clearformer.config import Config, EngineName, GPTConfig
from clearformer.engine import Engine, engine_of, open_engine
from clearformer.engines.tinygrad.adapter import reason_to_skip
from clearformer.errors import ConfigError

SMALL = GPTConfig(vocab_size=11, context=8, d_model=8, num_heads=2, num_layers=1, d_ff=8)
ENGINES = [
    pytest.param(name, marks=pytest.mark.skipif(name == "tinygrad" and bool(reason_to_skip()), reason=reason_to_skip()))
    for name in get_args(EngineName)
]


def parameters(function: Callable[..., Any]) -> list[tuple[str, Any, bool]]:
    """Name, kind and whether it is required; an engine's unused parameters have an underscore."""
    found = inspect.signature(function).parameters.values()
    return [(each.name.lstrip("_"), each.kind, each.default is each.empty) for each in found if each.name != "self"]


@pytest.mark.parametrize("member", [name for name in vars(Engine) if not name.startswith("_")])
@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_has_each_function_of_the_interface_with_its_parameters(name: EngineName, member: str):
    assert parameters(getattr(open_engine(name), member)) == parameters(getattr(Engine, member))


@pytest.mark.parametrize("name", ENGINES)
def test_a_model_knows_its_engine(name: EngineName):
    engine = open_engine(name)
    assert engine_of(engine.make_model(Config("none", SMALL))) is engine


@pytest.mark.parametrize("setting", ["activation", "positions"])
@pytest.mark.parametrize("name", ENGINES[1:])
def test_an_unsupported_setting_is_refused_by_name(name: EngineName, setting: str):
    engine, config = open_engine(name), Config("none", dataclasses.replace(SMALL, **{setting: "new"}))
    message = rf"--model\.{setting} must be one of .* with --engine {name}, found new; .* --engine torch"
    for function in (engine.describe, engine.make_model):
        with pytest.raises(ConfigError, match=message):
            function(config)


@pytest.mark.parametrize("name", ENGINES[1:])
def test_an_unsupported_family_is_refused_by_name(name: EngineName):
    class NewConfig(GPTConfig):
        kind: ClassVar[str] = "new"

    with pytest.raises(ConfigError, match=rf"a model of .*gpt.* with --engine {name}, found new; compute"):
        open_engine(name).make_model(Config("none", NewConfig()))
