"""Tensor: a NumPy array that records the operation that created it, for the backward pass.

    x = Tensor(np.ones(3), requires_grad=True)
    (x * x).sum().backward()
    x.grad                                             # array([2., 2., 2.])

Names are PyTorch's. Tokens, indices and masks have no gradient and stay plain arrays.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from clearformer.engines.numpy.fused import FUSED
from clearformer.engines.numpy.modes import DEBUG_ENABLED, GRAD_ENABLED, GradientError, check_finite
from clearformer.engines.numpy.rules import RULES, Array, Index, Number
from clearformer.engines.numpy.tape import Node, Version, backpropagate, calls_of

OPERATIONS = RULES | FUSED
DTYPES = np.dtype(np.float32), np.dtype(np.float64)


class Tensor:
    """A float32 or float64 array; one created with `requires_grad` is a leaf, and stores `grad`."""

    __array_ufunc__ = None  # array * tensor calls Tensor.__rmul__
    __slots__ = ("data", "node", "version")

    def __init__(self, data: ArrayLike | Number, requires_grad: bool = False) -> None:
        self.data: Array = np.asarray(data)
        if self.data.dtype not in DTYPES:
            raise GradientError(
                f"a Tensor of float32 or float64 was expected, found {self.data.dtype}; "
                "tokens, indices and masks are given as plain arrays"
            )
        self.node = Node("leaf") if requires_grad else None
        self.version = Version()

    @property
    def requires_grad(self) -> bool:
        return self.node is not None

    @property
    def grad(self) -> Array | None:
        """A leaf's gradient, accumulated over all backward passes since it was set to None."""
        return self.node.grad if self.node is not None else None

    @grad.setter
    def grad(self, value: Array | None) -> None:
        if self.node is None:
            raise GradientError("a tensor with requires_grad was expected, found one without; it has no gradient")
        self.node.replace(value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.data.dtype

    def __repr__(self) -> str:
        return (
            f"Tensor({self.data!r}, made by {self.node.name!r})" if self.node is not None else f"Tensor({self.data!r})"
        )

    def item(self) -> float:
        """The single element as a Python float."""
        return float(self.data.item())

    def backward(self, gradient: Array | None = None) -> None:
        """Accumulate the gradients of all leaves that this depends on, and free what was saved for them.

        `gradient` is dL/d(self); a tensor of one element is L itself by default. Raises GradientError.
        """
        if self.node is None:
            raise GradientError(
                "a tensor that depends on one with requires_grad was expected, found one that does not; "
                "set requires_grad, and do not compute the loss inside no_grad"
            )
        if gradient is None and self.data.size != 1:
            raise GradientError(
                f"a loss of one number was expected, found shape {self.shape}; sum it, or give a gradient"
            )
        g = np.ones_like(self.data) if gradient is None else np.asarray(gradient, self.dtype)
        if g.shape != self.shape:
            raise GradientError(f"a gradient of shape {self.shape} was expected, found {g.shape}")
        backpropagate(self.node, g)

    def copy_(self, value: ArrayLike | Number) -> None:
        """Copy in place."""
        self._changed(np.copyto, self.data, value)

    def add_(self, value: ArrayLike | Number) -> None:
        """Add in place."""
        self._changed(np.add, self.data, value, self.data)

    def mul_(self, value: ArrayLike | Number) -> None:
        """Multiply in place."""
        self._changed(np.multiply, self.data, value, self.data)

    def _changed(self, change: Any, *arguments: Any) -> None:
        if self.requires_grad and GRAD_ENABLED.get():
            raise GradientError("a change in place has no gradient; make it inside no_grad, or write x = x + y")
        change(*arguments)
        self.version.count += 1

    def __add__(self, other: "Tensor | Number") -> "Tensor":
        return apply("add", self, other)

    def __radd__(self, other: Number) -> "Tensor":
        return apply("add", other, self)

    def __sub__(self, other: "Tensor | Number") -> "Tensor":
        return apply("subtract", self, other)

    def __rsub__(self, other: Number) -> "Tensor":
        return apply("subtract", other, self)

    def __mul__(self, other: "Tensor | Number") -> "Tensor":
        return apply("multiply", self, other)

    def __rmul__(self, other: Number) -> "Tensor":
        return apply("multiply", other, self)

    def __truediv__(self, other: "Tensor | Number") -> "Tensor":
        return apply("divide", self, other)

    def __rtruediv__(self, other: Number) -> "Tensor":
        return apply("divide", other, self)

    def __pow__(self, exponent: Number) -> "Tensor":
        return apply("power", self, exponent=exponent)

    def __neg__(self) -> "Tensor":
        return apply("negative", self)

    def __matmul__(self, other: "Tensor") -> "Tensor":
        return apply("matmul", self, other)

    def __getitem__(self, at: Index) -> "Tensor":
        return apply("index", self, at=at)

    def sum(self, axis: int | None = None, keepdims: bool = False) -> "Tensor":
        return apply("sum", self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | None = None, keepdims: bool = False) -> "Tensor":
        return apply("mean", self, axis=axis, keepdims=keepdims)

    def max(self, axis: int | None = None, keepdims: bool = False) -> "Tensor":
        return apply("max", self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: int) -> "Tensor":
        return apply("reshape", self, to=shape)

    def swapaxes(self, axis1: int, axis2: int) -> "Tensor":
        return apply("swapaxes", self, axis1=axis1, axis2=axis2)

    def astype(self, dtype: DTypeLike) -> "Tensor":
        return apply("astype", self, dtype=dtype)


def apply(name: str, *inputs: Tensor | Number, **options: Any) -> Tensor:
    """Apply an operation; record it if an input requires a gradient, outside no_grad."""
    rule = OPERATIONS[name]
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    arrays = [value.data if isinstance(value, Tensor) else _number(value) for value in inputs]
    if DEBUG_ENABLED.get():
        check_finite(f"in an input of '{name}'", *(tensor.data for tensor in tensors))
    result = rule.forward(*arrays, **options)
    data, found = result if isinstance(result, tuple) else (result, {})
    out = Tensor(data)
    if DEBUG_ENABLED.get():
        check_finite(f"in the result of '{name}'", out.data)
    if out.data.base is not None:
        for tensor in tensors:
            if np.may_share_memory(out.data, tensor.data):
                out.version = tensor.version
    if GRAD_ENABLED.get() and any(tensor.requires_grad for tensor in tensors):
        nodes = [value.node if isinstance(value, Tensor) else None for value in inputs]
        # the last argument is optional
        values = options | found | {"out": out.data} | dict(zip(rule.arguments, arrays, strict=False))
        calls = calls_of(rule, dict(zip(rule.arguments, nodes, strict=False)), values)
        saved = [value for call in calls for value in call.saved.values() if isinstance(value, np.ndarray)]
        used = [t.version for t in (*tensors, out) if any(_shared(t.data, array) for array in saved)]
        out.node = Node(name, calls, used)
    return out


def _shared(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether they may share memory; fast for two arrays that are not views."""
    return a is b or ((a.base is not None or b.base is not None) and np.may_share_memory(a, b))


def _number(value: Number) -> float:
    """A Python float, since a NumPy scalar would promote float32 to float64."""
    if isinstance(value, np.ndarray):
        raise GradientError(
            f"a Tensor or a number was expected, found an array of shape {value.shape}; wrap it in Tensor"
        )
    return float(value)
