import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from clearformer.blocks.masks import causal_mask
from clearformer.blocks.multihead import (
    CrossAttention,
    MultiHeadAttention,
    join_heads,
    multi_head_attention,
    split_heads,
)

# float64 sums in another order, through two projections: 4.2e-13 seen over 3,000 draws
KERNEL_TOLERANCE = 1e-11


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


def test_splitting_puts_queries_before_keys_before_values_and_each_head_by_head():
    q, k, v = split_heads(torch.arange(12).float()[None, None], 2, 2, 2)  # one token, two heads of width 2
    assert q[0, :, 0].tolist() == [[0, 1], [2, 3]]
    assert k[0, :, 0].tolist() == [[4, 5], [6, 7]]
    assert v[0, :, 0].tolist() == [[8, 9], [10, 11]]


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


def test_attention_dropout_is_on_in_training_and_off_in_evaluation():
    x, memory = torch.randn(2, 4, 8), torch.randn(2, 5, 8)
    for block, inputs in (
        (MultiHeadAttention(8, 2, dropout=0.5), (x,)),
        (CrossAttention(8, 2, dropout=0.5), (x, memory)),
    ):
        assert not torch.equal(block(*inputs), block(*inputs))
        block.eval()
        assert torch.equal(block(*inputs), block(*inputs))
