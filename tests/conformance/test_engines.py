"""Conformance: every engine computes what PyTorch computes, in every block and family, from the same checkpoint.

The reference is PyTorch in float64, so tolerances allow for the engine's rounding only; the largest error measured over
all cases is noted. A wrong formula is off by a tenth or more.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import BLOCKS, GPTS, MODELS, config_of, weights_for
from measure import (
    CURVE_STEPS,
    block_errors,
    cases_of,
    curve,
    from_checkpoint,
    generated,
    model_errors,
    step_errors,
    token_loss_errors,
)
from ports import PORTS, BlockPort

from clearformer.config import Config

pytestmark = pytest.mark.slow  # 500 cases

LOGITS = 1e-5
"""relative to the largest logit, in float32: 1.3e-6 measured, as of PyTorch's own float32"""
GRADIENTS = 5e-5
"""relative to a gradient's largest element, in float32: 9.7e-6 measured, 2.0e-5 of PyTorch's own float32"""
EXACT = 1e-12
"""of both, in float64: 5.0e-14 measured"""
TEN_STEPS = 2e-3
"""relative to the change of the weights, in float32: 8.1e-4 measured; Adam enlarges errors of small gradients"""
LOSSES = 5e-6
"""relative, of the losses of these steps: 4.1e-7 measured"""
CURVE = 5e-6
"""relative, of the losses of a recipe's first hundred steps, in float32: 4.8e-7 measured; 1.6e-7 between runs of
PyTorch whose initial weights differ in the last bit"""
CURVE_EXACT = 1e-12
"""of the same in float64: 5e-16 measured"""


def for_each_engine(cases: list[tuple[str, str]]) -> list[Any]:
    """The cases for each engine, as far as `cases_of` has them."""
    return [
        pytest.param(name, *case, id=f"{name}-{case[0]}, {case[1]}")
        for name, port in PORTS.items()
        for case in cases_of(name)
        if case in cases
    ]


ENGINES = list(PORTS)
DOUBLES = [name for name, port in PORTS.items() if port.doubles]


@pytest.fixture(autouse=True)
def _skip_missing(request: pytest.FixtureRequest) -> None:
    """Skip an engine that this machine cannot run; there is none in CI."""
    if "name" in request.fixturenames and (reason := PORTS[request.getfixturevalue("name")].missing()):
        (pytest.fail if "CI" in os.environ else pytest.skip)(reason)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("name", [name for name in ENGINES if issubclass(PORTS[name], BlockPort)])
def test_a_block_and_its_gradients_are_those_of_pytorch(name: str, block: str):
    errors = block_errors(name, block, double=False)
    assert errors["output"] < LOGITS
    assert errors.get("gradients", 0.0) < GRADIENTS


@pytest.mark.parametrize(("name", "family", "variant"), for_each_engine(MODELS))
def test_logits_loss_and_gradients_from_one_checkpoint_are_those_of_pytorch(
    name: str, family: str, variant: str, tmp_path: Path
):
    weights = from_checkpoint(config_of(family, variant), tmp_path)
    errors = model_errors(name, family, variant, weights, double=False)
    assert errors["logits"] < LOGITS
    assert errors["loss"] < LOGITS
    assert errors["gradients"] < GRADIENTS


@pytest.mark.parametrize("name", ENGINES)
def test_loss_and_gradients_with_token_loss_are_those_of_pytorch(name: str):
    errors = token_loss_errors(name)
    assert errors["loss"] < LOGITS
    assert errors["gradients"] < GRADIENTS


@pytest.mark.parametrize("name", DOUBLES)
def test_in_float64_all_of_these_are_exact(name: str):
    for block in BLOCKS:
        assert max(block_errors(name, block, double=True).values()) < EXACT, block
    for family, variant in MODELS:
        weights = weights_for(config_of(family, variant))
        errors = model_errors(name, family, variant, weights, double=True)
        assert max(errors.values()) < EXACT, (family, variant)


STEPPED = [case for case in MODELS if case[1] in ("as it is", "no biases", "untied embeddings", "n-grams", *GPTS)]
"""an update depends on a parameter's name and shape only, so these variants have all kinds"""


@pytest.mark.parametrize(("name", "family", "variant"), for_each_engine(STEPPED))
def test_ten_steps_give_the_weights_and_losses_of_pytorch(name: str, family: str, variant: str):
    errors = step_errors(name, family, variant, steps=10)
    assert errors["weights"] < TEN_STEPS
    assert errors["losses"] < LOSSES


GENERATORS = [case for case in MODELS if case[0] in ("gpt", "transformer") and case[1] not in GPTS]


@pytest.mark.parametrize(("name", "family", "variant"), for_each_engine(GENERATORS))
def test_generated_tokens_are_those_of_pytorch(name: str, family: str, variant: str):
    config = config_of(family, variant)
    expected = generated("torch", config, cached=True)
    assert generated(name, config, cached=True) == expected
    if variant == "as it is" and PORTS[name].is_option:
        assert generated(name, config, cached=False) == expected


@pytest.mark.parametrize("name", ENGINES)
def test_a_recipe_has_the_same_loss_curve_for_a_hundred_steps(name: str):
    losses, expected = curve(name, double=False), curve("torch", double=False)
    assert len(losses) == CURVE_STEPS
    assert expected[-1] < 0.9 * expected[0]  # the model learns
    assert np.abs(losses / expected - 1).max() < CURVE


@pytest.mark.parametrize("name", DOUBLES)
def test_in_float64_the_curve_is_exact(name: str):
    assert np.abs(curve(name, double=True) / curve("torch", double=True) - 1).max() < CURVE_EXACT


def test_every_engine_is_compared_with_pytorch():
    assert {"torch", *(port.engine for port in PORTS.values())} == set(
        Config.__dataclass_fields__["engine"].type.__args__
    )
