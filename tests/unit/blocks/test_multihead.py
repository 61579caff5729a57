from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from clearformer.blocks.alibi import alibi, slopes
from clearformer.blocks.attention import attention
from clearformer.blocks.masks import causal_mask, join_masks
from clearformer.blocks.multihead import (
    CrossAttention,
    MultiHeadAttention,
    join_heads,
    multi_head_attention,
    split_heads,
)
from clearformer.blocks.norm import EPS, LayerNorm, RMSNorm, layer_norm, rms_norm
from clearformer.blocks.rotary import RotaryPositions, rotary

# float64 sums in another order, through two projections: below 2e-12 in 2,000 draws, relative to 1 + the value
KERNEL_TOLERANCE = 1e-11
# the same with the rotary table's float32 cosines: 5.8e-7 seen over 600 draws
TABLE_TOLERANCE = 1e-5


@settings(max_examples=200)
@given(
    kind=st.sampled_from(["self", "causal", "cross"]),
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)),
    d_model=st.none() | st.integers(1, 9),
    masked=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_fused_projections_equal_the_formula_head_by_head(
    assert_equivalent, kind, sizes, d_model: int | None, masked: bool, seed: int
):
    groups, sharing, width, T, S = sizes  # noqa: N806
    torch.manual_seed(seed)
    H, S = groups * sharing, S if kind == "cross" else T  # noqa: N806
    D = d_model or H * width  # noqa: N806
    shapes = (2, T, D), (2, S, D), (H, width, D), (2, groups, width, D), (D, H * width)
    inputs = [torch.randn(shape).double() for shape in shapes]
    mask = torch.rand(2, 1, 1, S) < 0.7 if masked else None
    make = CrossAttention if kind == "cross" else partial(MultiHeadAttention, causal=kind == "causal")
    block = make(D, H, num_kv_heads=groups, head_width=width if d_model else None, bias=False)

    def fused(x, memory, queries, keys_values, output):
        queries, keys_values = queries.flatten(0, 1), keys_values.flatten(0, 2)
        weights = {"output_projection.weight": output}
        if kind == "cross":
            weights |= {"query_projection.weight": queries, "kv_projection.weight": keys_values}
            return functional_call(block, weights, (x, memory, mask))
        return functional_call(block, weights | {"qkv_projection.weight": torch.cat((queries, keys_values))}, (x, mask))

    def formula(x, memory, queries, keys_values, output):
        share = [head // sharing for head in range(H)]
        projections = torch.stack((queries, keys_values[0, share], keys_values[1, share]))
        full_mask = join_masks(mask, causal_mask(T, T) if kind == "causal" else None)
        return multi_head_attention(x, memory if kind == "cross" else x, projections, output, full_mask)

    assert_equivalent(fused, formula, *inputs, tolerance=KERNEL_TOLERANCE)


@given(
    norm=st.sampled_from([None, "layer", "rms"]),
    positions=st.sampled_from([None, "rotary", "alibi"]),
    groups=st.sampled_from([1, 2, 4]),
    causal=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_norms_and_positions_of_heads_equal_their_formulas_head_by_head(
    assert_equivalent, scramble, norm, positions, groups: int, causal: bool, seed: int
):
    torch.manual_seed(seed)
    H, E, T, D = 4, 6, 5, 24  # noqa: N806
    norms = {"layer": (LayerNorm(E), LayerNorm(E)), "rms": (RMSNorm(E), RMSNorm(E))}.get(norm)
    given_positions = RotaryPositions(T, E) if positions == "rotary" else positions
    block = MultiHeadAttention(D, H, num_kv_heads=groups, causal=causal, norms=norms, positions=given_positions)
    scramble(block.double(), seed)
    mask = causal_mask(T, T) if causal else None
    bias = alibi(slopes(H), T, T) if positions == "alibi" else None

    def prepare(x, which):
        if norm == "layer":
            x = layer_norm(x, which.weight, which.bias, EPS)
        if norm == "rms":
            x = rms_norm(x, which.weight, EPS)
        return rotary(x, torch.arange(T)) if positions == "rotary" else x

    def formula(x):
        parts = (x @ block.qkv_projection.weight.T + block.qkv_projection.bias).unflatten(-1, (-1, E)).unbind(2)
        queries, keys, values = parts[:H], parts[H : H + groups], parts[H + groups :]
        heads = []
        for head in range(H):
            shared = head * groups // H
            q, k = prepare(queries[head][:, None], block.query_norm), prepare(keys[shared][:, None], block.key_norm)
            head_bias = None if bias is None else bias[:, head : head + 1]
            heads.append(attention(q, k, values[shared][:, None], mask, head_bias)[:, 0])
        return torch.cat(heads, -1) @ block.output_projection.weight.T + block.output_projection.bias

    x = torch.linspace(-2, 2, 2 * T * D).double().sin().view(2, T, D)
    tolerance = TABLE_TOLERANCE if positions == "rotary" else KERNEL_TOLERANCE
    assert_equivalent(block, formula, x, tolerance=tolerance, module=block)


def test_cross_attention_normalises_queries_and_keys_with_a_norm_each_but_not_values(scramble):
    block = CrossAttention(8, 2, num_kv_heads=1, bias=False, norms=(RMSNorm(4), RMSNorm(4)))
    scramble(block.double())
    x, memory = torch.randn(2, 3, 8).double(), torch.randn(2, 5, 8).double()
    k, v = (memory @ block.kv_projection.weight.T).chunk(2, -1)
    k, heads = rms_norm(k, block.key_norm.weight, EPS), []
    for q in (x @ block.query_projection.weight.T).chunk(2, -1):
        q = rms_norm(q, block.query_norm.weight, EPS)
        heads.append(attention(q[:, None], k[:, None], v[:, None])[:, 0])
    expected = torch.cat(heads, -1) @ block.output_projection.weight.T
    torch.testing.assert_close(block(x, memory), expected, atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE)


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        ((2, 2, 2), [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]]]),
        ((2, 1, 1), [[[0, 1], [2, 3]], [[4, 5]], [[6, 7]]]),
    ],
)
def test_queries_come_before_keys_before_values_each_head_by_head(heads: tuple[int, ...], expected: list):
    x = torch.arange(2.0 * sum(heads))[None, None]  # one token, heads of width two
    assert [part[0, :, 0].tolist() for part in split_heads(x, *heads)] == expected


