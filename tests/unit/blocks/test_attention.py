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

with_and_without_alibi = pytest.mark.parametrize("alibi_heads", [0, 4])
causal_or_not = pytest.mark.parametrize("causal", [False, True])


def row(*values: float) -> torch.Tensor:
    """Tokens of width one in one head."""
    return torch.tensor(values)[None, None, :, None]


@pytest.mark.parametrize(("causal", "expected"), [(False, [3.0, 3.6]), (True, [0.0, 3.6])])
def test_attention_of_two_tokens_worked_by_hand(causal: bool, expected: list[float]):
    # scores of query 1: (0, ln 3), weights (1/4, 3/4); of query 2: (0, ln 9), weights (1/10, 9/10); values 0 and 4
    q, k, v = row(1.0, 2.0), row(0.0, math.log(3)), row(0.0, 4.0)
    torch.testing.assert_close(attention_weights(q, k)[0, 0], torch.tensor([[0.25, 0.75], [0.1, 0.9]]))
    mask = causal_mask(2, 2) if causal else None
    for out in (attention(q, k, v, mask), ScaledDotProductAttention(causal=causal)(q, k, v)):
        torch.testing.assert_close(out, row(*expected))


def test_scores_are_divided_by_the_root_of_the_head_width():
    # 2 · ln 3 / sqrt(4) = ln 3
    q, k = torch.tensor([2.0, 0, 0, 0]).view(1, 1, 1, 4), torch.tensor([[0.0] * 4, [math.log(3), 0, 0, 0]])[None, None]
    v = row(0.0, 4.0).expand(1, 1, 2, 4)
    for function in (attention, ScaledDotProductAttention()):
        torch.testing.assert_close(function(q, k, v), torch.full((1, 1, 1, 4), 3.0))


def test_a_bias_is_added_to_the_scores():
    bias = torch.tensor([0.0, math.log(3)])[None, None, None]
    torch.testing.assert_close(attention(row(0.0), row(0.0, 0.0), row(0.0, 4.0), None, bias), row(3.0))


@causal_or_not
def test_alibi_weights_equal_scores_by_distance_alone(causal: bool):
    # four heads: slopes 1/4, 1/16, 1/64, 1/256. The last query of three: distances 2, 1, 0
    core = ScaledDotProductAttention(causal=causal, alibi_heads=4)
    q, k = torch.zeros(2, 1, 4, 3, 3)
    weights = core(q, k, torch.eye(3).expand(1, 4, 3, 3))[0, :, -1]
    powers = torch.tensor([[math.exp(-distance / 4**head) for distance in (2, 1, 0)] for head in (1, 2, 3, 4)])
    torch.testing.assert_close(weights, powers / powers.sum(-1, keepdim=True))


@settings(max_examples=60)
@given(
    sizes=st.tuples(*(st.integers(*bounds) for bounds in ((1, 3), (1, 3), (1, 6), (0, 3), (1, 8)))),
    choices=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    seed=st.integers(0, 2**31),
)
def test_the_kernel_equals_the_formula(assert_equivalent, sizes, choices, seed):
    groups, sharing, length, past, width = sizes
    masked, causal, with_alibi = choices
    torch.manual_seed(seed)
    heads, T, S = groups * sharing, length, length + past  # noqa: N806
    q = torch.randn(2, heads, T, width)
    k, v = torch.randn(2, 2, groups, S, width)
    mask = torch.rand(2, 1, T, S) < 0.5 if masked else None  # some rows are all False
    core = ScaledDotProductAttention(causal=causal, alibi_heads=heads if with_alibi else 0)
    full_mask = join_masks(mask, causal_mask(T, S) if causal else None)
    bias = alibi(slopes(heads), T, S) if with_alibi else None
    assert_equivalent(
        lambda q, k, v: core(q, k, v, mask),
        lambda q, k, v: attention(q, k, v, full_mask, bias),
        *(q, k, v),
        tolerance=KERNEL_TOLERANCE,
    )


