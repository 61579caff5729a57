"""The loop: reproducible from any step, micro-batches equal one batch, and no update that is not finite."""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clearformer.config import ClassifierConfig, CosineSchedule, GPTConfig, TrainConfig, TransformerConfig
from clearformer.data.batches import PairBuckets, TextBatch, TextWindows
from clearformer.data.labelled import LabelledBuckets
from clearformer.data.tokenizers import BOS, EOS, PAD
from clearformer.errors import TrainingError
from clearformer.models.build import build
from clearformer.training.loop import Objective, accumulate_gradients, clip_gradients, train
from clearformer.training.loss import cross_entropy
from clearformer.training.optimizer import Optimizer, load_optimizer, make_optimizer, optimizer_tensors
from clearformer.training.steps import Record

# float32 gradients of up to 60 tokens summed in another order: 3e-7 of the largest measured, thirty times that allowed
SUM_TOLERANCE = 1e-5

SIZES: dict[str, Any] = {
    "vocab_size": 20, "context": 8, "d_model": 8, "num_heads": 2, "num_layers": 2, "d_ff": 16, "dropout": 0.2,
}  # fmt: skip
MODELS = {"gpt": GPTConfig(**SIZES), "transformer": TransformerConfig(**SIZES)}
CONFIG = TrainConfig(steps=6, batch_tokens=32, schedule=CosineSchedule(1e-2, 0.0, 2), label_smoothing=0.1, seed=5)
CPU = torch.device("cpu")


def batches(family: str) -> TextWindows | PairBuckets:
    rng = np.random.default_rng(1)
    if family == "gpt":
        return TextWindows(rng.integers(4, 20, 200), context=8, batch_tokens=32, seed=5)
    lengths = rng.integers(1, 7, (30, 2))
    return PairBuckets([tuple(rng.integers(4, 20, size).tolist() for size in row) for row in lengths], 32, seed=5)


@dataclass
class Trained:
    model: nn.Module
    records: list[Record]
    optimizer: Optimizer

    def weights(self) -> dict[str, Tensor]:
        return {name: weight.detach().clone() for name, weight in self.model.named_parameters()}


def trained(family: str, config: TrainConfig = CONFIG, before: Trained | None = None, stop: int = 99) -> Trained:
    """Train from the start, or on from `before`, up to `stop` updates."""
    model = build(MODELS[family], config.seed)
    optimizer = make_optimizer(model, config)
    start = 0
    if before is not None:
        start = len(before.records)
        model.load_state_dict(before.model.state_dict())
        load_optimizer(model, optimizer, optimizer_tensors(before.model, before.optimizer), config)
    loop = train(model, optimizer, batches(family), config, start)
    return Trained(model, [replace(r, tokens_per_second=0.0) for r in itertools.islice(loop, stop - start)], optimizer)


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("family", MODELS)
def test_a_loop_resumed_at_any_step_repeats_the_uninterrupted_one(family: str, accumulation: int):
    config = replace(CONFIG, accumulation=accumulation)
    whole = trained(family, config)
    assert [record.step for record in whole.records] == [1, 2, 3, 4, 5, 6]
    for start in (1, 4):
        first = trained(family, config, stop=start)
        torch.manual_seed(start)  # the global generator does not matter
        rest = trained(family, config, before=first)
        assert first.records + rest.records == whole.records
        assert_equal(rest.weights(), whole.weights())


@pytest.mark.parametrize("family", MODELS)
def test_dropout_of_a_step_depends_on_seed_and_step_alone(family: str):
    # without updates (rate about 0) and with one batch, losses differ by dropout only
    class OneBatch:
        batches_per_epoch = 1

        def batch(self, _step: int):
            return batches(family).batch(0)

        def in_order(self, _max_tokens: int | None = None):
            return batches(family).in_order()

    def losses(seed: int, start: int = 0) -> list[float]:
        config = replace(CONFIG, seed=seed, schedule=CosineSchedule(1e-30, 0.0, 0), weight_decay=0.0)
        model = build(MODELS[family], 5)
        return [record.loss for record in train(model, make_optimizer(model, config), OneBatch(), config, start)]

    torch.manual_seed(0)
    whole = losses(seed=1)
    torch.manual_seed(1)
    assert losses(seed=1) == whole
    assert losses(seed=1, start=3) == whole[3:]
    assert len(set(whole)) == len(whole)
    assert not set(losses(seed=2)) & set(whole)


