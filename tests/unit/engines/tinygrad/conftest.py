"""Shared by the tests of the engine: models in PyTorch and tinygrad with the same weights, inputs and batches."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from clearformer.config import Config
from clearformer.data.batches import IGNORE, PairBatch, TextBatch
from clearformer.engine import engine_of, open_engine

Inputs = tuple[np.ndarray[Any, Any], ...]


@pytest.fixture(autouse=True)
def _unoptimized(unoptimized: None) -> None:
    """Kernels run a few times here."""


@pytest.fixture(scope="session")
def both(tiny: Callable[..., nn.Module]) -> Callable[..., tuple[Any, Any]]:
    """`both("gpt", norm="rms")`: a PyTorch model with random weights, in evaluation mode, and its twin in tinygrad."""

    def make(kind: str, **changes: object) -> tuple[Any, Any]:
        model = tiny(kind, **changes)
        twin = open_engine("tinygrad").make_model(Config("none", model.config))
        engine_of(twin).load_weights(twin, engine_of(model).weights_of(model))
        return model, twin

    return make


@pytest.fixture(scope="session")
def feed() -> Callable[..., Inputs]:
    """Inputs for a family: three rows, of 6, 3 and 1 real tokens if the family pads."""

    def make(kind: str, seed: int = 1, rows: int = 3) -> Inputs:
        rng = np.random.default_rng(seed)
        tokens, segments = rng.integers(4, 11, (rows, 6)), rng.integers(0, 2, (rows, 6))
        real = np.arange(6) < np.array([6, 3, 1] * rows)[:rows, None]
        if kind == "gpt":
            return (tokens,)
        if kind == "transformer":
            return (rng.integers(4, 11, (rows, 5)), tokens, real[:, 1:], real)
        return (tokens, real, segments)

    return make


@pytest.fixture(scope="session")
def examples(feed: Callable[..., Inputs]) -> Callable[..., Any]:
    """A batch for a family, with random targets where a token is real."""

    def make(kind: str, seed: int = 1, rows: int = 3) -> Any:
        inputs, rng = feed(kind, seed, rows), np.random.default_rng(seed + 100)
        targets = rng.integers(0, 11, (rows, 6))
        if kind == "gpt":
            return TextBatch(inputs[0], targets)
        if kind == "transformer":
            return PairBatch(*inputs, np.where(inputs[3], targets, IGNORE))
        targets = np.where(inputs[1], targets, IGNORE) if kind == "bert" else rng.integers(0, 2, rows)
        return SimpleNamespace(inputs=inputs, targets=targets, num_tokens=inputs[0].size)

    return make
