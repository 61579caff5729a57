"""The rules of differentiation: each operation's forward function and vector-Jacobian products.

    L = f(y), y = op(a, b)      dL/da = (dy/da)ᵀ dL/dy      one function per argument

Each function takes `g`, the gradient of the result, and declares what else it needs by its parameter names: an
argument, an option, the result (`out`), or `shape`, that of its own argument. Only these are saved. It does not change
`g`, and returns `g`, a view, or a new array, since the tape adds to it in place. Broadcast axes are not reduced here:
`tape.fit` sums over them.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Number = float | int
Index = Any
"""any NumPy index"""


class Rule:
    """One operation: its forward function, and a backward function for each argument.

    `forward` returns the result, or the result and a dictionary of intermediate values for backward. A key of
    `backward` with several names, "q k v", has one function for all, which returns as many gradients.
    """

    def __init__(self, forward: Callable[..., Any], backward: Mapping[str, Callable[..., Any]]) -> None:
        self.forward = forward
        self.backward = [
            (tuple(names.split()), function, tuple(inspect.signature(function).parameters)[1:])
            for names, function in backward.items()
        ]
        self.arguments = [name for names, _, _ in self.backward for name in names]


def spread(g: Array, shape: tuple[int, ...], axis: int | None, keepdims: bool) -> Array:
    """Undo a reduction: broadcast along the reduced axis."""
    if axis is not None and not keepdims:
        g = np.expand_dims(g, axis)
    return np.broadcast_to(g, shape)


def share_of_largest(g: Array, a: Array, out: Array, axis: int | None, keepdims: bool) -> Array:
    """The gradient goes to the largest element; ties share it."""
    largest = (a == spread(out, a.shape, axis, keepdims)).astype(g.dtype)
    largest *= spread(g, a.shape, axis, keepdims) / largest.sum(axis, keepdims=True)
    return largest


def rows(x: Array) -> Array:
    """Flatten [*tokens, D] to [N, D]."""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


class Part(NamedTuple):
    """A gradient that is zero except at the index `at`."""

    shape: tuple[int, ...]
    at: Index
    g: Array


def scatter(g: Array, shape: tuple[int, ...], at: Index) -> Array | Part:
    """The gradient of indexing; repeated indices accumulate."""
    if all(isinstance(part, int | slice | EllipsisType | None) for part in (at if isinstance(at, tuple) else (at,))):
        return Part(shape, at, g)
    whole = np.zeros(shape, g.dtype)
    np.add.at(whole, at, g)
    return whole


def power_slope(g: Array, a: Array, exponent: Number) -> Array | np.floating[Any]:
    """d aⁿ = n aⁿ⁻¹; a⁰ is constant, at zero too."""
    return g * (exponent * a ** (exponent - 1)) if exponent else np.zeros_like(g)


RULES: dict[str, Rule] = {
    "add": Rule(np.add, {"a": lambda g: g, "b": lambda g: g}),
    "subtract": Rule(np.subtract, {"a": lambda g: g, "b": lambda g: -g}),
    "multiply": Rule(np.multiply, {"a": lambda g, b: g * b, "b": lambda g, a: g * a}),
    "divide": Rule(np.divide, {"a": lambda g, b: g / b, "b": lambda g, b, out: -g * out / b}),
    "negative": Rule(np.negative, {"a": lambda g: -g}),
    "power": Rule(lambda a, exponent: a**exponent, {"a": power_slope}),
    "exp": Rule(np.exp, {"a": lambda g, out: g * out}),
    "log": Rule(np.log, {"a": lambda g, a: g / a}),
    "sqrt": Rule(np.sqrt, {"a": lambda g, out: g / (2 * out)}),
    "tanh": Rule(np.tanh, {"a": lambda g, out: g * (1 - out * out)}),
    "sin": Rule(np.sin, {"a": lambda g, a: g * np.cos(a)}),
    "cos": Rule(np.cos, {"a": lambda g, a: -g * np.sin(a)}),
    "relu": Rule(lambda a: np.maximum(a, 0), {"a": lambda g, out: g * (out > 0)}),
    "maximum": Rule(  # ties share the gradient
        np.maximum,
        {
            "a": lambda g, a, b: np.where(a == b, g / 2, g * (a > b)),
            "b": lambda g, a, b: np.where(a == b, g / 2, g * (b > a)),
        },
    ),
    "where": Rule(
        lambda a, b, condition: np.where(condition, a, b),
        {
            "a": lambda g, condition: np.where(condition, g, 0),
            "b": lambda g, condition: np.where(condition, 0, g),
        },
    ),
    "sum": Rule(np.sum, {"a": spread}),
    "mean": Rule(
        np.mean,
        {"a": lambda g, shape, axis, keepdims: spread(g, shape, axis, keepdims) * (g.size / math.prod(shape))},
    ),
    "max": Rule(np.max, {"a": share_of_largest}),
    "matmul": Rule(
        np.matmul,
        {"a": lambda g, b: g @ b.swapaxes(-1, -2), "b": lambda g, a: a.swapaxes(-1, -2) @ g},
    ),
    "reshape": Rule(lambda a, to: a.reshape(to), {"a": lambda g, shape: g.reshape(shape)}),
    "swapaxes": Rule(np.swapaxes, {"a": lambda g, axis1, axis2: g.swapaxes(axis1, axis2)}),
    "index": Rule(lambda a, at: a[at], {"a": scatter}),
    "concatenate": Rule(
        lambda a, b, axis: np.concatenate((a, b), axis),
        {
            "a": lambda g, shape, axis: np.split(g, [shape[axis]], axis)[0],
            "b": lambda g, shape, axis: np.split(g, [g.shape[axis] - shape[axis]], axis)[1],
        },
    ),
    "astype": Rule(lambda a, dtype: a.astype(dtype), {"a": lambda g: g}),  # the tape gives g the argument's dtype
}
