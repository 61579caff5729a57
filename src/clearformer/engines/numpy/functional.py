"""All operations that are not operators or methods of Tensor, with PyTorch's names where they exist."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearformer.engines.numpy.rules import Array, Number
from clearformer.engines.numpy.tensor import Tensor, apply

Integers = NDArray[np.integer[Any]]
Booleans = NDArray[np.bool_]


def exp(x: Tensor) -> Tensor:
    return apply("exp", x)


def log(x: Tensor) -> Tensor:
    return apply("log", x)


def sqrt(x: Tensor) -> Tensor:
    return apply("sqrt", x)


def tanh(x: Tensor) -> Tensor:
    return apply("tanh", x)


def sin(x: Tensor) -> Tensor:
    return apply("sin", x)


def cos(x: Tensor) -> Tensor:
    return apply("cos", x)


def relu(x: Tensor) -> Tensor:
    return apply("relu", x)


def maximum(a: Tensor | Number, b: Tensor | Number) -> Tensor:
    return apply("maximum", a, b)


def where(condition: Booleans, a: Tensor | Number, b: Tensor | Number) -> Tensor:
    return apply("where", a, b, condition=condition)


def concatenate(a: Tensor, b: Tensor, axis: int) -> Tensor:
    return apply("concatenate", a, b, axis=axis)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b."""
    return apply("linear", x, weight) if bias is None else apply("linear", x, weight, bias)


def embedding(tokens: Integers, weight: Tensor) -> Tensor:
    """The row of the matrix for each token."""
    return apply("embedding", weight, tokens=tokens)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    return apply("layer_norm", x, weight, eps=eps) if bias is None else apply("layer_norm", x, weight, bias, eps=eps)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return apply("rms_norm", x, weight, eps=eps)


def gelu(x: Tensor) -> Tensor:
    """The exact form, x Φ(x)."""
    return apply("gelu", x)


def gelu_tanh(x: Tensor) -> Tensor:
    """Its approximation by tanh."""
    return apply("gelu_tanh", x)


def squared_relu(x: Tensor) -> Tensor:
    return apply("squared_relu", x)


def swiglu(x: Tensor) -> Tensor:
    """The first half of each vector, through SiLU, times the second."""
    return apply("swiglu", x)


def geglu(x: Tensor) -> Tensor:
    """The first half of each vector, through GELU, times the second."""
    half = x.shape[-1] // 2
    return gelu(x[..., :half]) * x[..., half:]


def geglu_tanh(x: Tensor) -> Tensor:
    """The same, with GELU's approximation by tanh."""
    half = x.shape[-1] // 2
    return gelu_tanh(x[..., :half]) * x[..., half:]


def split_heads(x: Tensor, first: int, count: int, width: int) -> Tensor:
    """Heads `first` to `first + count` - 1, each of `width` numbers, of [B, T, *], as [B, count, T, width]."""
    return apply("split_heads", x, first=first, count=count, width=width)


def join_heads(x: Tensor) -> Tensor:
    """Concatenate the heads [B, H, T, E] of each token, [B, T, H E]."""
    return apply("join_heads", x)


def rotary(x: Tensor, cos: Array, sin: Array) -> Tensor:
    """Rotate heads [B, H, T, E] by angles whose cosines and sines are [T, E/2] or [B, 1, T, E/2]."""
    return apply("rotary", x, cos=cos, sin=sin)


def dropout(x: Tensor, p: float, rng: np.random.Generator) -> Tensor:
    return apply("dropout", x, p=p, rng=rng)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Booleans | None = None,
    bias: Tensor | None = None,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
    *,
    causal: bool = False,
) -> Tensor:
    """Queries [B, H, T, E], keys and values [B, G, S, E]; mask (True: may attend) and bias broadcast to [B, H, T, S].

    `causal`, without mask and bias: the queries are the last T of S positions and attend to none after them.
    """
    inputs = (q, k, v) if bias is None else (q, k, v, bias)
    return apply("attention", *inputs, causal=causal, mask=mask, dropout=dropout, rng=rng)


def cross_entropy(logits: Tensor, targets: Integers, smoothing: float = 0.0) -> Tensor:
    """Nats, summed over the tokens whose target is not IGNORE."""
    return apply("cross_entropy", logits, targets=targets, smoothing=smoothing)