def test_joining_heads_undoes_splitting_them():
    x = torch.randn(2, 3, 8)
    (heads,) = split_heads(x, 4)
    assert heads.shape == (2, 4, 3, 2)
    assert torch.equal(join_heads(heads), x)


def test_weights_of_a_head_affect_no_other_head():
    x, block = torch.randn(1, 5, 8), MultiHeadAttention(8, 4)
    before = []
    block.output_projection.register_forward_pre_hook(lambda _, inputs: before.append(inputs[0]))
    block(x)
    with torch.no_grad():
        block.qkv_projection.weight[2:4] += 1.0  # the second head's queries
    block(x)
    assert (before[0] != before[1]).any(1)[0].nonzero().flatten().tolist() == [2, 3]


@pytest.mark.parametrize(
    ("block", "projections"), [(MultiHeadAttention, ["qkv", "output"]), (CrossAttention, ["query", "kv", "output"])]
)
def test_without_bias_only_matrices_remain(block: type, projections: list[str]):
    names = [name for name, _ in block(8, 2, bias=False).named_parameters()]
    assert names == [f"{name}_projection.weight" for name in projections]


def test_each_head_has_its_own_slope_which_is_neither_learned_nor_saved():
    block = MultiHeadAttention(8, 4, positions="alibi")
    assert block.core.slopes.tolist() == [1 / 4, 1 / 16, 1 / 64, 1 / 256]
    assert block.state_dict().keys() == MultiHeadAttention(8, 4).state_dict().keys()
    assert CrossAttention(8, 4).core.slopes is MultiHeadAttention(8, 4).core.slopes is None


@pytest.mark.parametrize(("block", "inputs"), [(MultiHeadAttention, 1), (CrossAttention, 2)])
def test_attention_dropout_is_on_in_training_and_off_in_evaluation(block: type, inputs: int):
    module, x = block(8, 2, dropout=0.5), torch.randn(inputs, 2, 4, 8)
    assert not torch.equal(module(*x), module(*x))
    module.eval()
    assert torch.equal(module(*x), module(*x))
