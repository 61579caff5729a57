"""Training on NumPy: what goes wrong changes nothing, and what was interrupted goes on to the bit."""

from dataclasses import replace

import numpy as np
import pytest

from clearformer.config import GPTConfig, TrainConfig
from clearformer.data.batches import TextWindows
from clearformer.engines.numpy.models import Model
from clearformer.engines.numpy.optimizer import Optimizer
from clearformer.engines.numpy.training import (
    build,
    load_optimizer,
    load_weights,
    optimizer_tensors,
    train,
    weights_of,
)
from clearformer.errors import TrainingError

MODEL = GPTConfig(vocab_size=11, context=8, d_model=16, num_heads=2, num_layers=2, d_ff=32, dropout=0.1)
TEXT = TextWindows(np.random.default_rng(1).integers(4, 11, 500), 8, 32, seed=1)


@pytest.fixture(params=["adamw", "muon"])
def config(request: pytest.FixtureRequest) -> TrainConfig:
    return TrainConfig(steps=4, batch_tokens=32, accumulation=2, optimizer=request.param)


def state(model: Model, optimizer: Optimizer) -> dict[str, np.ndarray]:
    return {name: value.copy() for name, value in (weights_of(model) | optimizer_tensors(model, optimizer)).items()}


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_number_that_is_not_finite_changes_nothing_and_names_step_operation_and_batch(
    config: TrainConfig, clip: float
):
    model = build(MODEL, 1)
    config, optimizer = replace(config, clip=clip), Optimizer(model, config)
    list(train(model, optimizer, TEXT, replace(config, steps=2)))
    weights_of(model)["decoder.layers.0.feed_forward.linear1.weight"][3] = np.inf
    before = state(model, optimizer)
    with pytest.raises(
        TrainingError, match=r"at step 3, but .*'linear'.* on batch 4 is not finite; lower the learning"
    ):
        next(train(model, optimizer, TEXT, config, start=2))
    for name, value in state(model, optimizer).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@pytest.mark.slow
def test_training_that_stopped_goes_on_to_the_bit(config: TrainConfig):
    whole = build(MODEL, 1)
    optimizer = Optimizer(whole, config)
    losses = [record.loss for record in train(whole, optimizer, TEXT, config)]

    first = build(MODEL, 1)
    first_optimizer = Optimizer(first, config)
    again = [record.loss for record in train(first, first_optimizer, TEXT, replace(config, steps=2))]
    second = build(MODEL, 2)
    second_optimizer = Optimizer(second, config)
    load_weights(second, weights_of(first))
    load_optimizer(second, second_optimizer, optimizer_tensors(first, first_optimizer), config)
    again += [record.loss for record in train(second, second_optimizer, TEXT, config, start=2)]

    assert again == losses
    expected = state(whole, optimizer)
    for name, value in state(second, second_optimizer).items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
