import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearformer.blocks.positions import LearnedPositions, SinusoidalPositions, sinusoidal

# sines of float32's own rounding: half a unit in the last place of 1.0
FLOAT32 = 6e-8


def test_sinusoids_of_width_four_worked_by_hand():
    # wavelengths 10000^(0/4) = 1 and 10000^(2/4) = 100
    found = sinusoidal(torch.tensor([0, 1, 50]), 4)
    expected = [[f(p / w) for w in (1, 100) for f in (math.sin, math.cos)] for p in (0, 1, 50)]
    torch.testing.assert_close(found, torch.tensor(expected), atol=FLOAT32, rtol=0.0)


@given(length=st.integers(1, 600), half=st.integers(1, 64), seed=st.integers(0, 2**31))
def test_the_table_equals_the_formula(length: int, half: int, seed: int):
    torch.manual_seed(seed)
    positions = torch.randint(length, (2, 3))
    assert torch.equal(SinusoidalPositions(length, 2 * half)(positions), sinusoidal(positions, 2 * half))


@given(start=st.integers(0, 500), distance=st.integers(0, 500))
def test_a_dot_product_depends_on_the_distance_alone(start: int, distance: int):
    product, at_zero = (torch.dot(*sinusoidal(torch.tensor([p, p + distance]), 16).double()) for p in (start, 0))
    assert product.item() == pytest.approx(at_zero.item(), abs=16 * FLOAT32)


def test_distant_positions_are_as_exact_as_near_ones():
    # computed in float32, the angle of position 100,000 would be off by up to 0.004
    found = sinusoidal(torch.tensor([100_000]), 2)[0]
    expected = torch.tensor([math.sin(100_000), math.cos(100_000)])
    torch.testing.assert_close(found, expected, atol=FLOAT32, rtol=0.0)


def test_a_learned_position_is_its_row_and_only_rows_in_use_receive_a_gradient():
    positions = LearnedPositions(5, 4)
    out = positions(torch.tensor([[0, 2], [2, 4]]))
    assert torch.equal(out, positions.weight[torch.tensor([[0, 2], [2, 4]])])
    out.sum().backward()
    assert positions.weight.grad[:, 0].tolist() == [1, 0, 2, 0, 1]


def test_sinusoids_are_neither_parameters_nor_saved():
    positions = SinusoidalPositions(5, 4)
    assert not list(positions.parameters())
    assert not positions.state_dict()
