"""Activations, with hand-written gradients.

    GELU(x)      = x Φ(x)                      GELU'(x) = Φ(x) + x φ(x)      Φ, φ: the standard normal distribution
    GELU(x)      ≈ x σ(2u), u = sqrt(2/π) (x + 0.044715 x³)      σ(2u) = (1 + tanh(u)) / 2
    ReLU²(x)     = max(0, x)²                  dL/dx = 2 g max(0, x)
    SwiGLU(a, b) = a σ(a) b                    dL/da = g b σ(a) (1 + a (1 - σ(a)))      dL/db = g a σ(a)

NumPy has no Φ. With z = |x| / sqrt(2), Φ(-|x|) = erfc(z) / 2, and erfc(z) exp(z²) is a smooth function of
t = 1 / (1 + 0.4 z), so that a polynomial in t gives it; one exponential serves Φ and φ = exp(-z²) / sqrt(2π).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.polynomial import chebyshev

from clearformer.engines.numpy.chunks import in_chunks
from clearformer.engines.numpy.rules import Array, Rule

ERFC_SCALE = 0.4
MIN_T = 1 / (1 + ERFC_SCALE * 9)
"""t at z = 9, where exp(-z²) is 1e-35 and the polynomial no longer matters"""


def _polynomial(degree: int) -> list[float]:
    """Chebyshev interpolation of erfc(z) exp(z²): coefficients of the powers of s, which is t mapped to [-1, 1]."""
    s = chebyshev.chebpts1(degree + 1)
    t = MIN_T + (1 - MIN_T) * (s + 1) / 2
    values = [math.erfc(z) * math.exp(z * z) for z in (1 / t - 1) / ERFC_SCALE]
    return chebyshev.cheb2poly(chebyshev.chebfit(s, values, degree))[::-1].tolist()


# degrees that reach the precision of each dtype: errors of Φ against math.erfc are 1.9e-7 and 6.7e-16, mostly rounding
POLYNOMIALS = {np.dtype(np.float32): _polynomial(8), np.dtype(np.float64): _polynomial(20)}


def gelu(x: Float[Array, "*tokens F"]) -> tuple[Float[Array, "*tokens F"], dict[str, Any]]:
    """The derivative is computed with the value, and saved instead of x."""
    return _with_slope(_gelu_and_slope, x)


def _with_slope(
    compute: Callable[..., None], x: Float[Array, "*tokens F"]
) -> tuple[Float[Array, "*tokens F"], dict[str, Any]]:
    x = np.ascontiguousarray(x)
    out, slope = np.empty_like(x), np.empty_like(x)
    in_chunks(compute, x, out, slope)
    return out, {"slope": slope}


def _gelu_and_slope(x: Float[Array, " n"], out: Float[Array, " n"], slope: Float[Array, " n"]) -> None:
    below, bell = normal(x)
    np.multiply(x, below, out=out)
    np.multiply(x, bell, out=slope)
    slope += below


def gelu_x(g: Float[Array, "*tokens F"], slope: Float[Array, "*tokens F"]) -> Float[Array, "*tokens F"]:
    """In place of the slope, which is not needed again."""
    in_chunks(lambda g, slope: np.multiply(g, slope, out=slope), np.ascontiguousarray(g), slope)
    return slope


def normal(x: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Φ(x) and φ(x)."""
    bell = x * x
    bell *= -0.5
    np.exp(bell, out=bell)
    s = np.abs(x)
    s *= ERFC_SCALE * math.sqrt(0.5)
    s += 1
    np.divide(2 / (1 - MIN_T), s, out=s)
    s -= (1 + MIN_T) / (1 - MIN_T)
    highest, *others = POLYNOMIALS[x.dtype]
    below = np.full_like(s, highest)
    for coefficient in others:
        below *= s
        below += coefficient
    below *= bell
    below *= 0.5  # Φ(-|x|)
    np.subtract(x >= 0, below, out=below)
    bell *= 1 / math.sqrt(2 * math.pi)
    return np.abs(below, out=below), bell


def gelu_tanh(x: Float[Array, "*tokens F"]) -> tuple[Float[Array, "*tokens F"], dict[str, Any]]:
    """The approximation by tanh. As in `gelu`, the derivative is saved instead of x."""
    return _with_slope(_gelu_tanh_and_slope, x)


def _gelu_tanh_and_slope(x: Float[Array, " n"], out: Float[Array, " n"], slope: Float[Array, " n"]) -> None:
    """With s = σ(2u): x s, and s + 2 x s (1 - s) u'."""
    scale, square = math.sqrt(2 / math.pi), x * x
    sigma = np.tanh(scale * x * (1 + 0.044715 * square))
    sigma += 1
    sigma *= 0.5
    np.multiply(x, sigma, out=out)
    np.multiply(out, 1 - sigma, out=slope)
    slope *= 2 * scale * (1 + 3 * 0.044715 * square)
    slope += sigma


def squared_relu(x: Float[Array, "*tokens F"]) -> tuple[Float[Array, "*tokens F"], dict[str, Any]]:
    positive = np.maximum(x, 0)
    return positive * positive, {"positive": positive}


def swiglu(x: Float[Array, "*tokens two_F"]) -> tuple[Float[Array, "*tokens F"], dict[str, Any]]:
    """The first half of each vector gates the second."""
    a, b = np.split(x, 2, axis=-1)
    sigma = np.tanh(a * 0.5)  # σ(a) = (1 + tanh(a / 2)) / 2, which cannot overflow
    sigma += 1
    sigma *= 0.5
    out = a * sigma
    out *= b
    return out, {"sigma": sigma}


def swiglu_x(
    g: Float[Array, "*tokens F"], x: Float[Array, "*tokens two_F"], sigma: Float[Array, "*tokens F"]
) -> Float[Array, "*tokens two_F"]:
    a, b = np.split(x, 2, axis=-1)
    dx = np.empty(x.shape, x.dtype)
    da, db = np.split(dx, 2, axis=-1)
    np.subtract(1, sigma, out=da)
    da *= a
    da += 1
    da *= b
    np.copyto(db, a)
    for half in (da, db):
        half *= sigma
        half *= g
    return dx


ACTIVATIONS: dict[str, Rule] = {
    "gelu": Rule(gelu, {"x": gelu_x}),
    "gelu_tanh": Rule(gelu_tanh, {"x": gelu_x}),
    "squared_relu": Rule(squared_relu, {"x": lambda g, positive: g * (2 * positive)}),
    "swiglu": Rule(swiglu, {"x": swiglu_x}),
}