def test_a_record_has_the_results_of_its_update():
    torch.manual_seed(0)
    config = replace(CONFIG, clip=1e-3, accumulation=2, steps=2)
    model = build(replace(MODELS["gpt"], dropout=0.0), 5)
    data = batches("gpt")
    both = [data.batch(0), data.batch(1)]
    tokens, targets = (
        torch.from_numpy(np.concatenate([getattr(b, key) for b in both])) for key in ("tokens", "targets")
    )
    loss = cross_entropy(model(tokens), targets, 0.1) / targets.numel()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    norm = math.sqrt(sum(gradient.double().square().sum().item() for gradient in gradients))
    record = next(train(model, make_optimizer(model, config), data, config))
    assert record.step == 1
    assert record.loss == pytest.approx(loss.item(), rel=1e-5)
    assert record.gradient_norm == pytest.approx(norm, rel=1e-5)  # before clipping
    assert record.learning_rate == 5e-3  # the first of two warm-up steps
    assert record.tokens == 64
    assert record.tokens_per_second > 0


def unequal(sizes: list[tuple[int, int]]) -> list[TextBatch]:
    rng = np.random.default_rng(3)
    return [TextBatch(*(rng.integers(4, 20, size) for _ in "xy")) for size in sizes]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_unequal_micro_batches_give_the_gradient_of_the_full_batch(smoothing: float):
    model = build(replace(MODELS["gpt"], dropout=0.0), 5)
    micro_batches = unequal([(1, 3), (4, 8), (2, 5)])
    loss = accumulate_gradients(Objective(model, TrainConfig(label_smoothing=smoothing)), micro_batches)
    pairs = [(torch.from_numpy(batch.tokens), torch.from_numpy(batch.targets)) for batch in micro_batches]
    total = torch.stack([cross_entropy(model(tokens), targets, smoothing) for tokens, targets in pairs]).sum()
    full = total / (3 + 32 + 10)
    expected = torch.autograd.grad(full, list(model.parameters()))
    assert loss == pytest.approx(full.item(), rel=SUM_TOLERANCE)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert (parameter.grad - gradient).abs().max() <= SUM_TOLERANCE * gradient.abs().max()


def test_clipping_worked_by_hand():
    for max_norm, expected in ((2.5, [1.5, -2.0]), (5.5, [3.0, -4.0]), (0.0, [3.0, -4.0])):
        module = nn.Linear(1, 1)
        module.weight.grad, module.bias.grad = torch.tensor([[3.0]]), torch.tensor([-4.0])
        assert clip_gradients(module, max_norm) == 5.0
        assert [module.weight.grad.item(), module.bias.grad.item()] == pytest.approx(expected, rel=1e-5)


def assert_stops(model: nn.Module, origin: str, config: TrainConfig = CONFIG, at: int = 1) -> None:
    """Update number `at` raises an error that names `origin`, and changes no weight."""
    loop = train(model, make_optimizer(model, config), batches(model.config.kind), config, at - 1)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    with pytest.raises(TrainingError) as caught:
        next(loop)
    assert str(caught.value) == (
        f"a finite loss and gradient were expected at step {at}, but {origin} is not finite; "
        "lower the learning rate or the clip, and resume from the last checkpoint"
    )
    assert caught.value.exit_code == 1
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.detach(), before[name], rtol=0.0, atol=0.0, equal_nan=True, msg=name)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("family", "layer"),
    [
        ("gpt", "decoder.layers.0.attention.qkv_projection"),
        ("gpt", "decoder.layers.1.feed_forward.linear1"),
        ("gpt", "decoder.norm"),
        ("transformer", "encoder.layers.1.feed_forward.linear2"),
        ("transformer", "decoder.layers.0.cross_attention.output_projection"),
        ("transformer", "decoder.layers.1.attention_residual.norm"),
    ],
)
def test_the_first_layer_whose_output_is_not_finite_is_named(family: str, layer: str, value: float):
    model = build(MODELS[family], 5)
    with torch.no_grad():
        model.get_parameter(f"{layer}.bias")[0] = value
    assert_stops(model, f"the output of {layer} on batch 2", at=3)