@given(length=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_weights_sum_to_one_or_to_zero_where_no_key_is_allowed(length: int, seed: int):
    torch.manual_seed(seed)
    mask = torch.rand(2, 1, length, 5) < 0.3
    sums = attention_weights(torch.randn(2, 3, length, 4), torch.randn(2, 3, 5, 4), mask).sum(-1)
    torch.testing.assert_close(sums, mask.any(-1).float().expand(2, 3, length))


def test_consecutive_query_heads_share_a_key_value_head():
    x = torch.arange(2.0)[None, :, None, None]  # two heads of one key, 0 and 1
    assert share_heads(x, 6).flatten().tolist() == [0, 0, 0, 1, 1, 1]
    assert share_heads(x, 2).flatten().tolist() == [0, 1]


@causal_or_not
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_grouped_query_attention_equals_attention_to_repeated_heads(groups: int, causal: bool):
    q, (k, v) = torch.randn(2, 4, 5, 8), torch.randn(2, 2, groups, 5, 8)
    share = [head * groups // 4 for head in range(4)]
    core = ScaledDotProductAttention(causal=causal)
    expected = core(q, k[:, share], v[:, share])
    torch.testing.assert_close(core(q, k, v), expected, atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE)


@with_and_without_alibi
@causal_or_not
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_query_without_allowed_keys_yields_zeros_and_finite_gradients(alibi_heads: int, causal: bool, dropout: float):
    core = ScaledDotProductAttention(causal=causal, dropout=dropout, alibi_heads=alibi_heads)
    inputs = [torch.randn(2, heads, 5, 8, requires_grad=True) for heads in (4, 2, 2)]
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    mask[0, :, 3], mask[1] = False, False  # one query of the first text, the whole second
    mask[0, :, 0, 0] = False  # the only key of a causal first query
    empty = [0, 3] if causal else [3]
    for out in (core(*inputs, mask), attention(*inputs, core.mask(5, 5, mask, mask.device), core.bias(5, 5))):
        gradients = torch.autograd.grad(out, inputs, torch.randn_like(out))
        assert all(value.isfinite().all() for value in (out, *gradients))
        for value in (out, gradients[0]):
            assert value[0, :, empty].abs().max() == value[1].abs().max() == 0.0
            assert value[0, :, 4].abs().max() > 0.0


@with_and_without_alibi
@pytest.mark.parametrize("masked", [False, True])
def test_bfloat16_on_a_cpu_is_computed_in_float32_and_rounded_once(alibi_heads: int, masked: bool):
    core = ScaledDotProductAttention(causal=True, alibi_heads=alibi_heads)
    q, k, v = (torch.randn(2, heads, 5, 8).bfloat16() for heads in (4, 2, 2))
    mask = torch.rand(2, 1, 5, 5) < 0.8 if masked else None
    expected = core(q.float(), k.float(), v.float(), mask).bfloat16()
    assert torch.equal(core(q, k, v, mask), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(core(q, k, v, mask), expected)
        # rotary positions and norms of heads give float32; the output has the dtype of the values
        assert torch.equal(core(q.float(), k.float(), v, mask), expected)


@pytest.mark.parametrize("size", [1.0, 1e3, 1e15])
def test_no_score_is_large_enough_to_overcome_a_mask(size: float):
    q = torch.full((1, 1, 1, 4), size)
    k = torch.stack((-torch.ones(4), torch.ones(4)))[None, None] * size  # by its score, the second key would win
    v = torch.tensor([[0.0] * 4, [1.0] * 4])[None, None]
    mask = torch.tensor([True, False])[None, None, None]
    for function in (attention, ScaledDotProductAttention()):
        assert function(q, k, v, mask).abs().max() == 0.0


@causal_or_not
def test_dropout_doubles_or_drops_each_weight_in_training_and_is_off_in_evaluation(causal: bool):
    core = ScaledDotProductAttention(causal=causal, dropout=0.5)
    q, k = torch.randn(2, 4, 3, 16, 16)
    identity = torch.eye(16).expand(4, 3, 16, 16)  # with these values the outputs are the weights
    weights = attention_weights(q, k, causal_mask(16, 16) if causal else None)
    torch.testing.assert_close(core.eval()(q, k, identity), weights, atol=1e-6, rtol=1e-4)
    large = weights > 1e-6  # the quotient of smaller ones is not exact enough
    ratio = core.train()(q, k, identity)[large] / weights[large]
    kept = ratio > 1.0
    torch.testing.assert_close(ratio, 2.0 * kept, atol=1e-3, rtol=0.0)
    assert abs(kept.float().mean() - 0.5) < 4 * 0.5 / math.sqrt(len(ratio))  # four standard deviations


@given(seed=st.integers(0, 2**31))
def test_a_single_head_is_the_formula_on_projected_tokens(assert_equivalent, seed: int):
    torch.manual_seed(seed)
    inputs = [torch.randn(shape).double() for shape in ((2, 3, 6), (2, 4, 6), (3, 2, 6))]
    head = SingleHeadAttention(6, 2)
    names = [f"{name}_projection.weight" for name in ("query", "key", "value")]

    def formula(x, memory, projections):
        q, k, v = x @ projections[0].T, memory @ projections[1].T, memory @ projections[2].T
        return attention(q[:, None], k[:, None], v[:, None])[:, 0]

    def block(x, memory, projections):
        return functional_call(head, dict(zip(names, projections, strict=True)), (x, memory))

    assert_equivalent(block, formula, *inputs, tolerance=PROJECTED_TOLERANCE)


def test_a_causal_single_head_attends_to_no_later_token(dependents):
    head = SingleHeadAttention(6, 2, causal=True)
    assert dependents(lambda x: head(x, x), torch.randn(1, 4, 6), 2) == [2, 3]
