"""Normalisation of each token's vector, with hand-written gradients.

    LayerNorm(x) = y * weight + bias      y = (x - mean(x)) r      r = 1 / sqrt(var(x) + eps)
    RMSNorm(x)   = y * weight             y = x r                  r = 1 / sqrt(mean(x²) + eps)

With h = dL/dy = g * weight. RMSNorm: dy_j/dx_i = r [i = j] - x_j r³ x_i / D, so that

    dL/dx = r (h - y mean(h y))

LayerNorm centres first, and the gradient of centring is centring; y is centred already, so

    dL/dx = r (h - mean(h) - y mean(h y))          dL/dweight = Σ_tokens g y          dL/dbias = Σ_tokens g
"""

from typing import Any

import numpy as np
from jaxtyping import Float

from clearformer.engines.numpy.chunks import chunks_of
from clearformer.engines.numpy.rules import Array, Rule, rows

Tokens = Float[Array, "*tokens D"]
Vector = Float[Array, " D"]


def layer_norm(x: Tokens, weight: Vector, bias: Vector | None = None, *, eps: float) -> tuple[Tokens, dict[str, Any]]:
    return _norm(x, weight, bias, eps, centred=True)


def rms_norm(x: Tokens, weight: Vector, *, eps: float) -> tuple[Tokens, dict[str, Any]]:
    return _norm(x, weight, None, eps, centred=False)


def _norm(
    x: Tokens, weight: Vector, bias: Vector | None, eps: float, *, centred: bool
) -> tuple[Tokens, dict[str, Any]]:
    flat, width = rows(x), x.shape[-1]
    out, y, r = np.empty_like(flat), np.empty_like(flat), np.empty((len(flat), 1), x.dtype)
    for some in chunks_of(flat):
        part, scale = y[some], r[some]
        np.subtract(flat[some], flat[some].sum(-1, keepdims=True) / width if centred else 0, out=part)
        np.sqrt(np.vecdot(part, part)[:, None] / width + eps, out=scale)
        np.divide(1, scale, out=scale)
        part *= scale
        np.multiply(part, weight, out=out[some])
        if bias is not None:
            out[some] += bias
    return out.reshape(x.shape), {"y": y, "r": r}


def layer_norm_backward(
    g: Tokens, weight: Vector, y: Float[Array, "N D"], r: Float[Array, "N 1"]
) -> tuple[Tokens, Vector, Vector]:
    return _backward(g, weight, y, r, centred=True)


def rms_norm_backward(
    g: Tokens, weight: Vector, y: Float[Array, "N D"], r: Float[Array, "N 1"]
) -> tuple[Tokens, Vector]:
    return _backward(g, weight, y, r, centred=False)[:2]


def _backward(
    g: Tokens, weight: Vector, y: Float[Array, "N D"], r: Float[Array, "N 1"], *, centred: bool
) -> tuple[Tokens, Vector, Vector]:
    """Gradients of x, weight and bias."""
    flat, width = rows(g), y.shape[-1]
    dx, dweight, dbias = np.empty_like(y), np.zeros(width, y.dtype), np.zeros(width, y.dtype)
    for some in chunks_of(y):
        h = flat[some] * y[some]
        dweight += h.sum(0)
        dbias += flat[some].sum(0)
        np.multiply(flat[some], weight, out=h)
        if centred:
            h -= h.mean(-1, keepdims=True)
        h -= y[some] * (np.vecdot(h, y[some])[:, None] / width)  # y is centred in LayerNorm, so h may be before
        np.multiply(h, r[some], out=dx[some])
    return dx.reshape(g.shape), dweight, dbias


NORMS: dict[str, Rule] = {
    "layer_norm": Rule(layer_norm, {"x weight bias": layer_norm_backward}),
    "rms_norm": Rule(rms_norm, {"x weight": rms_norm_backward}),
}
