import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from clearformer.blocks.alibi import alibi, slopes
from clearformer.blocks.attention import attention
from clearformer.blocks.masks import causal_mask
from clearformer.blocks.multihead import (
    CrossAttention,
    MultiHeadAttention,
    join_heads,
    multi_head_attention,
    split_heads,
)
from clearformer.blocks.norm import EPS, LayerNorm, RMSNorm, layer_norm, rms_norm
from clearformer.blocks.rotary import RotaryPositions, rotary

# float64 sums in another order, through two projections: 4.2e-13 seen over 3,000 draws
KERNEL_TOLERANCE = 1e-11
# the same with the rotary table's float32 cosines: 5.8e-7 seen over 600 draws
TABLE_TOLERANCE = 1e-5


@given(
    heads=st.integers(1, 4),
    width=st.integers(1, 4),
    length=st.integers(1, 5),
    causal=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_the_fused_projection_computes_what_the_formula_does_head_by_head(
    with_gradients, heads: int, width: int, length: int, causal: bool, seed: int
):
    torch.manual_seed(seed)
    D = heads * width  # noqa: N806
    shapes = (2, length, D), (3, heads, width, D), (D, D)
    x, projections, output = (torch.randn(shape).double() for shape in shapes)
    block = MultiHeadAttention(D, heads, causal=causal, bias=False)
    mask = causal_mask(length, length) if causal else None

    def fused(x, projections, output):
        weights = {"qkv_projection.weight": projections.reshape(3 * D, D), "output_projection.weight": output}
        return functional_call(block, weights, x)

    found = with_gradients(fused, x, projections, output)
    expected = with_gradients(lambda x, p, o: multi_head_attention(x, x, p, o, mask), x, projections, output)
    torch.testing.assert_close(found, expected, atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE)


@given(heads=st.integers(1, 4), width=st.integers(1, 4), source=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_cross_attention_equals_the_formula_and_so_do_its_gradients(with_gradients, heads, width, source, seed):
    torch.manual_seed(seed)
    D = heads * width  # noqa: N806
    inputs = [torch.randn(shape).double() for shape in ((2, 3, D), (2, source, D), (3, heads, width, D), (D, D))]
    mask = torch.rand(2, 1, 1, source) < 0.7
    block = CrossAttention(D, heads, bias=False)

    def fused(x, memory, projections, output):
        weights = {
            "query_projection.weight": projections[0].reshape(D, D),
            "kv_projection.weight": projections[1:].reshape(2 * D, D),
            "output_projection.weight": output,
        }
        return functional_call(block, weights, (x, memory, mask))

    found = with_gradients(fused, *inputs)
    expected = with_gradients(lambda *leaves: multi_head_attention(*leaves, mask), *inputs)
    torch.testing.assert_close(found, expected, atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE)


@given(
    groups=st.integers(1, 3),
    sharing=st.integers(1, 3),
    width=st.integers(1, 4),
    cross=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_grouped_queries_equal_the_formula_with_each_keys_and_values_used_again(
    with_gradients, groups: int, sharing: int, width: int, cross: bool, seed: int
):
    torch.manual_seed(seed)
    H, D = groups * sharing, groups * sharing * width  # noqa: N806
    shapes = (2, 3, D), (2, 4 if cross else 3, D), (H, width, D), (2, groups, width, D), (D, D)
    inputs = [torch.randn(shape).double() for shape in shapes]
    block = (CrossAttention if cross else MultiHeadAttention)(D, H, num_kv_heads=groups, bias=False)

    def fused(x, memory, queries, keys_values, output):
        queries, keys_values = queries.flatten(0, 1), keys_values.flatten(0, 2)
        weights = {"output_projection.weight": output}
        if cross:
            weights |= {"query_projection.weight": queries, "kv_projection.weight": keys_values}
            return functional_call(block, weights, (x, memory))
        return functional_call(block, weights | {"qkv_projection.weight": torch.cat((queries, keys_values))}, x)

    def formula(x, memory, queries, keys_values, output):
        share = [head // sharing for head in range(H)]
        projections = torch.stack((queries, keys_values[0, share], keys_values[1, share]))
        return multi_head_attention(x, memory if cross else x, projections, output)

    found, expected = (with_gradients(function, *inputs) for function in (fused, formula))
    torch.testing.assert_close(found, expected, atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE)


@given(
    norm=st.sampled_from([None, "layer", "rms"]),
    positions=st.sampled_from([None, "rotary", "alibi"]),
    groups=st.sampled_from([1, 2, 4]),
    causal=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_norms_and_positions_of_heads_equal_their_formulas_head_by_head(
    with_gradients, scramble, norm, positions, groups: int, causal: bool, seed: int
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
            own_bias = None if bias is None else bias[:, head : head + 1]
            heads.append(attention(q, k, values[shared][:, None], mask, own_bias)[:, 0])
        return torch.cat(heads, -1) @ block.output_projection.weight.T + block.output_projection.bias

    gradients = []
    for function in (block, formula):
        block.zero_grad()
        gradients.append(with_gradients(function, torch.linspace(-2, 2, 2 * T * D).double().sin().view(2, T, D)))
        gradients[-1] += [parameter.grad for parameter in block.parameters()]
    tolerance = TABLE_TOLERANCE if positions == "rotary" else KERNEL_TOLERANCE
    torch.testing.assert_close(*gradients, atol=tolerance, rtol=tolerance)


def test_cross_attention_normalises_queries_and_keys_each_by_its_own_norm_and_no_values(scramble):
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


def test_splitting_puts_queries_before_keys_before_values_and_each_head_by_head():
    q, k, v = split_heads(torch.arange(12).float()[None, None], 2, 2, 2)  # one token, two heads of width 2
    assert q[0, :, 0].tolist() == [[0, 1], [2, 3]]
    assert k[0, :, 0].tolist() == [[4, 5], [6, 7]]
    assert v[0, :, 0].tolist() == [[8, 9], [10, 11]]


def test_splitting_may_give_keys_and_values_fewer_heads_than_queries():
    q, k, v = split_heads(torch.arange(8).float()[None, None], 2, 1, 1)
    assert q[0, :, 0].tolist() == [[0, 1], [2, 3]]
    assert k[0, :, 0].tolist() == [[4, 5]]
    assert v[0, :, 0].tolist() == [[6, 7]]


def test_joining_heads_undoes_splitting_them():
    x = torch.randn(2, 3, 8)
    (heads,) = split_heads(x, 4)
    assert heads.shape == (2, 4, 3, 2)
    assert torch.equal(join_heads(heads), x)


def test_each_head_has_weights_of_its_own_and_no_other_head_feels_them():
    x, block = torch.randn(1, 5, 8), MultiHeadAttention(8, 4)
    before = []
    block.output_projection.register_forward_pre_hook(lambda _, inputs: before.append(inputs[0]))
    block(x)
    with torch.no_grad():
        block.qkv_projection.weight[2:4] += 1.0  # the second head's queries
    block(x)
    changed = (before[0] - before[1]).abs().amax((0, 1)) > 0.0
    assert changed.tolist() == [False, False, True, True, False, False, False, False]


def test_every_weight_receives_a_gradient(scramble):
    x, memory = torch.randn(2, 4, 8), torch.randn(2, 5, 8)
    attention, cross = MultiHeadAttention(8, 2), CrossAttention(8, 2)
    for block in (attention, cross):
        scramble(block)
    (attention(x).square().sum() + cross(x, memory).square().sum()).backward()
    for block in (attention, cross):
        for name, parameter in block.named_parameters():
            assert (parameter.grad.abs().amax(-1) > 0).any(), name


def test_without_bias_only_matrices_remain():
    assert [name for name, _ in MultiHeadAttention(8, 2, bias=False).named_parameters()] == [
        "qkv_projection.weight",
        "output_projection.weight",
    ]
    assert all("bias" not in name for name, _ in CrossAttention(8, 2, bias=False).named_parameters())


def test_each_head_has_its_own_slope_and_only_self_attention_has_positions():
    core = MultiHeadAttention(8, 4, positions="alibi").core
    assert core.slopes.tolist() == [1 / 4, 1 / 16, 1 / 64, 1 / 256]
    assert not MultiHeadAttention(8, 4, positions="alibi").state_dict().keys() - {
        f"{part}_projection.{kind}" for part in ("qkv", "output") for kind in ("weight", "bias")
    }
    assert CrossAttention(8, 4).core.slopes is None
    assert MultiHeadAttention(8, 4).core.slopes is None


def test_attention_dropout_is_on_in_training_and_off_in_evaluation():
    x, memory = torch.randn(2, 4, 8), torch.randn(2, 5, 8)
    for block, inputs in (
        (MultiHeadAttention(8, 2, dropout=0.5), (x,)),
        (CrossAttention(8, 2, dropout=0.5), (x, memory)),
    ):
        assert not torch.equal(block(*inputs), block(*inputs))
        block.eval()
        assert torch.equal(block(*inputs), block(*inputs))
