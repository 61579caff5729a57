import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clearformer.blocks.rotary import RotaryPositions
from clearformer.engines.numpy import functional
from clearformer.engines.numpy.activations import normal as standard_normal
from clearformer.engines.numpy.tensor import Tensor

Array = NDArray[np.float64]
EPS = 1e-3
# float64 sums in another order: 2.6e-15 seen over 300 draws of each pair
PLAIN_TOLERANCE = 1e-13


def plain_layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdims=True)
    return centred / functional.sqrt((centred * centred).mean(-1, keepdims=True) + EPS) * weight + bias


def plain_rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / functional.sqrt((x * x).mean(-1, keepdims=True) + EPS) * weight


def plain_softmax(scores: Tensor) -> Tensor:
    powers = functional.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, mask: NDArray[np.bool_]) -> Tensor:
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    return functional.where(mask, plain_softmax(functional.where(mask, scores, -1e30)), 0.0) @ v


def plain_cross_entropy(logits: Tensor, targets: NDArray[np.int64], smoothing: float) -> Tensor:
    log_p = functional.log(plain_softmax(logits))
    of_target = log_p[np.arange(len(targets)), targets]
    return -((1 - smoothing) * of_target + smoothing * log_p.mean(-1)).sum()


def plain_swiglu(x: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    gate = x[..., :half]
    return gate / (1 + functional.exp(-gate)) * x[..., half:]


def plain_rotary(x: Tensor, cos: Array, sin: Array) -> Tensor:
    half = x.shape[-1] // 2
    first, second, cosines, sines = x[..., :half], x[..., half:], Tensor(cos), Tensor(sin)
    return functional.concatenate(first * cosines - second * sines, second * cosines + first * sines, -1)


MASK = np.tri(3, dtype=bool)[None, None] & (np.arange(3) > 0)  # the first query may see nothing
TARGETS, PICKED = np.array([0, 3, 3, 1]), np.array([1, 0, 1, 1])
COS, SIN = np.cos([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.sin([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
HEADS = (2, 3, 3, 4)
PAIRS: dict[str, tuple[list[tuple[int, ...]], Callable[..., Tensor], Callable[..., Tensor]]] = {
    "linear": ([(2, 3, 4), (5, 4), (5,)], functional.linear, lambda x, w, b: x @ w.swapaxes(0, 1) + b),
    "embedding": ([(2, 4)], lambda w: functional.embedding(PICKED, w), lambda w: w[PICKED]),
    "layer_norm": ([(2, 3, 4), (4,), (4,)], lambda *x: functional.layer_norm(*x, EPS), plain_layer_norm),
    "rms_norm": ([(2, 3, 4), (4,)], lambda *x: functional.rms_norm(*x, EPS), plain_rms_norm),
    "squared_relu": ([(2, 3, 4)], functional.squared_relu, lambda x: functional.relu(x) ** 2),
    "swiglu": ([(2, 3, 4)], functional.swiglu, plain_swiglu),
    "rotary": ([HEADS], lambda x: functional.rotary(x, COS, SIN), lambda x: plain_rotary(x, COS, SIN)),
    "attention": ([HEADS] * 3, lambda *x: functional.attention(*x, MASK), lambda *x: plain_attention(*x, MASK)),
    "cross_entropy": (
        [(4, 5)],
        lambda z: functional.cross_entropy(z, TARGETS, 0.1),
        lambda z: plain_cross_entropy(z, TARGETS, 0.1),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
@given(seed=st.integers(0, 2**31))
def test_the_fused_rule_equals_the_formula_in_small_steps(name, seed):
    shapes, *functions = PAIRS[name]
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(shape) for shape in shapes]
    found = []
    for function in functions:
        leaves = [Tensor(value, requires_grad=True) for value in values]
        out = function(*leaves)
        out.backward(np.linspace(-1, 1, out.data.size).reshape(out.shape))
        found.append([out.data, *(leaf.grad for leaf in leaves)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=PLAIN_TOLERANCE, atol=PLAIN_TOLERANCE)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 3e-7), (np.float64, 1e-14)])
def test_the_normal_distribution_equals_that_of_the_standard_library(dtype, tolerance):
    # 1.9e-7 and 6.7e-16 seen, which is rounding: the float32 polynomial itself is right to 2e-9
    x = np.linspace(-12, 12, 4001).astype(dtype)
    below, bell = standard_normal(x)
    expected = [math.erfc(-value / math.sqrt(2)) / 2 for value in x.tolist()]
    np.testing.assert_allclose(below, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(bell, np.exp(-x * x / 2) / math.sqrt(2 * math.pi), rtol=0, atol=tolerance)


def test_gelu_of_huge_numbers_is_themselves_or_nothing():
    x = Tensor(np.array([-1e18, -100.0, 100.0, 1e18], np.float32), requires_grad=True)
    out = functional.gelu(x)
    assert np.allclose(out.data, [0, 0, 100.0, 1e18], atol=1e-15)
    out.sum().backward()
    assert np.allclose(x.grad, [0, 0, 1, 1], atol=1e-15)


def test_gelu_is_the_same_in_one_chunk_and_in_many():
    x = np.random.default_rng(0).standard_normal((3, 20_001))
    parts = [functional.gelu(Tensor(part)).data for part in np.array_split(x.ravel(), 7)]
    assert np.array_equal(functional.gelu(Tensor(x)).data.ravel(), np.concatenate(parts))


def test_a_query_that_may_see_nothing_yields_zeros_and_no_gradient():
    q, k, v = (Tensor(np.random.default_rng(i).standard_normal(HEADS), requires_grad=True) for i in range(3))
    out = functional.attention(q, k, v, np.tri(3, k=-1, dtype=bool)[None, None])
    out.backward(np.ones(HEADS))
    assert not out.data[:, :, 0].any()
    assert not q.grad[:, :, 0].any()
    assert not k.grad[:, :, 2].any(), "nobody sees the last key"
    assert all(np.isfinite(x.grad).all() and x.grad.any() for x in (q, k, v))


def test_attention_of_two_tokens_worked_by_hand():
    # scores (0, ln 3), weights (1/4, 3/4), values 0 and 4
    q, k, v = (Tensor(np.array(x).reshape(1, 1, -1, 1)) for x in ([1.0], [0.0, math.log(3)], [0.0, 4.0]))
    assert functional.attention(q, k, v).item() == pytest.approx(3.0, abs=1e-15)


def test_rotary_turns_as_the_torch_block_does():
    x, positions = torch.randn(2, 3, 5, 8), torch.tensor([[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]])
    block = RotaryPositions(7, 8)
    cos, sin = (table[:, :4].numpy()[positions.numpy()][:, None] for table in (block.cos, block.sin))
    found = functional.rotary(Tensor(x.numpy()), cos, sin)
    assert found.dtype == np.float32
    assert np.array_equal(found.data, block(x, positions).numpy())  # the same two products and one sum


def test_cross_entropy_is_finite_and_exact_for_huge_logits():
    logits = Tensor(np.array([[1e4, 0.0], [0.0, 1e4]], np.float32), requires_grad=True)
    loss = functional.cross_entropy(logits, np.array([0, 0]))
    loss.backward()
    assert loss.item() == 1e4
    assert logits.grad.tolist() == [[0.0, 0.0], [-1.0, 1.0]]


def test_dropout_leaves_out_the_share_it_is_told_and_keeps_the_mean():
    x = Tensor(np.ones(100_000, np.float32), requires_grad=True)
    out = functional.dropout(x, 0.3, np.random.default_rng(0))
    assert out.dtype == np.float32
    # a share of 100,000 has a standard deviation of 0.0014
    assert (out.data == 0).mean() == pytest.approx(0.3, abs=0.006)
    assert set(np.unique(out.data)) == {np.float32(0), np.float32(1 / 0.7)}
    out.backward(np.ones_like(out.data))
    assert np.array_equal(x.grad, out.data)
