from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from numpy.typing import NDArray

from clearformer.blocks.attention import attention_weights, share_heads
from clearformer.blocks.masks import causal_mask
from clearformer.data.batches import IGNORE
from clearformer.engines.numpy.fused import FUSED
from clearformer.engines.numpy.tensor import Tensor, apply
from clearformer.training.loss import cross_entropy as torch_cross_entropy

Array = NDArray[np.float64]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Made = tuple[list[Array], dict[str, Any]]
LAYOUTS = st.sampled_from(("plain", "strided", "transposed", "backwards"))
TOKENS = array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=3)
WIDTH = st.integers(2, 5)
EPS = 1e-3


def spaced(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Normal numbers, none closer to zero than 0.03, and no vector of equal ones: kinks and poles stay away."""
    x = rng.standard_normal(shape) + np.arange(shape[-1])
    return np.where(np.abs(x) < 0.03, 0.03, x)


def activated(draw: Draw, rng: np.random.Generator) -> Made:
    return [spaced((*draw(TOKENS), 2 * draw(WIDTH)), rng)], {}


def linear(draw: Draw, rng: np.random.Generator) -> Made:
    D, F = draw(WIDTH), draw(st.integers(0, 4))  # noqa: N806
    shapes = [(*draw(TOKENS), D), (F, D), (F,)]
    return [rng.standard_normal(shape) for shape in shapes[: draw(st.integers(2, 3))]], {}


def normed(most: int) -> Callable[..., Made]:
    def make(draw: Draw, rng: np.random.Generator) -> Made:
        D = draw(WIDTH)  # noqa: N806
        inputs = [spaced((*draw(TOKENS), D), rng), rng.standard_normal(D), rng.standard_normal(D)]
        return inputs[: draw(st.integers(2, most))], {"eps": EPS}

    return make


def embedded(draw: Draw, rng: np.random.Generator) -> Made:
    V = draw(st.integers(1, 5))  # noqa: N806
    return [rng.standard_normal((V, draw(WIDTH)))], {"tokens": rng.integers(0, V, draw(TOKENS))}


def beside(draw: Draw, rng: np.random.Generator) -> Made:
    B, T, before, count, after, width = draw(st.tuples(*[st.integers(0, 3)] * 6))  # noqa: N806
    options = {"first": before, "count": count, "width": width + 1}
    return [rng.standard_normal((B, T, (before + count + after) * (width + 1)))], options


def split(draw: Draw, rng: np.random.Generator) -> Made:
    return [rng.standard_normal(draw(array_shapes(min_dims=4, max_dims=4, min_side=0, max_side=3)))], {}


def turned(draw: Draw, rng: np.random.Generator) -> Made:
    B, H, T, half = draw(st.tuples(*[st.integers(0, 3)] * 4))  # noqa: N806
    angles = rng.standard_normal(draw(st.sampled_from(((T, half), (B, 1, T, half)))))
    return [rng.standard_normal((B, H, T, 2 * half))], {"cos": np.cos(angles), "sin": np.sin(angles)}


def dropped(draw: Draw, rng: np.random.Generator) -> Made:
    return [rng.standard_normal((*draw(TOKENS), draw(WIDTH)))], {"p": draw(st.sampled_from((0.0, 0.3))), "rng": None}


def predicted(draw: Draw, rng: np.random.Generator) -> Made:
    tokens, V = draw(TOKENS), draw(WIDTH)  # noqa: N806
    targets = np.where(rng.random(tokens) < 0.3, IGNORE, rng.integers(0, V, tokens))
    smoothing = draw(st.sampled_from((0.0, 0.1)))
    return [3 * rng.standard_normal((*tokens, V))], {"targets": targets, "smoothing": smoothing}


def attended(draw: Draw, rng: np.random.Generator) -> Made:
    """Some queries may see nothing; keys may be shared by heads, missing, or more than queries."""
    ends = (0, 2), (1, 2), (1, 3), (0, 4), (0, 5), (1, 4)
    B, G, sharing, T, S, E = draw(st.tuples(*(st.integers(*bounds) for bounds in ends)))  # noqa: N806
    H = G * sharing  # noqa: N806
    stretched = draw(st.sampled_from(((1, 1, T, S), (B, 1, 1, S), (B, H, T, S))))
    options = {
        "mask": draw(st.sampled_from((None, rng.random(stretched) < 0.5))),
        "bias": draw(st.sampled_from((None, rng.standard_normal((1, H, 1, S))))),
        "dropout": draw(st.sampled_from((0.0, 0.3))),
        "rng": None,
    }
    options["causal"] = options["mask"] is None and options["bias"] is None and T <= S and draw(st.booleans())
    return [rng.standard_normal(shape) for shape in ((B, H, T, E), (B, G, S, E), (B, G, S, E))], options


def torch_attention(q, k, v, causal, mask, bias, dropout, rng):
    """The formula of the block, with the weights dropped that the engine drops."""
    mask, bias = (None if value is None else torch.tensor(value) for value in (mask, bias))
    if causal:
        mask = causal_mask(q.shape[2], k.shape[2])
    weights = attention_weights(q, k, mask, bias)
    if dropout:
        weights = torch_dropout(weights, dropout, rng)
    return weights @ share_heads(v, q.shape[1])


def torch_dropout(x, p, rng):
    return x * torch.tensor(rng.random(x.shape, np.float32) >= p) / (1 - p)


def torch_rotary(x, cos, sin):
    first, second = x.chunk(2, -1)
    cos, sin = torch.tensor(cos), torch.tensor(sin)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


def torch_swiglu(x):
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


CASES: dict[str, tuple[Callable[..., Made], Callable[..., torch.Tensor]]] = {
    "linear": (linear, F.linear),
    "embedding": (embedded, lambda weight, tokens: F.embedding(torch.tensor(tokens), weight)),
    "split_heads": (
        beside,
        lambda x, first, count, width: x.unflatten(2, (-1, width))[:, :, first : first + count].transpose(1, 2),
    ),
    "join_heads": (split, lambda x: x.transpose(1, 2).flatten(2)),
    "rotary": (turned, torch_rotary),
    "dropout": (dropped, torch_dropout),
    "cross_entropy": (
        predicted,
        lambda logits, targets, smoothing: torch_cross_entropy(logits, torch.tensor(targets), smoothing),
    ),
    "layer_norm": (normed(3), lambda x, weight, bias=None, *, eps: F.layer_norm(x, weight.shape, weight, bias, eps)),
    "rms_norm": (normed(2), lambda x, weight, eps: F.rms_norm(x, weight.shape, weight, eps)),
    "gelu": (activated, F.gelu),
    "gelu_tanh": (activated, lambda x: F.gelu(x, approximate="tanh")),
    "squared_relu": (activated, lambda x: F.relu(x) ** 2),
    "swiglu": (activated, torch_swiglu),
    "attention": (attended, torch_attention),
}


def test_every_fused_rule_has_a_case():
    assert CASES.keys() == FUSED.keys()


@pytest.mark.parametrize("name", FUSED)
@settings(max_examples=40)
@given(data=st.data(), layout=LAYOUTS, seed=st.integers(0, 2**31))
def test_gradients_equal_differences_and_those_of_torch(prove, lay_out, name, data, layout, seed):
    make, function = CASES[name]
    inputs, options = make(data.draw, np.random.default_rng(seed))
    prove(name, [lay_out(x, layout) for x in inputs], options, function, seed)


@pytest.mark.parametrize("name", FUSED)
@settings(max_examples=20)
@given(data=st.data(), seed=st.integers(0, 2**31))
def test_float32_stays_float32_and_inputs_stay_as_they_are(name, data, seed):
    inputs, options = CASES[name][0](data.draw, np.random.default_rng(seed))
    if "rng" in options:
        options["rng"] = np.random.default_rng(7)
    leaves = [Tensor(value.astype(np.float32), requires_grad=True) for value in inputs]
    for option in ("cos", "sin", "bias"):
        if options.get(option) is not None:
            options[option] = options[option].astype(np.float32)
    out = apply(name, *leaves, **options)
    assert out.node is not None
    kept = [value for call in out.node._calls for value in call.saved.values() if isinstance(value, np.ndarray)]
    assert np.float64 not in {out.dtype, *(value.dtype for value in kept)}
    weights = np.ones_like(out.data)
    out.backward(weights)
    assert (weights == 1).all()
    for leaf, value in zip(leaves, inputs, strict=True):
        assert leaf.grad.dtype == np.float32
        assert np.array_equal(leaf.data, value.astype(np.float32))