def test_the_origin_is_located_in_the_precision_of_the_training():
    # the largest number of float32 is finite, and rounds to infinity in bfloat16
    model = build(MODELS["gpt"], 5)
    layer = "decoder.layers.1.feed_forward.linear1"
    with torch.no_grad():
        model.get_parameter(f"{layer}.weight")[3] = torch.finfo(torch.float32).max
        model.get_parameter("decoder.layers.1.feed_forward_residual.norm.weight").fill_(1e-6)
    assert_stops(model, f"the output of {layer} on batch 0", replace(CONFIG, precision="bfloat16"))


def test_the_origin_has_the_number_of_its_micro_batch():
    model = build(MODELS["gpt"], 5)
    config = replace(CONFIG, accumulation=4)
    data = batches("gpt")
    used = [set(data.batch(number).tokens.ravel().tolist()) for number in range(4, 8)]  # of step 2
    token, first = next(
        (token, [token in tokens for tokens in used].index(True))
        for token in range(4, 20)
        if token not in used[0] and any(token in tokens for tokens in used)
    )
    with torch.no_grad():
        model.get_parameter("embedding.weight")[token] = math.nan
    # untied, or the output projection would be NaN for every batch
    model.output_projection.weight = nn.Parameter(torch.zeros_like(model.embedding.weight))
    assert_stops(model, f"the output of embedding on batch {4 + first}", config, at=2)


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["decoder.layers.0.feed_forward.linear1.weight", "positions.weight"])
def test_the_parameter_whose_gradient_is_not_finite_is_named(name: str, value: float, clip: float):
    model = build(MODELS["gpt"], 5)
    model.get_parameter(name).register_hook(lambda gradient: torch.full_like(gradient, value))
    assert_stops(model, f"the gradient of {name} on batches 0 to 1", replace(CONFIG, clip=clip, accumulation=2))


def test_of_several_gradients_that_are_not_finite_the_one_nearest_to_the_loss_is_named():
    model = build(MODELS["gpt"], 5)
    for layer in (0, 1):
        name = f"decoder.layers.{layer}.attention.qkv_projection.weight"
        model.get_parameter(name).register_hook(lambda gradient: gradient * math.inf)
    assert_stops(model, "the gradient of decoder.layers.1.attention.qkv_projection.weight on batches 0 to 0")


def test_a_norm_that_overflows_is_named_if_every_gradient_is_finite():
    model = build(MODELS["gpt"], 5)
    model.get_parameter("positions.weight").register_hook(lambda gradient: torch.full_like(gradient, 1e30))
    assert_stops(model, "the loss, or the norm of all gradients, on batches 0 to 0")


def test_updates_before_the_error_are_kept():
    model = build(MODELS["gpt"], 5)
    loop = train(model, make_optimizer(model, CONFIG), batches("gpt"), CONFIG)
    assert [next(loop).step, next(loop).step] == [1, 2]
    assert_equal({name: weight.detach() for name, weight in model.named_parameters()}, trained("gpt", stop=2).weights())
    before = {name: weight.detach().clone() for name, weight in model.named_parameters() if "positions" not in name}
    with torch.no_grad():
        model.get_parameter("positions.weight").fill_(math.nan)
    with pytest.raises(TrainingError, match="at step 3, but the output of positions on batch 2"):
        next(loop)
    assert_equal({name: model.get_parameter(name).detach() for name in before}, before)


def test_with_token_loss_the_loss_is_that_of_every_real_token():
    config = replace(CONFIG, token_loss=True, steps=1)
    classifier = ClassifierConfig(**(SIZES | {"dropout": 0.0}), pooling="mean", num_classes=3)
    texts = [([[7, 9, 5]], 2), ([[8]], 0)]
    model = build(classifier, 1)
    tokens, real = (
        torch.tensor([[BOS, 7, 9, 5, EOS], [BOS, 8, EOS, PAD, PAD]]),
        torch.arange(5) < torch.tensor([[5], [3]]),
    )
    with torch.no_grad():
        logits = model.token_logits(tokens, real, torch.zeros_like(tokens))
    expected = torch.stack(
        [cross_entropy(logits[0], torch.full((5,), 2), 0.1), cross_entropy(logits[1, :3], torch.zeros(3).long(), 0.1)]
    )
    (record,) = train(model, make_optimizer(model, config), LabelledBuckets(texts, 32, 5, 0), config)
    assert record.loss == pytest.approx(expected.sum().item() / 8, rel=SUM_TOLERANCE)
