import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from clearformer.blocks.attention import ScaledDotProductAttention, SingleHeadAttention, attention, attention_weights
from clearformer.blocks.masks import causal_mask

# float32 sums in another order, over up to 9 keys and heads of width 8: 8.9e-7 seen over 3,000 draws
KERNEL_TOLERANCE = 1e-5
# float64 through a projection of width six as well, which makes large scores: as in test_multihead.py
PROJECTED_TOLERANCE = 1e-11


def row(*values: float) -> torch.Tensor:
    """Tokens of width one in one head."""
    return torch.tensor(values)[None, None, :, None]


def test_attention_of_two_tokens_worked_by_hand():
    # scores of query 1: (0, ln 3), weights (1/4, 3/4); of query 2: (0, ln 9), weights (1/10, 9/10); values 0 and 4
    q, k, v = row(1.0, 2.0), row(0.0, math.log(3)), row(0.0, 4.0)
    torch.testing.assert_close(attention_weights(q, k)[0, 0], torch.tensor([[0.25, 0.75], [0.1, 0.9]]))
    for function in (attention, ScaledDotProductAttention()):
        torch.testing.assert_close(function(q, k, v), row(3.0, 3.6))


def test_causal_attention_of_two_tokens_worked_by_hand():
    q, k, v = row(1.0, 2.0), row(0.0, math.log(3)), row(0.0, 4.0)
    torch.testing.assert_close(attention(q, k, v, causal_mask(2, 2)), row(0.0, 3.6))
    torch.testing.assert_close(ScaledDotProductAttention(causal=True)(q, k, v), row(0.0, 3.6))


def test_scores_are_divided_by_the_root_of_the_head_width():
    # 2 · ln 3 / sqrt(4) = ln 3
    q, k = torch.tensor([2.0, 0, 0, 0]).view(1, 1, 1, 4), torch.tensor([[0.0] * 4, [math.log(3), 0, 0, 0]])[None, None]
    v = torch.tensor([0.0, 4.0])[None, None, :, None].expand(1, 1, 2, 4)
    torch.testing.assert_close(attention_weights(q, k).flatten(), torch.tensor([0.25, 0.75]))
    for function in (attention, ScaledDotProductAttention()):
        torch.testing.assert_close(function(q, k, v), torch.full((1, 1, 1, 4), 3.0))


