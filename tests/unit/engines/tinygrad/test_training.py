"""Gradients, updates and losses are PyTorch's; dropout is reproducible; non-finite updates change nothing."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clearformer.config import Config, CosineSchedule, GPTConfig, TrainConfig
from clearformer.data.batches import IGNORE, PairBatch, TextBatch, TextWindows
from clearformer.engine import engine_of, open_engine
from clearformer.engines.tinygrad import adapter
from clearformer.errors import TrainingError
from clearformer.training.loop import Objective, accumulate_gradients
from clearformer.training.steps import Record

pytestmark = [
    pytest.mark.slow,  # each shape is compiled
    pytest.mark.skipif(bool(reason := adapter.reason_to_skip()), reason=reason),
]

# Relative to the largest element of a parameter's gradient, or to a tenth of the largest of all: float32 sums in
# another order, 3e-6 measured, six times that allowed; tinygrad's erf adds an error of 1.5e-7.
GRADIENT_TOLERANCE = 2e-5
# after ten steps of 1e-2 from weights of about 0.5: 4e-7 measured, ten times that allowed
WEIGHT_TOLERANCE = 4e-6
# relative, of losses of about 3 nats: 2e-7 measured, five times that allowed
LOSS_TOLERANCE = 1e-6
SIZES: dict[str, Any] = {
    "vocab_size": 11, "context": 7, "d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "dropout": 0.3,
}  # fmt: skip
# epsilon is large: else Adam would make whole steps of gradients that are rounding errors, as of the keys' biases
TEN_STEPS = TrainConfig(
    steps=10, schedule=CosineSchedule(1e-2, 0.0, 2), epsilon=1e-3, label_smoothing=0.1, accumulation=2, seed=5
)


TEXT = TextWindows(np.random.default_rng(1).integers(0, 11, 200), context=7, batch_tokens=21, seed=5)


def loss_and_gradients(twin: Any, *batches: Any) -> tuple[float, dict[str, np.ndarray[Any, Any]]]:
    """Of all batches together, by tinygrad."""
    from clearformer.engines.tinygrad.training import Trainer

    optimizer = engine_of(twin).make_optimizer(twin, TEN_STEPS)
    trainer = Trainer(twin, optimizer, TEN_STEPS)
    trainer.gradients(list(batches), seed=1)
    return trainer.loss.item(), optimizer.gradients.read()


@pytest.mark.parametrize("kind", ["transformer", "gpt", "bert", "classifier"])
def test_the_gradient_of_every_parameter_is_that_of_pytorch(
    kind: str, both: Callable[..., Any], examples: Callable[..., Any]
):
    model, twin = both(kind, num_layers=1)
    batches = [examples(kind, seed=1), examples(kind, seed=2, rows=2)]
    accumulate_gradients(Objective(model, TEN_STEPS), batches)
    expected = {name: weight.grad.numpy() for name, weight in model.named_parameters()}
    _, found = loss_and_gradients(twin, *batches)
    assert list(found) == list(expected)
    typical = max(np.abs(gradient).max() for gradient in expected.values()) / 10
    for name, gradient in expected.items():
        scale = max(np.abs(gradient).max(), typical)
        assert np.abs(found[name] - gradient).max() < GRADIENT_TOLERANCE * scale, name


def trained(model: Any, config: TrainConfig) -> tuple[list[Record], dict[str, Any], dict[str, Any]]:
    """Records, weights, and the optimizer's state."""
    optimizer = engine_of(model).make_optimizer(model, config)
    records = list(engine_of(model).train(model, optimizer, TEXT, config))
    return records, engine_of(model).weights_of(model), engine_of(model).optimizer_tensors(model, optimizer)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_ten_steps_are_those_of_pytorch(optimizer: str, both: Callable[..., Any]):
    config = replace(TEN_STEPS, optimizer=optimizer)
    (expected, *expected_tensors), (found, *tensors) = (trained(model, config) for model in both("gpt"))
    for one, other in zip(expected, found, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=LOSS_TOLERANCE)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=GRADIENT_TOLERANCE)
        assert (other.step, other.learning_rate, other.tokens) == (one.step, one.learning_rate, one.tokens)
    for arrays, expected_arrays in zip(tensors, expected_tensors, strict=True):  # weights, optimizer's state
        assert arrays.keys() == expected_arrays.keys()
        for name, array in expected_arrays.items():
            assert arrays[name].shape == array.shape
            assert np.abs(arrays[name] - array).max() < WEIGHT_TOLERANCE * max(1, np.abs(array).max()), name


