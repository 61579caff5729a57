"""Errors of an engine relative to PyTorch, for the tests and for the table in the docs.

The reference is PyTorch in float64, so that the errors are the engine's alone; the table has PyTorch's in float32, too.
"""

import dataclasses
import itertools
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from cases import BLOCKS, GPTS, MODELS, TRAIN, batch_for, block_inputs, config_of, weights_for
from numpy.typing import NDArray
from ports import PORTS, Arrays, Port, TorchPort

from clearformer import recipes
from clearformer.config import AnyModelConfig
from clearformer.data.batches import Batch
from clearformer.engine import open_engine
from clearformer.models.initial import initial_weights, parameter_shapes
from clearformer.runs.checkpoint import Checkpoint, load_newest, save_checkpoint
from clearformer.runs.folder import create_folder
from clearformer.training.steps import training_batch

TORCH = TorchPort()
CURVE_STEPS = 100
TEXT = Path(__file__).parents[2] / "README.md"


def port(name: str) -> Port:
    found = PORTS[name]() if name != "torch" else TORCH
    open_engine(found.engine)  # before `prepare`, which overrides what the import sets
    found.prepare()
    return found


def cases_of(name: str) -> list[tuple[str, str]]:
    """Families and variants; a few for an engine that compiles each for half a minute: its unit tests have all."""
    few = ("as it is", "SwiGLU", "rotary positions", *GPTS)
    return [case for case in MODELS if name == "torch" or not PORTS[name].compiles or case[1] in few]


def from_checkpoint(config: AnyModelConfig, folder: Path) -> Arrays:
    """The weights of a case, saved as a checkpoint in `folder` and loaded."""
    save_checkpoint(folder, Checkpoint(1, {"model": weights_for(config)}), keep=1)
    found = load_newest(folder, {"model": parameter_shapes(config)}, print)
    assert found is not None
    return dict(found.tensors["model"])


def error(found: NDArray[Any], expected: NDArray[Any], scale: float | None = None) -> float:
    """The largest difference, relative to the largest expected number, or to `scale`."""
    assert found.shape == expected.shape, f"{found.shape} and {expected.shape}"
    largest = float(np.abs(expected).max()) if scale is None else scale
    return float(np.abs(found - expected).max()) / largest


def gradient_error(found: Arrays, expected: Arrays) -> float:
    """The largest error of all gradients, each relative to its own size, or to a hundredth of the largest."""
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    largest = max(float(np.abs(value).max()) for value in expected.values())
    return max(
        error(found[name], value, max(float(np.abs(value).max()), largest / 100)) for name, value in expected.items()
    )


@cache
def exact(family: str, variant: str) -> tuple[NDArray[Any], float, Arrays]:
    """Logits, loss and gradients of PyTorch in float64."""
    config = config_of(family, variant)
    model = TORCH.double(TORCH.make_model(config, weights_for(config)))
    batch = batch_for(config)
    logits = TORCH.run(model, list(batch.inputs), None)[0]
    loss, gradients = TORCH.gradients(model, batch, TRAIN)
    return logits, loss, {name: value.copy() for name, value in gradients.items()}


def model_errors(name: str, family: str, variant: str, weights: Arrays, double: bool) -> dict[str, float]:
    """Errors of `logits`, `loss` and `gradients`."""
    config, engine = config_of(family, variant), port(name)
    batch, model = batch_for(config), engine.make_model(config, weights)
    if double:
        model = engine.double(model)
    logits = engine.run(model, list(batch.inputs), None)[0] if double else engine.logits(model, batch.inputs)
    loss, gradients = engine.gradients(model, batch, TRAIN)
    expected = exact(family, variant)
    return {
        "logits": error(logits, expected[0]),
        "loss": abs(loss - expected[1]) / expected[1],
        "gradients": gradient_error(gradients, expected[2]),
    }


def token_loss_errors(name: str) -> dict[str, float]:
    """Errors of `loss` and `gradients` with `token_loss`."""
    config, train_config = config_of("classifier", "mean pooling"), dataclasses.replace(TRAIN, token_loss=True)
    batch, weights = training_batch(batch_for(config), train_config), weights_for(config)
    reference, engine = TORCH.double(TORCH.make_model(config, weights)), port(name)
    expected_loss, expected = TORCH.gradients(reference, batch, train_config)
    loss, gradients = engine.gradients(engine.make_model(config, weights), batch, train_config)
    return {"loss": abs(loss - expected_loss) / expected_loss, "gradients": gradient_error(gradients, expected)}


