"""AdamW and Muon compute their papers' formulas, each for its parameters, and their state can be saved and loaded."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from clearformer.config import BERTConfig, ClassifierConfig, GPTConfig, TrainConfig, TransformerConfig
from clearformer.models.build import build
from clearformer.models.initial import parameter_shapes
from clearformer.training.muon import Muon
from clearformer.training.optimizer import Optimizer, load_optimizer, make_optimizer, optimizer_tensors
from clearformer.training.optimizer_state import optimizer_shapes

CONFIG = TrainConfig(beta1=0.5, beta2=0.75, epsilon=0.5, weight_decay=0.25)
MUON = replace(CONFIG, optimizer="muon")
SIZES = {"vocab_size": 11, "context": 6, "d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 12}

# float32; each Newton-Schulz step multiplies small singular values, and their errors, by 3.4
MUON_TOLERANCE = 2e-5


class Scale(nn.Module):
    """A matrix and a vector of one number each."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
        self.vector = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))


def step(model: nn.Module, optimizer: Optimizer, gradient: float | NDArray[np.float64], rate: float) -> None:
    """Make an update; a number is the gradient of all parameters, an array that of the first."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    if isinstance(gradient, float):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
    else:
        next(model.parameters()).grad = torch.from_numpy(gradient).float()
    optimizer.step()


def test_two_adamw_steps_worked_by_hand():
    model = Scale()
    optimizer = make_optimizer(model, CONFIG)
    step(model, optimizer, gradient=3.0, rate=0.1)
    # first step: m / (1 - β1) = g = 3 and v / (1 - β2) = g² = 9, so the change is 3 / (3 + 0.5) = 6/7
    assert model.vector.item() == pytest.approx(2 - 0.1 * 6 / 7, rel=1e-12)
    first = 2 - 0.1 * (6 / 7 + 0.25 * 2)  # with weight decay, for a matrix
    assert model.matrix.item() == pytest.approx(first, rel=1e-12)
    step(model, optimizer, gradient=-1.0, rate=0.2)
    # m = 0.5 · 1.5 - 0.5 = 0.25, over 3/4: 1/3;  v = 0.75 · 2.25 + 0.25 = 1.9375, over 7/16: 31/7
    change = (1 / 3) / ((31 / 7) ** 0.5 + 0.5)
    assert model.vector.item() == pytest.approx(2 - 0.1 * 6 / 7 - 0.2 * change, rel=1e-12)
    assert model.matrix.item() == pytest.approx(first - 0.2 * (change + 0.25 * first), rel=1e-12)


@pytest.mark.parametrize("config", [GPTConfig(**SIZES), TransformerConfig(**SIZES)])
def test_matrices_decay_and_biases_and_norms_do_not(config: GPTConfig | TransformerConfig):
    model = build(config, 1)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    step(model, make_optimizer(model, CONFIG), gradient=0.0, rate=0.5)
    for name, weight in model.named_parameters():
        factor = 1 - 0.5 * 0.25 if name.endswith("weight") and "norm" not in name else 1.0
        torch.testing.assert_close(weight, before[name] * factor)


def layer(rows: int, columns: int) -> nn.ModuleDict:
    """A model of one matrix inside a layer, and a bias."""
    linear = nn.Linear(columns, rows)
    return nn.ModuleDict({"decoder": nn.ModuleDict({"layers": nn.ModuleList([linear])})})


def orthogonalized(g: NDArray[np.float64]) -> NDArray[np.float64]:
    """Five steps of X = 3.4445 X - 4.775 (X Xᵀ) X + 2.0315 (X Xᵀ)² X from G / |G| on (Jordan et al. 2024)."""
    if len(g) > len(g.T):
        return orthogonalized(g.T).T
    x = g / np.linalg.norm(g)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x - 4.775 * gram @ x + 2.0315 * gram @ gram @ x
    return x


@pytest.mark.parametrize(("rows", "columns"), [(8, 24), (24, 8), (16, 16)])
def test_two_muon_steps_equal_the_formula(rows: int, columns: int):
    model = layer(rows, columns)
    weight = model.get_parameter("decoder.layers.0.weight")
    optimizer, rng = make_optimizer(model, MUON), np.random.default_rng(1)
    m = np.zeros((rows, columns))
    for rate in (0.1, 0.2):
        g = rng.normal(size=(rows, columns))
        m = 0.95 * m + 0.05 * g
        size = 0.2 * math.sqrt(max(rows, columns))
        before = weight.detach().double().numpy()
        expected = before - rate * (size * orthogonalized(0.95 * m + 0.05 * g) + 0.25 * before)
        step(model, optimizer, g, rate)
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=0.0, atol=rate * size * MUON_TOLERANCE)


def test_muon_updates_each_of_many_matrices_as_if_it_were_alone():
    rng = np.random.default_rng(1)
    shapes = [(8, 24), (16, 16), (24, 8), (8, 24)]
    matrices = [nn.Parameter(torch.from_numpy(rng.normal(size=shape)).float()) for shape in shapes]
    gradients = [rng.normal(size=shape) for shape in shapes]
    without_gradient = nn.Parameter(torch.ones(8, 24))
    muon = Muon([*matrices, without_gradient], weight_decay=0.0)
    muon.param_groups[0]["lr"] = 0.5
    before = [weight.detach().double().numpy().copy() for weight in matrices]
    for weight, gradient in zip(matrices, gradients, strict=True):
        weight.grad = torch.from_numpy(gradient).float()
    muon.step()
    for weight, old, gradient in zip(matrices, before, gradients, strict=True):
        size = 0.5 * 0.2 * math.sqrt(max(gradient.shape))
        expected = old - size * orthogonalized((0.95 * 0.05 + 0.05) * gradient)
        np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=0.0, atol=size * MUON_TOLERANCE)
    assert (without_gradient == 1).all()


@pytest.mark.parametrize(("rows", "columns"), [(8, 24), (24, 8), (12, 30)])
def test_muon_changes_a_matrix_about_equally_in_all_directions(rows: int, columns: int):
    model = layer(rows, columns)
    weight = model.get_parameter("decoder.layers.0.weight")
    before = weight.detach().clone()
    optimizer = make_optimizer(model, replace(MUON, weight_decay=0.0))
    # singular values from 1 to 30
    u, _, v = np.linalg.svd(np.random.default_rng(1).normal(size=(rows, columns)), full_matrices=False)
    step(model, optimizer, u * np.geomspace(1.0, 30.0, min(rows, columns)) @ v, rate=0.5)
    change = np.linalg.svd((before - weight.detach()).double().numpy(), compute_uv=False)
    size = 0.5 * 0.2 * math.sqrt(max(rows, columns))
    # the iteration's polynomial, applied five times to numbers from 0.01 to 1, gives numbers from 0.682 to 1.134
    assert change.min() / size > 0.682 - MUON_TOLERANCE
    assert change.max() / size < 1.134 + MUON_TOLERANCE


@pytest.mark.parametrize(
    ("config", "prefix"),
    [
        (GPTConfig(**SIZES, qk_norm=True), ""),
        (TransformerConfig(**SIZES, tie_embeddings=False), ""),
        (BERTConfig(**SIZES), ""),
        (ClassifierConfig(**SIZES), "body."),
    ],
)
def test_muon_updates_the_matrices_inside_the_layers_and_nothing_else(config, prefix: str):
    model = build(config, 1)
    attention = ("attention.qkv_projection", "attention.output_projection")
    cross = ("cross_attention.query_projection", "cross_attention.kv_projection", "cross_attention.output_projection")
    feed_forward = ("feed_forward.linear1", "feed_forward.linear2")
    stacks = {
        "gpt": {"decoder": attention + feed_forward},
        "transformer": {"encoder": attention + feed_forward, "decoder": attention + cross + feed_forward},
        "bert": {"encoder": attention + feed_forward},
        "classifier": {"encoder": attention + feed_forward},
    }[config.kind]
    expected = {f"{prefix}{stack}.layers.0.{name}.weight" for stack, names in stacks.items() for name in names}
    optimizer = make_optimizer(model, MUON)
    of = {name: type(optimizer.part_of(weight)) for name, weight in model.named_parameters()}
    assert {name for name, part in of.items() if part is Muon} == expected
    assert {part for name, part in of.items() if name not in expected} == {torch.optim.AdamW}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(of)
    assert {type(part) for part in make_optimizer(model, CONFIG).parts} == {torch.optim.AdamW}


@pytest.mark.parametrize("train", [CONFIG, MUON], ids=["adamw", "muon"])
@pytest.mark.parametrize("config", [GPTConfig(**SIZES), TransformerConfig(**SIZES)])
def test_the_state_has_the_announced_names_and_shapes_and_can_be_restored(
    config: GPTConfig | TransformerConfig, train: TrainConfig
):
    model, twin = build(config, 1), build(config, 1)
    optimizer, other = make_optimizer(model, train), make_optimizer(twin, train)
    step(model, optimizer, gradient=0.5, rate=0.1)
    tensors = {name: value.copy() for name, value in optimizer_tensors(model, optimizer).items()}
    assert {name: value.shape for name, value in tensors.items()} == optimizer_shapes(parameter_shapes(config), train)
    assert all(value.dtype == np.float32 for value in tensors.values())

    twin.load_state_dict(model.state_dict())
    load_optimizer(twin, other, tensors, train)
    before = {name: value.copy() for name, value in tensors.items()}
    for gradient in (1.0, -0.25):
        step(model, optimizer, gradient, rate=0.1)
        step(twin, other, gradient, rate=0.1)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, twin.get_parameter(name)), name
    assert all(np.array_equal(tensors[name], before[name]) for name in before)  # loading has copied them
