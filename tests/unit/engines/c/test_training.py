"""Training in C: gradients through dropout, and the memory of a step."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clearformer.config import (
    AnyModelConfig,
    BERTConfig,
    ClassifierConfig,
    Config,
    GPTConfig,
    TrainConfig,
    TransformerConfig,
)
from clearformer.data.batches import Batch, TextBatch, TextWindows, collate
from clearformer.data.labelled import collate_labelled
from clearformer.data.masked import MaskedBatch
from clearformer.engine import open_engine
from clearformer.engines.c.model import Model, load_weights, weights_of
from clearformer.engines.c.training import (
    accumulate_gradients,
    step_memory,
    summed_loss,
)

pytestmark = pytest.mark.usefixtures("compiled")

SIZES: dict[str, Any] = {"vocab_size": 11, "context": 8, "d_model": 16, "num_heads": 2, "num_layers": 2, "d_ff": 24}
TEXT = TextWindows(np.random.default_rng(1).integers(4, 11, 500), 8, 32, seed=1)
TRAIN = TrainConfig(steps=4, batch_tokens=32, accumulation=2, label_smoothing=0.1)
TOKENS = np.random.default_rng(2).integers(4, 11, (3, 8))
CASES: dict[str, tuple[AnyModelConfig, Batch]] = {
    "gpt": (GPTConfig(**SIZES), TextBatch(TOKENS[:, :-1], TOKENS[:, 1:])),
    "bert": (BERTConfig(**SIZES), MaskedBatch(TOKENS, TOKENS > 4, TOKENS * 0, TOKENS)),
    "classifier": (ClassifierConfig(**SIZES), collate_labelled([([[5, 6]], 0), ([[7, 8, 9]], 1)], 0)),
    "transformer": (TransformerConfig(**SIZES), collate([([5, 6], [7]), ([8, 9, 10], [4, 5])])),
}

STEP = 1e-3
# A difference of float32 losses over that step: 6e-3 measured at most, of a gradient's length; without a mask in the
# backward pass the difference is above 0.2
DIFFERENCE_TOLERANCE = 2e-2


def model_with(config: AnyModelConfig, dropout: float) -> Model:
    """Random weights, so that no part is without effect."""
    model = Model(replace(config, dropout=dropout), 1)
    rng = np.random.default_rng(3)
    load_weights(
        model, {name: (x + rng.normal(0, 0.1, x.shape)).astype(np.float32) for name, x in weights_of(model).items()}
    )
    return model


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("family", CASES)
def test_gradients_with_dropout_are_those_of_the_loss_that_was_computed(family: str, dropout: float):
    config, batch = CASES[family]
    model = model_with(config, dropout)
    accumulate_gradients(model, [batch], TRAIN, seed=7)
    gradients = {name: gradient.copy() for name, gradient in model.gradients.items()}
    length = np.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values()))
    losses = []
    for sign in (1, -1):
        for name, weight in model.parameters.items():
            weight += sign * STEP * gradients[name] / length
        losses.append(accumulate_gradients(model, [batch], TRAIN, seed=7))
        for name, weight in model.parameters.items():
            weight -= sign * STEP * gradients[name] / length
    assert (losses[0] - losses[1]) / (2 * STEP) == pytest.approx(length, rel=DIFFERENCE_TOLERANCE)


def test_dropout_depends_on_the_seed_and_is_off_in_evaluation():
    config, batch = CASES["gpt"]
    with_dropout, without = model_with(config, 0.5), model_with(config, 0.0)
    first, again, other = (accumulate_gradients(with_dropout, [batch], TRAIN, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert summed_loss(with_dropout, batch) == summed_loss(without, batch)


def test_the_memory_of_a_step_is_known_before_it_and_grows_with_the_batch():
    config, batch = CASES["gpt"]
    model = open_engine("c").make_model(Config("none", config, engine="c"))
    one, two = (
        step_memory(model, TextBatch(*(np.tile(x, (n, 1)) for x in (batch.tokens, batch.targets))), TRAIN)
        for n in (1, 2)
    )
    assert one < two < 2 * one
    accumulate_gradients(model, [batch], TRAIN, seed=1)
    assert model._room.size == one
