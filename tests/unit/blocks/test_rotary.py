import cmath
import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearformer.blocks.rotary import AS_TRAINED, RotaryPositions, frequencies, rotary
from clearformer.config import RotaryScaling

# the table's float32 cosines, and a float32 product with each: 1.9e-7 seen over 3,000 draws, relative to 1 + the value
KERNEL_TOLERANCE = 1e-6
# float64 throughout, with angles of up to 1,200: 1.9e-13 seen over 3,000 draws
EXACT = 1e-11

lengths, halves = st.integers(1, 600), st.integers(1, 8)
seeds = st.integers(0, 2**31)


def test_two_pairs_are_rotated_by_angles_worked_by_hand():
    # width 4: angles p / 10000^0 = 3 and p / 10000^(1/2) = 0.03; the pairs are (1, 2) and (10, 20), half a head apart
    x = torch.tensor([1.0, 10.0, 2.0, 20.0]).double()[None, None, None]
    first, second = complex(1, 2) * cmath.exp(3j), complex(10, 20) * cmath.exp(0.03j)
    expected = [first.real, second.real, first.imag, second.imag]
    assert rotary(x, torch.tensor([3])).flatten().tolist() == pytest.approx(expected, abs=EXACT)
    found = RotaryPositions(4, 4)(x.float(), torch.tensor([3])).flatten().tolist()
    assert found == pytest.approx(expected, rel=KERNEL_TOLERANCE)


@given(length=lengths, half=halves, scaling=st.sampled_from([AS_TRAINED, RotaryScaling(8.0, 30)]), seed=seeds)
def test_the_kernel_equals_the_formula(assert_equivalent, length: int, half: int, scaling: RotaryScaling, seed: int):
    torch.manual_seed(seed)
    x, rotate = torch.randn(2, 3, 4, 2 * half), RotaryPositions(length, 2 * half, scaling=scaling)
    for positions in (torch.randint(length, (4,)), torch.randint(length, (2, 4))):
        kernel, formula = partial(rotate, positions=positions), partial(rotary, positions=positions, scaling=scaling)
        assert_equivalent(kernel, formula, x, tolerance=KERNEL_TOLERANCE)


# a base of (100 / 5π)² gives the second of two pairs the angle π/20 a token, which is 2.5 turns in 100 tokens
BASE = (100 / (5 * math.pi)) ** 2


@pytest.mark.parametrize(
    ("scaling", "shares"),
    [
        (AS_TRAINED, (1.0, 1.0)),
        (RotaryScaling(8.0), (1 / 8, 1 / 8)),
        (RotaryScaling(8.0, 100), (1.0, (1 + 1 / 8) / 2)),  # 2.5 turns are halfway between 1 and 4; 15.9 are above
        (RotaryScaling(8.0, 100, low=2.6), (1.0, 1 / 8)),
        (RotaryScaling(8.0, 100, high=2.4), (1.0, 1.0)),
        (RotaryScaling(8.0, 100, high=2.5, low=0.5), (1.0, 1.0)),
    ],
)
def test_slow_pairs_are_slowed_by_the_factor_and_fast_ones_kept(scaling: RotaryScaling, shares: tuple[float, float]):
    expected = [shares[0], shares[1] * math.pi / 20]
    assert frequencies(2, BASE, scaling).tolist() == pytest.approx(expected, rel=EXACT)


@given(query=lengths, key=lengths, shift=lengths, half=halves, seed=seeds)
def test_a_score_depends_on_the_distance_alone(query: int, key: int, shift: int, half: int, seed: int):
    torch.manual_seed(seed)
    q, k = torch.randn(2, 1, 1, 1, 2 * half).double()

    def score(p: int, s: int) -> float:
        return (rotary(q, torch.tensor([p])) * rotary(k, torch.tensor([s]))).sum().item()

    assert score(query, key) == pytest.approx(score(query + shift, key + shift), abs=EXACT)


def test_a_score_depends_on_the_distance_and_its_sign():
    q, k = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 1.0]]]])
    rotate = RotaryPositions(3, 2)
    # a key a quarter turn ahead of its query, which is at position 1: cos(pi/2 + s - 1) = -sin(s - 1)
    scores = [(rotate(q, torch.tensor([1])) * rotate(k, torch.tensor([s]))).sum().item() for s in range(3)]
    assert scores == pytest.approx([math.sin(1), 0.0, -math.sin(1)], abs=KERNEL_TOLERANCE)


@given(half=halves, seed=seeds)
def test_position_0_is_not_rotated(half: int, seed: int):
    torch.manual_seed(seed)
    x = torch.randn(2, 3, 1, 2 * half)
    assert torch.equal(RotaryPositions(5, 2 * half)(x, torch.tensor([0])), x)
    assert torch.equal(rotary(x, torch.tensor([0])), x)


@given(length=lengths, half=halves, seed=seeds)
def test_a_rotation_keeps_the_norm_of_every_vector(length: int, half: int, seed: int):
    torch.manual_seed(seed)
    x, positions = torch.randn(2, 3, 4, 2 * half), torch.randint(length, (4,))
    rotated = RotaryPositions(length, 2 * half)(x, positions)
    torch.testing.assert_close(rotated.norm(dim=-1), x.norm(dim=-1), atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE)


def test_rows_at_different_positions_equal_each_row_alone():
    x, rotate = torch.randn(3, 2, 4, 6), RotaryPositions(20, 6)
    positions = torch.tensor([[0, 1, 2, 3], [7, 8, 9, 10], [5, 1, 19, 5]])
    together = rotate(x, positions)
    for row in range(3):
        assert torch.equal(together[row : row + 1], rotate(x[row : row + 1], positions[row]))
    assert torch.equal(rotate(x, positions[:1].expand(3, 4)), rotate(x, positions[0]))


def test_distant_positions_are_as_exact_as_near_ones():
    # computed in float32, the angle of position 100,000 would be off by up to 0.004
    x = torch.tensor([[[[1.0, 0.0]]]])
    found = RotaryPositions(100_001, 2)(x, torch.tensor([100_000])).flatten().tolist()
    assert found == pytest.approx([math.cos(100_000), math.sin(100_000)], abs=KERNEL_TOLERANCE)


def test_the_tables_are_neither_parameters_nor_saved():
    assert not list(RotaryPositions(5, 4).parameters())
    assert not RotaryPositions(5, 4).state_dict()
