"""AdamW does what its paper says, to matrices and to vectors, and its memory survives."""

import numpy as np
import pytest
import torch
from torch import nn

from clearformer.config import GPTConfig, TrainConfig, TransformerConfig
from clearformer.models.build import build
from clearformer.models.initial import parameter_shapes
from clearformer.training.optimizer import (
    Optimizer,
    load_optimizer,
    make_optimizer,
    optimizer_shapes,
    optimizer_tensors,
)

CONFIG = TrainConfig(beta1=0.5, beta2=0.75, epsilon=0.5, weight_decay=0.25)
SIZES = {"vocab_size": 11, "context": 6, "d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 12}


class Scale(nn.Module):
    """One matrix of one number, and one vector of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
        self.vector = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))


def step(model: nn.Module, optimizer: Optimizer, gradient: float, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step()


def test_two_steps_worked_by_hand():
    model = Scale()
    optimizer = make_optimizer(model, CONFIG)
    step(model, optimizer, gradient=3.0, rate=0.1)
    # first step: m / (1 - β1) = g = 3 and v / (1 - β2) = g² = 9, so the move is 3 / (3 + 0.5) = 6/7
    assert model.vector.item() == pytest.approx(2 - 0.1 * 6 / 7, rel=1e-12)
    first = 2 - 0.1 * (6 / 7 + 0.25 * 2)  # and a quarter of the weight, for a matrix
    assert model.matrix.item() == pytest.approx(first, rel=1e-12)
    step(model, optimizer, gradient=-1.0, rate=0.2)
    # m = 0.5 · 1.5 - 0.5 = 0.25, over 3/4: 1/3;  v = 0.75 · 2.25 + 0.25 = 1.9375, over 7/16: 31/7
    move = (1 / 3) / ((31 / 7) ** 0.5 + 0.5)
    assert model.vector.item() == pytest.approx(2 - 0.1 * 6 / 7 - 0.2 * move, rel=1e-12)
    assert model.matrix.item() == pytest.approx(first - 0.2 * (move + 0.25 * first), rel=1e-12)


@pytest.mark.parametrize("config", [GPTConfig(**SIZES), TransformerConfig(**SIZES)])
def test_matrices_decay_and_biases_and_norms_do_not(config: GPTConfig | TransformerConfig):
    model = build(config, 1)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    step(model, make_optimizer(model, CONFIG), gradient=0.0, rate=0.5)
    for name, weight in model.named_parameters():
        factor = 1 - 0.5 * 0.25 if name.endswith(("weight",)) and "norm" not in name else 1.0
        torch.testing.assert_close(weight, before[name] * factor)


@pytest.mark.parametrize("config", [GPTConfig(**SIZES), TransformerConfig(**SIZES)])
def test_the_memory_has_the_names_and_shapes_announced_and_comes_back(config: GPTConfig | TransformerConfig):
    model, twin = build(config, 1), build(config, 1)
    optimizer, other = make_optimizer(model, CONFIG), make_optimizer(twin, CONFIG)
    step(model, optimizer, gradient=0.5, rate=0.1)
    tensors = {name: value.copy() for name, value in optimizer_tensors(model, optimizer).items()}
    assert {name: value.shape for name, value in tensors.items()} == optimizer_shapes(parameter_shapes(config), CONFIG)
    assert all(value.dtype == np.float32 for value in tensors.values())

    twin.load_state_dict(model.state_dict())
    load_optimizer(twin, other, tensors, CONFIG)
    for gradient in (1.0, -0.25):
        step(model, optimizer, gradient, rate=0.1)
        step(twin, other, gradient, rate=0.1)
    for name, weight in model.named_parameters():
        assert torch.equal(weight, twin.get_parameter(name)), name


def test_loading_copies_the_memory():
    model = build(GPTConfig(**SIZES), 1)
    optimizer = make_optimizer(model, CONFIG)
    step(model, optimizer, gradient=0.5, rate=0.1)
    tensors = {name: value.copy() for name, value in optimizer_tensors(model, optimizer).items()}
    kept = {name: value.copy() for name, value in tensors.items()}
    load_optimizer(model, optimizer, tensors, CONFIG)
    step(model, optimizer, gradient=0.5, rate=0.1)
    assert all(np.array_equal(tensors[name], kept[name]) for name in kept)
