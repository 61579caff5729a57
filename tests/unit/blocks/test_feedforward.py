import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clearformer.blocks.feedforward import FeedForward, feed_forward, gelu, relu

# float32 sums of up to 32 terms: no difference seen over 3,000 draws, but another BLAS may add in another order
KERNEL_TOLERANCE = 1e-5


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


def test_relu_cuts_off_what_is_negative():
    assert relu(torch.tensor([-2.0, 0.0, 3.0])).tolist() == [0.0, 0.0, 3.0]


@pytest.mark.parametrize("x", [-3.0, -1.0, 0.0, 0.5, 2.0])
def test_gelu_is_x_times_the_probability_of_being_below_x(x: float):
    below = 0.5 * math.erfc(-x / math.sqrt(2))  # the standard normal distribution, by the standard library
    assert gelu(torch.tensor([x], dtype=torch.float64)).item() == pytest.approx(x * below, abs=1e-15)


@pytest.mark.parametrize(("kernel", "formula"), [(nn.ReLU(), relu), (nn.GELU(), gelu)])
def test_the_activations_equal_their_formulas(with_gradients, kernel: nn.Module, formula):
    x = torch.linspace(-6, 6, 1001)
    torch.testing.assert_close(with_gradients(kernel, x), with_gradients(formula, x), atol=1e-6, rtol=1e-5)


@given(
    d_model=st.integers(1, 8),
    d_ff=st.integers(1, 32),
    activation=st.sampled_from([nn.ReLU(), nn.GELU()]),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_the_block_and_its_gradients_equal_the_formula(with_gradients, scramble, d_model, d_ff, activation, bias, seed):
    torch.manual_seed(seed)
    block = FeedForward(d_model, d_ff, activation, bias=bias)
    scramble(block, seed)
    x, gradients = torch.randn(2, 3, d_model), []
    for function in (block, lambda x: feed_forward(x, block.linear1, activation, block.linear2)):
        block.zero_grad()
        gradients.append(with_gradients(function, x) + [parameter.grad for parameter in block.parameters()])
    torch.testing.assert_close(*gradients, atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE)


def test_no_token_sees_another():
    block, x = FeedForward(4, 16, nn.GELU()), torch.randn(1, 5, 4)
    changed = x.clone()
    changed[0, 3] += 1.0
    difference = (block(x) - block(changed)).abs().amax(-1)[0]
    assert difference[[0, 1, 2, 4]].max() == 0.0
    assert difference[3] > 0.0
