"""Gradients, updates and losses are PyTorch's; dropout is repeated; what is not finite changes nothing and is named."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from clearformer.config import Config, CosineSchedule, GPTConfig, TrainConfig
from clearformer.data.batches import IGNORE, PairBatch, TextBatch, TextWindows
from clearformer.engine import engine_of, open_engine
from clearformer.engines.tinygrad import adapter
from clearformer.errors import TrainingError
from clearformer.training.loop import accumulate_gradients
from clearformer.training.steps import Record

pytestmark = [
    pytest.mark.slow,  # each shape is compiled
    pytest.mark.skipif(bool(reason := adapter.reason_to_skip()), reason=reason),
]

# As shares of the largest number of a parameter's gradient, or of all gradients where that is larger than all of its
# own: float32, sums in another order: 3e-6 seen, allowed six times that. tinygrad's erf is off by 1.5e-7 beside that.
GRADIENT_TOLERANCE = 2e-5
# after ten steps of 1e-2 from weights of about 0.5: 4e-7 seen, allowed ten times that
WEIGHT_TOLERANCE = 4e-6
# of losses of about 3 nats: 2e-7 of them seen, allowed five times that
LOSS_TOLERANCE = 1e-6
SIZES: dict[str, Any] = {
    "vocab_size": 11, "context": 7, "d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "dropout": 0.3,
}  # fmt: skip
# epsilon is large, or a gradient that is zero but for rounding, as a key's bias has, would move its weight all the same
TEN_STEPS = TrainConfig(
    steps=10, schedule=CosineSchedule(1e-2, 0.0, 2), epsilon=1e-3, label_smoothing=0.1, accumulation=2, seed=5
)


TEXT = TextWindows(np.random.default_rng(1).integers(0, 11, 200), context=7, batch_tokens=21, seed=5)


def gradients(twin: Any, config: TrainConfig, *batches: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Of all batches together, by tinygrad."""
    from clearformer.engines.tinygrad.training import Trainer

    optimizer = engine_of(twin).make_optimizer(twin, config)
    Trainer(twin, optimizer, config).gradients(list(batches), seed=1)
    return optimizer.gradients.read()


@pytest.mark.parametrize("kind", ["transformer", "gpt", "bert", "classifier"])
def test_the_gradient_of_every_parameter_is_that_of_pytorch(
    kind: str, both: Callable[..., Any], examples: Callable[..., Any]
):
    model, twin = both(kind, num_layers=1)
    batches = [examples(kind, seed=1), examples(kind, seed=2, rows=2)]
    accumulate_gradients(model, batches, TEN_STEPS, torch.device("cpu"))
    expected = {name: weight.grad.numpy() for name, weight in model.named_parameters()}
    found = gradients(twin, TEN_STEPS, *batches)
    assert list(found) == list(expected)
    typical = max(np.abs(gradient).max() for gradient in expected.values()) / 10
    for name, gradient in expected.items():
        scale = max(np.abs(gradient).max(), typical)
        assert np.abs(found[name] - gradient).max() < GRADIENT_TOLERANCE * scale, name


def trained(model: Any, config: TrainConfig) -> tuple[list[Record], dict[str, Any], dict[str, Any]]:
    """Records, weights, and what the optimizer remembers."""
    optimizer = engine_of(model).make_optimizer(model, config)
    records = list(engine_of(model).train(model, optimizer, TEXT, config))
    return records, engine_of(model).weights_of(model), engine_of(model).optimizer_tensors(model, optimizer)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_ten_steps_are_those_of_pytorch(optimizer: str, both: Callable[..., Any]):
    config = replace(TEN_STEPS, optimizer=optimizer)
    model, twin = both("gpt")
    expected, found = trained(model, config), trained(twin, config)
    for one, other in zip(expected[0], found[0], strict=True):
        assert other.loss == pytest.approx(one.loss, rel=LOSS_TOLERANCE)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=GRADIENT_TOLERANCE)
        assert (other.step, other.learning_rate, other.tokens) == (one.step, one.learning_rate, one.tokens)
    for name, weight in expected[1].items():
        assert np.abs(found[1][name] - weight).max() < WEIGHT_TOLERANCE, name
    assert found[2].keys() == expected[2].keys()
    for name, memory in expected[2].items():
        assert found[2][name].shape == memory.shape
        assert np.abs(found[2][name] - memory).max() < WEIGHT_TOLERANCE * max(1, np.abs(memory).max()), name


def test_padding_changes_neither_loss_nor_gradient(both: Callable[..., Any], examples: Callable[..., Any]):
    _, twin = both("transformer", num_layers=1, context=40)
    batch = examples("transformer")

    def longer(array: np.ndarray[Any, Any], value: int = 0) -> np.ndarray[Any, Any]:
        return np.pad(array, ((0, 2), (0, 20)), constant_values=value)

    padded = PairBatch(*map(longer, batch.inputs), longer(batch.targets, IGNORE))
    assert engine_of(twin).mean_loss(twin, [padded]) == pytest.approx(
        engine_of(twin).mean_loss(twin, [batch]), rel=LOSS_TOLERANCE
    )
    narrow, wide = (gradients(twin, TEN_STEPS, one) for one in (batch, padded))
    scale = max(np.abs(gradient).max() for gradient in narrow.values())
    assert max(np.abs(narrow[name] - wide[name]).max() for name in narrow) < GRADIENT_TOLERANCE * scale


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


