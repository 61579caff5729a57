import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clearformer.blocks.output import OutputProjection, soft_cap

# one unit in the last place of float32, and another of its tanh: 1.1e-7 seen, relative to the cap
FLOAT32 = 5e-7


def test_logits_are_dot_products_with_the_rows_of_the_matrix():
    weight = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]))
    x = torch.tensor([[[2.0, 5.0]]])
    assert OutputProjection(weight)(x).tolist() == [[[2, 5, -3]]]
    projection = OutputProjection(weight, bias=True)
    assert projection(x).tolist() == [[[2, 5, -3]]]  # a bias is zero at first
    projection.bias.data += torch.tensor([10.0, 20.0, 30.0])
    assert projection(x).tolist() == [[[12, 25, 27]]]


def test_the_given_matrix_is_used_itself_and_receives_the_gradient():
    weight = nn.Parameter(torch.randn(3, 2))
    projection = OutputProjection(weight)
    assert projection.weight is weight
    projection(torch.tensor([[[2.0, 5.0]]])).sum().backward()
    assert weight.grad.tolist() == [[2, 5]] * 3
    assert [name for name, _ in projection.named_parameters()] == ["weight"]


@given(logit=st.floats(-1e4, 1e4), cap=st.floats(0.5, 100.0))
def test_the_cap_equals_one_with_the_standard_librarys_tanh(logit: float, cap: float):
    expected = cap * math.tanh(logit / cap)
    found = soft_cap(torch.tensor([logit], dtype=torch.float64), cap).item()
    assert found == pytest.approx(expected, abs=1e-12)
    projection = OutputProjection(nn.Parameter(torch.tensor([[logit]])), cap=cap)
    assert projection(torch.ones(1, 1)).item() == pytest.approx(expected, abs=FLOAT32 * cap)


@given(cap=st.floats(0.5, 100.0), seed=st.integers(0, 2**31))
def test_capped_logits_stay_within_the_cap_keep_their_order_and_hardly_change_near_zero(cap: float, seed: int):
    torch.manual_seed(seed)
    logits = (torch.randn(50).double() * cap).sort().values
    capped = soft_cap(logits, cap)
    assert capped.abs().max() < cap
    assert (capped.diff() > 0).all()
    near = logits[logits.abs() < cap / 100]
    torch.testing.assert_close(soft_cap(near, cap), near, atol=0.0, rtol=1 / 30_000)  # tanh x = x (1 - x² / 3 + …)
    assert (capped * logits >= 0).all()


def test_without_a_cap_logits_are_unlimited():
    assert OutputProjection(nn.Parameter(torch.tensor([[1e6]])))(torch.ones(1, 1)).item() == 1e6


def test_the_tanh_is_computed_in_the_dtype_of_the_weights_under_bfloat16_autocast():
    projection = OutputProjection(nn.Parameter(torch.randn(50, 8)), cap=5.0)
    x = torch.randn(4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        found = projection(x)
        product = torch.nn.functional.linear(x, projection.weight)
    assert product.dtype == torch.bfloat16
    torch.testing.assert_close(found, soft_cap(product.float(), 5.0), atol=0.0, rtol=0.0)
    assert found.dtype == torch.float32
    assert projection.double()(x.double()).dtype == torch.float64
