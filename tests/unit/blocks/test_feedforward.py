import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from clearformer.blocks.feedforward import (
    FeedForward,
    GatedFeedForward,
    SquaredReLU,
    feed_forward,
    gated,
    gelu,
    gelu_tanh,
    relu,
    silu,
)

# float32 sums of up to 32 terms: no difference seen over 3,000 draws, but another BLAS may add in another order
KERNEL_TOLERANCE = 1e-5
# float64 products of three sums: 5.5e-15 seen over 600 draws, relative to 1 + the value
GATED_TOLERANCE = 1e-12
# float32 operations in another order: 6.6e-7 seen, relative to 1 + the value
ACTIVATION_TOLERANCE = 2e-6


def test_feed_forward_worked_by_hand():
    block = FeedForward(1, 2, nn.ReLU())
    block.load_state_dict(
        {
            "linear1.weight": torch.tensor([[1.0], [-1.0]]),
            "linear1.bias": torch.tensor([1.0, 2.0]),
            "linear2.weight": torch.tensor([[10.0, 100.0]]),
            "linear2.bias": torch.tensor([5.0]),
        }
    )
    # 3 -> (4, -1) -> (4, 0) -> 45;  -3 -> (-2, 5) -> (0, 5) -> 505
    assert block(torch.tensor([[[3.0], [-3.0]]])).flatten().tolist() == [45.0, 505.0]


def test_relu_replaces_negative_numbers_by_zero():
    assert relu(torch.tensor([-2.0, 0.0, 3.0])).tolist() == [0.0, 0.0, 3.0]


def test_squared_relu_squares_positive_numbers_and_its_gradient_doubles_them(with_gradients):
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 3.0])
    # the loss weighs the five by -1, -1/2, 0, 1/2, 1; the slope of x² is 2x
    out, gradient = with_gradients(SquaredReLU(), x)
    assert out.tolist() == [0.0, 0.0, 0.0, 0.25, 9.0]
    assert gradient.tolist() == [0.0, 0.0, 0.0, 0.5, 6.0]


def test_a_gated_layer_worked_by_hand():
    block = GatedFeedForward(1, 2, nn.SiLU())
    block.load_state_dict(
        {
            "linear1.weight": torch.tensor([[1.0], [0.0], [5.0], [7.0]]),  # two gates, then the two gated numbers
            "linear1.bias": torch.tensor([0.0, 1.0, 0.0, 0.5]),
            "linear2.weight": torch.tensor([[10.0, 100.0]]),
            "linear2.bias": torch.tensor([3.0]),
        }
    )
    # 2 -> gates (2, 1), gated (10, 14.5); SiLU(2) = 2 / (1 + e^-2), SiLU(1) = 1 / (1 + 1/e)
    silu = 10 * 10 * 2 / (1 + math.exp(-2)) + 100 * 14.5 / (1 + math.exp(-1)) + 3
    gelu = 10 * 10 * 2 * 0.97724987 + 100 * 14.5 * 0.84134475 + 3  # GELU(x) = x Φ(x)
    for block.activation, expected in ((nn.SiLU(), silu), (nn.GELU(), gelu)):
        assert block(torch.tensor([[[2.0]]])).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("x", [-3.0, -1.0, 0.0, 0.5, 2.0])
def test_gelu_is_x_times_the_probability_of_being_below_x(x: float):
    below = 0.5 * math.erfc(-x / math.sqrt(2))  # the standard normal distribution, by the standard library
    assert gelu(torch.tensor([x], dtype=torch.float64)).item() == pytest.approx(x * below, abs=1e-15)


@pytest.mark.parametrize(("kernel", "formula"), [(nn.ReLU(), relu), (nn.GELU(), gelu), (nn.GELU("tanh"), gelu_tanh)])
def test_activations_equal_their_formulas(assert_equivalent, kernel: nn.Module, formula):
    assert_equivalent(kernel, formula, torch.linspace(-6, 6, 1001), tolerance=ACTIVATION_TOLERANCE)


@given(
    d_model=st.integers(1, 8),
    d_ff=st.integers(1, 32),
    activation=st.sampled_from([nn.ReLU(), nn.GELU(), nn.GELU("tanh"), SquaredReLU()]),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_the_block_equals_the_formula(assert_equivalent, scramble, d_model, d_ff, activation, bias, seed):
    torch.manual_seed(seed)
    block = FeedForward(d_model, d_ff, activation, bias=bias)
    scramble(block, seed)
    assert_equivalent(
        block,
        lambda x: feed_forward(x, block.linear1, activation, block.linear2),
        torch.randn(2, 3, d_model),
        tolerance=KERNEL_TOLERANCE,
        module=block,
    )


@given(d_model=st.integers(1, 8), d_ff=st.integers(1, 32), seed=st.integers(0, 2**31))
@pytest.mark.parametrize(
    ("activation", "f"),
    [(nn.SiLU(), silu), (nn.GELU(), gelu), (nn.GELU("tanh"), gelu_tanh)],
    ids=["SwiGLU", "GEGLU", "GEGLU by tanh"],
)
def test_the_gated_block_equals_the_formula(assert_equivalent, activation, f, d_model, d_ff, seed):
    torch.manual_seed(seed)
    shapes = (2, 3, d_model), (d_ff, d_model), (d_ff, d_model), (d_model, d_ff)
    inputs = [torch.randn(shape).double() for shape in shapes]
    block = GatedFeedForward(d_model, d_ff, activation, bias=False)
    assert [name for name, _ in block.named_parameters()] == ["linear1.weight", "linear2.weight"]

    def kernel(x, gate, up, down):
        return functional_call(block, {"linear1.weight": torch.cat((gate, up)), "linear2.weight": down}, x)

    assert_equivalent(kernel, partial(gated, f), *inputs, tolerance=GATED_TOLERANCE)


@pytest.mark.parametrize(
    "block", [FeedForward(4, 16, nn.GELU()), FeedForward(4, 16, SquaredReLU()), GatedFeedForward(4, 16, nn.SiLU())]
)
def test_no_token_depends_on_another(dependents, block: nn.Module):
    assert dependents(block, torch.randn(1, 5, 4), 3) == [3]