def test_padding_changes_neither_loss_nor_gradient(both: Callable[..., Any], examples: Callable[..., Any]):
    _, twin = both("transformer", num_layers=1, context=40)
    batch = examples("transformer")

    def longer(array: np.ndarray[Any, Any], value: int = 0) -> np.ndarray[Any, Any]:
        return np.pad(array, ((0, 2), (0, 20)), constant_values=value)

    padded = PairBatch(*map(longer, batch.inputs), longer(batch.targets, IGNORE))
    (loss, gradients), (padded_loss, padded_gradients) = (loss_and_gradients(twin, one) for one in (batch, padded))
    assert padded_loss == pytest.approx(loss, rel=LOSS_TOLERANCE)
    scale = max(np.abs(gradient).max() for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert np.abs(padded_gradients[name] - gradient).max() < GRADIENT_TOLERANCE * scale, name


@pytest.mark.parametrize("kind", ["gpt", "classifier"])
def test_the_mean_loss_is_that_of_pytorch(kind: str, both: Callable[..., Any], examples: Callable[..., Any]):
    model, twin = both(kind, num_layers=1)
    batches = [examples(kind, seed=seed, rows=rows) for seed, rows in ((1, 3), (2, 3), (3, 2))]
    assert engine_of(twin).mean_loss(twin, batches) == pytest.approx(
        engine_of(model).mean_loss(model, batches), rel=LOSS_TOLERANCE
    )


def fresh(**changes: Any) -> Any:
    """A tinygrad GPT with dropout."""
    return open_engine("tinygrad").make_model(Config("none", GPTConfig(**(SIZES | changes))))


def resumed(before: Any, after: Any, config: TrainConfig) -> list[float]:
    """The losses of training `before` for two steps, and then `after`, from its weights and optimizer state."""
    first, second = engine_of(before), engine_of(after)
    optimizer, resumed_optimizer = first.make_optimizer(before, config), second.make_optimizer(after, config)
    records = list(itertools.islice(first.train(before, optimizer, TEXT, config), 2))
    second.load_weights(after, first.weights_of(before))
    second.load_optimizer(after, resumed_optimizer, first.optimizer_tensors(before, optimizer), config)
    records += second.train(after, resumed_optimizer, TEXT, config, start=2)
    return [record.loss for record in records]


def test_a_resumed_run_repeats_every_number_with_dropout():
    config = replace(TEN_STEPS, steps=5)
    records, weights, _ = trained(fresh(), config)
    after = fresh()
    assert resumed(fresh(), after, config) == [record.loss for record in records]
    assert all(np.array_equal(engine_of(after).weights_of(after)[name], weight) for name, weight in weights.items())


def test_tinygrad_resumes_a_run_of_pytorch(both: Callable[..., Any]):
    config = replace(TEN_STEPS, steps=4)
    expected, _, _ = trained(both("gpt")[0], config)
    assert resumed(*both("gpt"), config) == pytest.approx([record.loss for record in expected], rel=LOSS_TOLERANCE)


def test_dropout_is_independent_between_layers_and_steps_repeatable_and_off_without_a_key():
    from tinygrad import Tensor, dtypes

    from clearformer.engines.tinygrad.dropout import Dropout, Noise

    noise = Noise()
    first, second = Dropout(0.3, noise), Dropout(0.3, noise)
    x = Tensor(np.ones((100, 100), np.float32))
    assert first(x) is x
    drawn = []
    for key in ([1, 0], [1, 1], [2, 0]):
        with noise.enabled(Tensor(key, dtype=dtypes.uint32)):
            drawn += [first(x).numpy(), second(x).numpy(), first(x).numpy()]
    assert all(np.array_equal(drawn[place], drawn[place + 2]) for place in (0, 3, 6))
    for one, other in itertools.combinations((drawn[place] for place in (0, 1, 3, 4, 6, 7)), 2):
        # both are dropped at 0.09 of the positions, with a standard deviation of 0.003
        assert 0.075 < ((one == 0) & (other == 0)).mean() < 0.105
    # 0.3 of 10,000, with a standard deviation of 0.0046; the others are scaled up
    assert 0.28 < (drawn[0] == 0).mean() < 0.32
    assert set(np.unique(drawn[0])) == {np.float32(0), np.float32(1) / np.float32(0.7)}


@pytest.fixture
def after_two_steps() -> SimpleNamespace:
    """A model, its optimizer and configuration, after two steps."""
    model, config = fresh(dropout=0.0, tie_embeddings=False), replace(TEN_STEPS, accumulation=1)
    optimizer = engine_of(model).make_optimizer(model, config)
    list(engine_of(model).train(model, optimizer, TEXT, replace(config, steps=2)))
    return SimpleNamespace(model=model, optimizer=optimizer, config=config)


def infinite_weight(weights: dict[str, np.ndarray[Any, Any]]) -> None:
    weights["decoder.layers.0.feed_forward.linear1.weight"][0, 0] = np.inf


def overflowing_norm(weights: dict[str, np.ndarray[Any, Any]]) -> None:
    """The same logits, but huge gradients behind the output projection."""
    weights["decoder.norm.weight"] *= 1e-25
    weights["decoder.norm.bias"] *= 1e-25
    weights["output_projection.weight"] *= 1e25


@pytest.mark.parametrize(
    ("damage", "origin"),
    [
        (infinite_weight, "the output of decoder.layers.0.feed_forward.linear1 on batch 2"),
        (overflowing_norm, "the loss, or the norm of all gradients, on batches 2 to 2"),
    ],
)
def test_an_update_that_is_not_finite_changes_nothing_and_its_origin_is_named(
    after_two_steps: SimpleNamespace, damage: Callable[..., None], origin: str
):
    model, optimizer = after_two_steps.model, after_two_steps.optimizer
    engine = engine_of(model)
    weights = engine.weights_of(model)
    damage(weights)
    engine.load_weights(model, weights)
    before = weights | engine.optimizer_tensors(model, optimizer)
    with pytest.raises(TrainingError, match=re.escape(f"at step 3, but {origin} is not finite")):
        list(engine.train(model, optimizer, TEXT, after_two_steps.config, start=2))
    after = engine.weights_of(model) | engine.optimizer_tensors(model, optimizer)
    assert all(np.array_equal(after[name], array) for name, array in before.items())


def test_the_last_gradient_that_is_not_finite_is_named(after_two_steps: SimpleNamespace):
    from clearformer.engines.tinygrad.explain import locate_nonfinite

    stored = after_two_steps.optimizer.gradients
    gradients = stored.read()
    for name in ("embedding.weight", "decoder.layers.0.feed_forward.linear2.bias"):
        gradients[name][0] = np.nan
    stored.write(gradients)
    found = locate_nonfinite(after_two_steps.model, stored, [TEXT.batch(0)], 7)
    assert found == "the gradient of decoder.layers.0.feed_forward.linear2.bias on batches 7 to 7"


def test_the_memory_of_a_step_is_measured(both: Callable[..., Any]):
    _, twin = both("gpt", num_layers=1, context=64)
    few, many = (
        engine_of(twin).step_memory(twin, TextBatch(*np.ones((2, rows, 64), np.int64)), TEN_STEPS) for rows in (8, 64)
    )
    # at least the attention weights, [B, H, T, S] in float32
    assert many - few > 56 * 2 * 64 * 64 * 4
