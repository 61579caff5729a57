import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from clearformer.blocks.alibi import alibi, slopes
from clearformer.blocks.attention import (
    ScaledDotProductAttention,
    SingleHeadAttention,
    attention,
    attention_weights,
    share_heads,
)
from clearformer.blocks.masks import causal_mask, join_masks

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
    sizes=st.tuples(*(st.integers(*bounds) for bounds in ((1, 3), (1, 3), (1, 6), (0, 3), (1, 8)))),
    choices=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    seed=st.integers(0, 2**31),
)
def test_the_kernel_and_its_gradients_equal_the_formula(with_gradients, sizes, choices, seed):
    groups, sharing, length, past, width = sizes
    masked, causal, by_distance = choices
    torch.manual_seed(seed)
    heads, T, S = groups * sharing, length, length + past  # noqa: N806
    q = torch.randn(2, heads, T, width)
    k, v = torch.randn(2, 2, groups, S, width)
    mask = torch.rand(2, 1, T, S) < 0.5 if masked else None  # some rows may see nothing
    core = ScaledDotProductAttention(causal=causal, alibi_heads=heads if by_distance else 0)
    allowed = join_masks(mask, causal_mask(T, S) if causal else None)
    bias = alibi(slopes(heads), T, S) if by_distance else None
    found = with_gradients(lambda q, k, v: core(q, k, v, mask), q, k, v)
    expected = with_gradients(lambda q, k, v: attention(q, k, v, allowed, bias), q, k, v)
    torch.testing.assert_close(found, expected, atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE)


@given(length=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_weights_sum_to_one_or_to_zero_where_nothing_may_be_seen(length: int, seed: int):
    torch.manual_seed(seed)
    mask = torch.rand(2, 1, length, 5) < 0.3
    sums = attention_weights(torch.randn(2, 3, length, 4), torch.randn(2, 3, 5, 4), mask).sum(-1)
    torch.testing.assert_close(sums, mask.any(-1).float().expand(2, 3, length))


def test_heads_in_a_row_share_one_of_keys_and_values():
    x = torch.arange(2.0)[None, :, None, None]  # two heads of one key, 0 and 1
    assert share_heads(x, 6).flatten().tolist() == [0, 0, 0, 1, 1, 1]
    assert share_heads(x, 2).flatten().tolist() == [0, 1]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_queries_equal_heads_whose_keys_and_values_are_repeated(groups: int):
    q, (k, v) = torch.randn(2, 4, 5, 8), torch.randn(2, 2, groups, 5, 8)
    share = [head * groups // 4 for head in range(4)]
    for causal in (False, True):
        core = ScaledDotProductAttention(causal=causal)
        torch.testing.assert_close(
            core(q, k, v), core(q, k[:, share], v[:, share]), atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE
        )


def test_a_bias_is_added_to_the_scores_worked_by_hand():
    q, k, v = row(0.0), row(0.0, 0.0), row(0.0, 4.0)
    bias = torch.tensor([0.0, math.log(3)])[None, None, None]
    torch.testing.assert_close(attention(q, k, v, None, bias), row(3.0))


@pytest.mark.parametrize("causal", [False, True])
def test_alibi_weighs_equal_scores_by_distance_alone_worked_by_hand(causal: bool):
    # four heads: slopes 1/4, 1/16, 1/64, 1/256. The last query of three: distances 2, 1, 0
    core = ScaledDotProductAttention(causal=causal, alibi_heads=4)
    q, k = torch.zeros(2, 1, 4, 3, 3)
    weights = core(q, k, torch.eye(3).expand(1, 4, 3, 3))[0, :, -1]
    powers = torch.tensor([[math.exp(-distance / 4**head) for distance in (2, 1, 0)] for head in (1, 2, 3, 4)])
    torch.testing.assert_close(weights, powers / powers.sum(-1, keepdim=True))


@pytest.mark.parametrize("by_distance", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_rows_that_may_see_nothing_give_zeros_whatever_the_kernel(by_distance: bool, causal: bool, dropout: float):
    core = ScaledDotProductAttention(causal=causal, dropout=dropout, alibi_heads=4 if by_distance else 0)
    q, (k, v) = torch.randn(2, 4, 5, 8).requires_grad_(), torch.randn(2, 2, 2, 5, 8).requires_grad_().unbind()
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    mask[0, :, 3], mask[1] = False, False  # one query of the first text, the whole second
    out = core(q, k, v, mask)
    out.square().sum().backward()
    assert out.isfinite().all()
    assert q.grad.isfinite().all()
    assert out[0, :, 3].abs().max() == out[1].abs().max() == q.grad[1].abs().max() == 0.0
    assert out[0, :, 4].abs().max() > 0.0


@pytest.mark.parametrize("by_distance", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_bfloat16_on_a_cpu_is_computed_in_float32_and_rounded_once(by_distance: bool, masked: bool):
    core = ScaledDotProductAttention(causal=True, alibi_heads=4 if by_distance else 0)
    q, k, v = (torch.randn(2, heads, 5, 8).bfloat16() for heads in (4, 2, 2))
    mask = torch.rand(2, 1, 5, 5) < 0.8 if masked else None
    expected = core(q.float(), k.float(), v.float(), mask).bfloat16()
    assert torch.equal(core(q, k, v, mask), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(core(q, k, v, mask), expected)
        # rotary positions and norms of heads give float32; what comes out is what the values are
        assert torch.equal(core(q.float(), k.float(), v, mask), expected)


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
