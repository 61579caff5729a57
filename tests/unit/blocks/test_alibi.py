import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearformer.blocks.alibi import alibi, causal_alibi, slopes
from clearformer.blocks.masks import causal_mask

# float32 scores that are up to 130 lower lose last places: 6.6e-7 seen over 3,000 draws
SOFTMAX_TOLERANCE = 5e-6


@pytest.mark.parametrize(
    ("heads", "exponents"),
    [
        (1, [8]),
        (2, [4, 8]),
        (3, [4, 8, 2]),
        # section 3: "For models with 8 heads, [...] the geometric sequence 1/2^1, 1/2^2, ..., 1/2^8"
        (8, range(1, 9)),
        # section 3: 16 heads interpolate by the geometric mean of each two: 1/2^0.5, 1/2^1, 1/2^1.5, ..., 1/2^8
        (16, [h / 2 for h in range(1, 17)]),
        # those of 8, then every other one of 16
        (12, [*range(1, 9), 0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_slopes_are_those_of_the_paper(heads: int, exponents: list[float]):
    assert torch.equal(slopes(heads), torch.tensor([2.0**-exponent for exponent in exponents]))


@given(st.integers(1, 200))
def test_every_head_has_a_slope_between_0_and_1_that_no_other_head_has(heads: int):
    distinct = set(slopes(heads).tolist())
    assert len(distinct) == len(slopes(heads)) == heads
    assert 0 < min(distinct) <= max(distinct) < 1


def test_scores_fall_by_the_slope_for_each_position_of_distance():
    m = torch.tensor([1.0, 10.0])
    assert alibi(m, 2, 3).tolist() == [[[[-1, 0, -1], [-2, -1, 0]], [[-10, 0, -10], [-20, -10, 0]]]]
    assert causal_alibi(m, 3).tolist() == [[[[-2, -1, 0]], [[-20, -10, 0]]]]


@given(length=st.integers(1, 6), past=st.integers(0, 6), heads=st.integers(1, 12), seed=st.integers(0, 2**31))
def test_under_a_causal_mask_the_shorter_bias_has_the_same_softmax(length: int, past: int, heads: int, seed: int):
    torch.manual_seed(seed)
    T, S = length, length + past  # noqa: N806
    m, scores = slopes(heads) * 12, torch.randn(2, heads, T, S).masked_fill(~causal_mask(T, S), -torch.inf)
    shorter, full = ((scores + bias).softmax(-1) for bias in (causal_alibi(m, S), alibi(m, T, S)))
    torch.testing.assert_close(shorter, full, atol=SOFTMAX_TOLERANCE, rtol=0.0)