def block_errors(name: str, block: str, double: bool) -> dict[str, float]:
    """Errors of a block's `output`, and of the `gradients` of its parameters and inputs."""
    case = BLOCKS[block]
    reference = TORCH.blocks[case.block](case.config)
    rng = np.random.default_rng(13)
    weights = {
        key: rng.normal(0, 0.5, value.shape).astype(np.float32) for key, value in TORCH.parameters(reference).items()
    }
    inputs = block_inputs(case)
    wide = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in inputs]
    TORCH.load(reference, weights)
    reference = TORCH.double(reference)
    g = rng.normal(size=TORCH.run(reference, wide, None)[0].shape)
    differentiable = bool(weights) or any(x.dtype.kind == "f" for x in inputs)
    expected, expected_gradients = TORCH.run(reference, wide, g if differentiable else None)
    engine = port(name)
    found_block = engine.blocks[case.block](case.config)
    engine.load(found_block, weights)
    if double:
        found_block = engine.double(found_block)
    if not double:
        wide, g = inputs, g.astype(np.float32)
    found, gradients = engine.run(found_block, wide, g if differentiable else None)
    assert not double or found.dtype == np.float64 or not differentiable
    errors = {"output": error(found, expected)}
    return errors | ({"gradients": gradient_error(gradients, expected_gradients)} if differentiable else {})


@cache
def curve(name: str, double: bool) -> NDArray[np.float64]:
    """The losses of the first hundred steps of `tinyshakespeare` on README.md, two windows per batch."""
    config = recipes.tinyshakespeare()
    settings = dataclasses.replace(config.train, steps=CURVE_STEPS, batch_tokens=2 * config.model.context)
    engine = port(name)
    config = dataclasses.replace(config, data=(str(TEXT),), train=settings, engine=engine.engine)
    with tempfile.TemporaryDirectory() as folder:
        run = create_folder(Path(folder) / "run", config, print)
        model = engine.make_model(run.config.model, initial_weights(run.config.model, settings.seed))
        records = engine.train(engine.double(model) if double else model, run.batches("train"), settings)
        return np.array([record.loss for record in records])


def generated(name: str, config: AnyModelConfig, *, cached: bool) -> list[Any]:
    """What an engine generates from a few prompts or sources."""
    rows, engine = [[9, 4, 8, 8], [7, 5], [12, 6, 11, 14, 5, 10, 9]], port(name)
    return engine.generated(engine.make_model(config, weights_for(config)), rows, cached=cached)


class FewBatches:
    """The same few batches over and over."""

    def __init__(self, config: AnyModelConfig, count: int = 5) -> None:
        self.batches = [batch_for(config, seed) for seed in range(count)]
        self.batches_per_epoch = count

    def batch(self, step: int) -> Batch:
        return self.batches[step % len(self.batches)]

    def in_order(self, _max_tokens: int | None = None) -> Iterator[Batch]:
        return iter(self.batches)


def trained(name: str, config: AnyModelConfig, weights: Arrays, steps: int) -> tuple[list[float], Arrays]:
    """The losses of `steps` updates, and the weights after them."""
    engine = port(name)
    model = engine.make_model(config, weights)
    losses = [record.loss for record in itertools.islice(engine.train(model, FewBatches(config), TRAIN), steps)]
    return losses, {key: value.copy() for key, value in engine.weights(model).items()}


def step_errors(name: str, family: str, variant: str, steps: int) -> dict[str, float]:
    """Errors of `weights` after AdamW steps, relative to their largest change, and of `losses`."""
    config = config_of(family, variant)
    start = weights_for(config)
    losses, weights = trained(name, config, start, steps)
    expected_losses, expected = trained("torch", config, start, steps)
    change = max(float(np.abs(expected[key] - start[key]).max()) for key in start)
    return {
        "weights": max(error(weights[key], expected[key], change) for key in start),
        "losses": max(abs(a - b) / b for a, b in zip(losses, expected_losses, strict=True)),
    }
