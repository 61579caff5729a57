from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes
from numpy.typing import NDArray

from clearformer.engines.numpy.functional import maximum
from clearformer.engines.numpy.rules import RULES
from clearformer.engines.numpy.tensor import Tensor

Array = NDArray[np.float64]
Draw = Callable[[st.SearchStrategy[Any]], Any]
Made = tuple[list[Array], dict[str, Any]]
LAYOUTS = st.sampled_from(("plain", "strided", "transposed", "backwards"))
SHAPES = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
FULL_SHAPES = array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)


def normal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.standard_normal(shape)


def positive(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.uniform(0.5, 2.0, shape)


def apart(shape: tuple[int, ...], rng: np.random.Generator, offset: float = 0.0) -> Array:
    """No two alike and none near zero, where a maximum would have a kink."""
    size = int(np.prod(shape))
    return (0.1 * (rng.permutation(size) - size // 2) + 0.03 + offset).reshape(shape)


def one(values: Callable[..., Array] = normal) -> Callable[..., Made]:
    return lambda draw, rng: ([values(draw(SHAPES), rng)], {})


def two(second: Callable[..., Array] = normal, first: Callable[..., Array] = normal) -> Callable[..., Made]:
    """Two arrays of which either may be stretched along an axis, or have fewer."""

    def make(draw: Draw, rng: np.random.Generator) -> Made:
        shapes = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=3)).input_shapes
        return [first(shapes[0], rng), second(shapes[1], rng)], {}

    return make


def two_where(draw: Draw, rng: np.random.Generator) -> Made:
    inputs, _ = two()(draw, rng)
    return inputs, {"condition": rng.random(np.broadcast_shapes(*(x.shape for x in inputs))) < 0.5}


def reduced(values: Callable[..., Array] = normal, shapes: st.SearchStrategy[Any] = FULL_SHAPES) -> Callable[..., Made]:
    def make(draw: Draw, rng: np.random.Generator) -> Made:
        shape = draw(shapes)
        axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1)) if shape else None
        return [values(shape, rng)], {"axis": axis, "keepdims": draw(st.booleans())}

    return make


def matrices(draw: Draw, rng: np.random.Generator) -> Made:
    batch = draw(mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=3)).input_shapes
    n, m, p = (draw(st.integers(0, 4)) for _ in range(3))
    return [normal((*batch[0], n, m), rng), normal((*batch[1], m, p), rng)], {}


def reshaped(draw: Draw, rng: np.random.Generator) -> Made:
    shape = draw(SHAPES)
    return [normal(shape, rng)], {"to": draw(st.sampled_from((shape[::-1], (int(np.prod(shape)),), (1, *shape))))}


def swapped(draw: Draw, rng: np.random.Generator) -> Made:
    shape = draw(array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=3))
    axes = st.integers(-len(shape), len(shape) - 1)
    return [normal(shape, rng)], {"axis1": draw(axes), "axis2": draw(axes)}


def indexed(draw: Draw, rng: np.random.Generator) -> Made:
    twice = np.array([0, 2, 0, 0])
    picks = (1, slice(1, 3), (slice(None), 2), (..., None, slice(0, 0)), twice, (twice, slice(1, 2)), (twice, twice))
    return [normal((3, 4), rng)], {"at": draw(st.sampled_from(picks))}


def joined(draw: Draw, rng: np.random.Generator) -> Made:
    shape, axis = draw(FULL_SHAPES), draw(st.integers(-1, 0))
    other = list(shape)
    other[axis] = draw(st.integers(0, 3))
    return [normal(shape, rng), normal(tuple(other), rng)], {"axis": axis}


def powered(draw: Draw, rng: np.random.Generator) -> Made:
    return [positive(draw(SHAPES), rng)], {"exponent": draw(st.sampled_from((-1, 0, 0.5, 1, 2, 3)))}


def converted(draw: Draw, rng: np.random.Generator) -> Made:
    """To float64, since no difference can be taken in float32."""
    return [normal(draw(SHAPES), rng)], {"dtype": np.dtype(np.float64)}


def torch_reduced(name: str) -> Callable[..., torch.Tensor]:
    return lambda a, axis, keepdims: getattr(a, name)(tuple(range(a.ndim)) if axis is None else axis, keepdim=keepdims)


CASES: dict[str, tuple[Callable[..., Made], Callable[..., torch.Tensor]]] = {
    "add": (two(), torch.add),
    "subtract": (two(), torch.subtract),
    "multiply": (two(), torch.multiply),
    "divide": (two(second=positive), torch.divide),
    "negative": (one(), torch.negative),
    "power": (powered, lambda a, exponent: a**exponent),
    "exp": (one(), torch.exp),
    "log": (one(positive), torch.log),
    "sqrt": (one(positive), torch.sqrt),
    "tanh": (one(), torch.tanh),
    "sin": (one(), torch.sin),
    "cos": (one(), torch.cos),
    "relu": (one(apart), torch.relu),
    "maximum": (two(apart, lambda shape, rng: apart(shape, rng, offset=0.05)), torch.maximum),
    "where": (two_where, lambda a, b, condition: torch.where(torch.tensor(condition), a, b)),
    "sum": (reduced(shapes=SHAPES), torch_reduced("sum")),
    "mean": (reduced(), torch_reduced("mean")),
    "max": (reduced(apart), torch_reduced("amax")),
    "matmul": (matrices, torch.matmul),
    "reshape": (reshaped, lambda a, to: a.reshape(to)),
    "swapaxes": (swapped, lambda a, axis1, axis2: a.swapaxes(axis1, axis2)),
    "index": (indexed, lambda a, at: a[at]),
    "concatenate": (joined, lambda a, b, axis: torch.cat((a, b), axis)),
    "astype": (converted, lambda a, dtype: a.to(getattr(torch, dtype.name))),
}


def test_every_rule_has_a_case():
    assert CASES.keys() == RULES.keys()


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=25)
@given(data=st.data(), layout=LAYOUTS, seed=st.integers(0, 2**31))
def test_gradients_equal_differences_and_those_of_torch(prove, lay_out, name, data, layout, seed):
    make, function = CASES[name]
    inputs, options = make(data.draw, np.random.default_rng(seed))
    prove(name, [lay_out(x, layout) for x in inputs], options, function, seed)


def test_equal_elements_share_the_gradient():
    a, b = Tensor([2.0, 1.0, 2.0], requires_grad=True), Tensor([2.0, 0.0, 3.0], requires_grad=True)
    maximum(a, b).sum().backward()
    assert a.grad.tolist() == [0.5, 1.0, 0.0]
    assert b.grad.tolist() == [0.5, 0.0, 1.0]
    a.grad = None
    a.max().backward()
    assert a.grad.tolist() == [0.5, 0.0, 0.5]


def test_a_gradient_has_the_dtype_of_its_tensor():
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    y = Tensor(np.ones(3), requires_grad=True)
    (x.astype(np.float64) * y).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)
