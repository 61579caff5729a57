import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearformer.blocks.alibi import alibi, causal_alibi, slopes
from clearformer.blocks.masks import causal_mask

# float32 scores that are up to 130 lower lose last places: 6.6e-7 seen over 3,000 draws
SOFTMAX_TOLERANCE = 5e-6


def test_the_slopes_of_eight_heads_are_the_papers():
    # section 3: "For models with 8 heads, the slopes that we use are the geometric sequence 1/2^1, 1/2^2, ..., 1/2^8"
    assert slopes(8).tolist() == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]


def test_the_slopes_of_sixteen_heads_lie_between_those_of_eight():
    # section 3: interpolated by the geometric mean of each two, so 1/2^0.5, 1/2^1, 1/2^1.5, ..., 1/2^8
    assert slopes(16).tolist() == pytest.approx([2 ** -(h / 2) for h in range(1, 17)], rel=1e-7)


def test_the_slopes_of_twelve_heads_are_those_of_eight_and_every_other_one_of_sixteen():
    of_sixteen = [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert slopes(12).tolist() == pytest.approx([2.0**-h for h in range(1, 9)] + of_sixteen, rel=1e-7)


@pytest.mark.parametrize(("heads", "expected"), [(1, [2**-8]), (2, [2**-4, 2**-8]), (3, [2**-4, 2**-8, 2**-2])])
def test_the_slopes_of_few_heads_worked_by_hand(heads: int, expected: list[float]):
    assert slopes(heads).tolist() == expected


@given(st.integers(1, 200))
def test_there_is_a_slope_for_every_head_and_no_two_are_equal(heads: int):
    found = slopes(heads)
    assert found.shape == (heads,)
    assert len(set(found.tolist())) == heads
    assert (found > 0).all()
    assert (found < 1).all()


def test_scores_fall_by_the_slope_with_every_place_of_distance():
    assert alibi(torch.tensor([1.0, 10.0]), 2, 3).tolist() == [
        [[[-1, 0, -1], [-2, -1, 0]], [[-10, 0, -10], [-20, -10, 0]]]
    ]
    assert causal_alibi(torch.tensor([1.0, 10.0]), 3).tolist() == [[[[-2, -1, 0]], [[-20, -10, 0]]]]


@given(length=st.integers(1, 6), past=st.integers(0, 6), heads=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_under_a_causal_mask_the_short_form_has_the_same_softmax(length: int, past: int, heads: int, seed: int):
    torch.manual_seed(seed)
    T, S = length, length + past  # noqa: N806
    m, scores = slopes(heads) * 12, torch.randn(2, heads, T, S)
    mask = causal_mask(T, S)
    short, full = (
        (scores + bias).masked_fill(~mask, -torch.inf).softmax(-1) for bias in (causal_alibi(m, S), alibi(m, T, S))
    )
    torch.testing.assert_close(short, full, atol=SOFTMAX_TOLERANCE, rtol=0.0)