def test_a_resumed_run_repeats_every_number_dropout_included():
    config = replace(TEN_STEPS, steps=5)
    whole = fresh()
    records, weights, _ = trained(whole, config)
    before, after = fresh(), fresh()
    optimizer = engine_of(before).make_optimizer(before, config)
    first = list(itertools.islice(engine_of(before).train(before, optimizer, TEXT, config), 2))
    engine_of(after).load_weights(after, engine_of(before).weights_of(before))
    resumed = engine_of(after).make_optimizer(after, config)
    engine_of(after).load_optimizer(after, resumed, engine_of(before).optimizer_tensors(before, optimizer), config)
    rest = list(engine_of(after).train(after, resumed, TEXT, config, start=2))
    assert [record.loss for record in first + rest] == [record.loss for record in records]
    assert all(np.array_equal(engine_of(after).weights_of(after)[name], weight) for name, weight in weights.items())


def test_dropout_drops_its_share_anew_in_every_layer_and_step_and_nothing_without_a_key():
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
        # where both are dropped: 0.09 of the places, with a standard deviation of 0.003
        assert 0.075 < ((one == 0) & (other == 0)).mean() < 0.105
    # 0.3 of 10,000 with a standard deviation of 0.0046; what stays is scaled up
    assert 0.28 < (drawn[0] == 0).mean() < 0.32
    assert set(np.unique(drawn[0])) == {np.float32(0), np.float32(1) / np.float32(0.7)}


@pytest.fixture
def begun() -> SimpleNamespace:
    """A model after two steps, and its optimizer."""
    model, config = fresh(dropout=0.0, tie_embeddings=False), replace(TEN_STEPS, accumulation=1)
    optimizer = engine_of(model).make_optimizer(model, config)
    list(engine_of(model).train(model, optimizer, TEXT, replace(config, steps=2)))
    return SimpleNamespace(model=model, optimizer=optimizer, config=config)


def goes_wrong(begun: SimpleNamespace, weights: dict[str, np.ndarray[Any, Any]], said: str) -> None:
    """The third step from these weights says so, and leaves everything as it was."""
    engine_of(begun.model).load_weights(begun.model, weights)
    remembered = engine_of(begun.model).optimizer_tensors(begun.model, begun.optimizer)
    with pytest.raises(TrainingError, match=said):
        list(engine_of(begun.model).train(begun.model, begun.optimizer, TEXT, begun.config, start=2))
    left, memory = (
        engine_of(begun.model).weights_of(begun.model),
        engine_of(begun.model).optimizer_tensors(begun.model, begun.optimizer),
    )
    assert all(np.array_equal(left[name], weight) for name, weight in weights.items())
    assert all(np.array_equal(memory[name], value) for name, value in remembered.items())


def test_an_infinite_output_leaves_everything_and_names_step_layer_and_batch(begun: SimpleNamespace):
    weights = engine_of(begun.model).weights_of(begun.model)
    weights["decoder.layers.0.feed_forward.linear1.weight"][0, 0] = np.inf
    layer = r"decoder\.layers\.0\.feed_forward\.linear1"
    goes_wrong(begun, weights, rf"at step 3, but the output of {layer} on batch 2 is not finite")


def test_a_norm_that_overflows_leaves_everything_and_is_named(begun: SimpleNamespace):
    weights = engine_of(begun.model).weights_of(begun.model)
    weights["decoder.norm.weight"] *= 1e-25  # the logits stay as they are; what comes back through the matrix does not
    weights["decoder.norm.bias"] *= 1e-25
    weights["output_projection.weight"] *= 1e25
    said = r"at step 3, but the loss, or the norm of all gradients, on batches 2 to 2 is not finite"
    goes_wrong(begun, weights, said)


def test_the_last_gradient_that_is_not_finite_is_named(begun: SimpleNamespace):
    from clearformer.engines.tinygrad.explain import locate_nonfinite

    gradients = begun.optimizer.gradients.read()
    for name in ("embedding.weight", "decoder.layers.0.feed_forward.linear2.bias"):
        gradients[name][0] = np.nan
    begun.optimizer.gradients.write(gradients)
    found = locate_nonfinite(begun.model, begun.optimizer.gradients, [TEXT.batch(0)], 7)
    assert found == "the gradient of decoder.layers.0.feed_forward.linear2.bias on batches 7 to 7"


def test_the_memory_of_a_step_is_measured(both: Callable[..., Any]):
    _, twin = both("gpt", num_layers=1, context=64)
    tokens = np.ones((1, 64), np.int64)
    few, many = (
        engine_of(twin).step_memory(twin, TextBatch(tokens.repeat(rows, 0), tokens.repeat(rows, 0)), TEN_STEPS)
        for rows in (8, 64)
    )
    # at least the probabilities of attention, [B, H, T, S] in float32
    assert many - few > 56 * 2 * 64 * 64 * 4


def test_a_model_of_pytorch_goes_on_in_tinygrad(both: Callable[..., Any]):
    config = replace(TEN_STEPS, steps=4)
    whole, _ = both("gpt")
    expected = trained(whole, config)[0]
    model, twin = both("gpt")
    optimizer, resumed = engine_of(model).make_optimizer(model, config), engine_of(twin).make_optimizer(twin, config)
    list(itertools.islice(engine_of(model).train(model, optimizer, TEXT, config), 2))
    engine_of(twin).load_weights(twin, engine_of(model).weights_of(model))
    engine_of(twin).load_optimizer(twin, resumed, engine_of(model).optimizer_tensors(model, optimizer), config)
    rest = list(engine_of(twin).train(twin, resumed, TEXT, config, start=2))
    assert [record.loss for record in rest] == pytest.approx([one.loss for one in expected[2:]], rel=LOSS_TOLERANCE)