@settings(max_examples=60)
@given(
    heads=st.integers(1, 3),
    length=st.integers(1, 6),
    past=st.integers(0, 3),
    width=st.integers(1, 8),
    masked=st.booleans(),
    causal=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_the_kernel_and_its_gradients_equal_the_formula(
    with_gradients, heads, length, past, width, masked, causal, seed
):
    torch.manual_seed(seed)
    q = torch.randn(2, heads, length, width)
    k, v = torch.randn(2, 2, heads, length + past, width)
    given_mask = torch.rand(2, 1, length, length + past) < 0.5 if masked else None  # some rows may see nothing
    core = ScaledDotProductAttention(causal=causal)
    allowed = torch.ones(1, 1, length, length + past, dtype=torch.bool) if given_mask is None else given_mask
    if causal:
        allowed = allowed & causal_mask(length, length + past)
    found = with_gradients(lambda q, k, v: core(q, k, v, given_mask), q, k, v)
    expected = with_gradients(lambda q, k, v: attention(q, k, v, allowed), q, k, v)
    torch.testing.assert_close(found, expected, atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE)


@given(length=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_weights_sum_to_one_or_to_zero_where_nothing_may_be_seen(length: int, seed: int):
    torch.manual_seed(seed)
    mask = torch.rand(2, 1, length, 5) < 0.3
    sums = attention_weights(torch.randn(2, 3, length, 4), torch.randn(2, 3, 5, 4), mask).sum(-1)
    torch.testing.assert_close(sums, mask.any(-1).float().expand(2, 3, length))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kernel", [False, True])
def test_a_query_that_may_see_nothing_gets_zeros_and_finite_gradients(with_gradients, kernel: bool, causal: bool):
    q, k, v = torch.randn(3, 1, 2, 3, 4)
    mask = torch.ones(1, 1, 3, 3, dtype=torch.bool)
    # with causal attention the first query may only see the first key: hiding that leaves it nothing
    mask[..., 0, 0 if causal else slice(None)] = False
    core = ScaledDotProductAttention(causal=causal)
    if kernel:
        found = with_gradients(lambda q, k, v: core(q, k, v, mask), q, k, v)
    else:
        allowed = mask & causal_mask(3, 3) if causal else mask
        found = with_gradients(lambda q, k, v: attention(q, k, v, allowed), q, k, v)
    assert all(value.isfinite().all() for value in found)
    assert found[0][:, :, 0].abs().max() == 0.0
    assert found[0][:, :, 1:].abs().min() > 0.0
    assert found[1][:, :, 0].abs().max() == 0.0  # its query changes nothing


@pytest.mark.parametrize("size", [1.0, 1e3, 1e15])
def test_no_score_is_so_large_that_a_masked_key_is_seen(size: float):
    q = torch.full((1, 1, 1, 4), size)
    k = torch.stack((-torch.ones(4), torch.ones(4)))[None, None] * size  # by its score, the second key would win
    v = torch.tensor([[0.0] * 4, [1.0] * 4])[None, None]
    mask = torch.tensor([True, False])[None, None, None]
    for function in (attention, ScaledDotProductAttention()):
        assert function(q, k, v, mask).abs().max() == 0.0


@pytest.mark.parametrize("causal", [False, True])
def test_dropout_doubles_or_drops_each_weight_in_training_and_is_off_in_evaluation(causal: bool):
    core = ScaledDotProductAttention(causal=causal, dropout=0.5)
    q, k = torch.randn(2, 4, 3, 16, 16)
    identity = torch.eye(16).expand(4, 3, 16, 16)  # the values: what comes out is the weights
    weights = attention_weights(q, k, causal_mask(16, 16) if causal else None)
    torch.testing.assert_close(core.eval()(q, k, identity), weights, atol=1e-6, rtol=1e-4)
    seen = weights > 1e-6  # below that, a quotient says nothing
    ratio = core.train()(q, k, identity)[seen] / weights[seen]
    kept = ratio > 1.0
    torch.testing.assert_close(ratio, 2.0 * kept, atol=1e-3, rtol=0.0)
    assert abs(kept.float().mean() - 0.5) < 4 * 0.5 / math.sqrt(len(ratio))  # four standard deviations


@given(seed=st.integers(0, 2**31))
def test_a_single_head_is_the_formula_on_projected_tokens(with_gradients, seed: int):
    torch.manual_seed(seed)
    x, memory, projections = (torch.randn(shape).double() for shape in ((2, 3, 6), (2, 4, 6), (3, 2, 6)))
    head = SingleHeadAttention(6, 2)
    names = [f"{name}_projection.weight" for name in ("query", "key", "value")]

    def formula(x, memory, projections):
        q, k, v = x @ projections[0].T, memory @ projections[1].T, memory @ projections[2].T
        return attention(q[:, None], k[:, None], v[:, None])[:, 0]

    def block(x, memory, projections):
        return functional_call(head, dict(zip(names, projections, strict=True)), (x, memory))

    found, expected = (with_gradients(function, x, memory, projections) for function in (block, formula))
    torch.testing.assert_close(found, expected, atol=PROJECTED_TOLERANCE, rtol=PROJECTED_TOLERANCE)


def test_a_causal_single_head_sees_no_later_token():
    head, x = SingleHeadAttention(6, 2, causal=True), torch.randn(1, 4, 6)
    changed = x.clone()
    changed[:, 2:] += 1.0
    assert torch.equal(head(x, x)[:, :2], head(changed, changed)[:, :2])
