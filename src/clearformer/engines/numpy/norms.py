"""Normalisation, and its gradient by hand: put every token's vector on the same scale.

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

from clearformer.engines.numpy.rules import Array, Rule

Tokens = Float[Array, "*tokens D"]
Vector = Float[Array, " D"]


def layer_norm(x: Tokens, weight: Vector, bias: Vector | None = None, *, eps: float) -> tuple[Tokens, dict[str, Any]]:
    y, found = _unit(x - x.mean(-1, keepdims=True), eps)
    out = y * weight
    if bias is not None:
        out += bias
    return out, found


def rms_norm(x: Tokens, weight: Vector, *, eps: float) -> tuple[Tokens, dict[str, Any]]:
    y, found = _unit(x.copy(), eps)
    return y * weight, found


def _unit(y: Tokens, eps: float) -> tuple[Tokens, dict[str, Any]]:
    """Scale each row to unit mean square, in place."""
    r = 1 / np.sqrt(np.vecdot(y, y)[..., None] / y.shape[-1] + eps)
    y *= r
    return y, {"y": y, "r": r}


def layer_norm_x(g: Tokens, weight: Vector, y: Tokens, r: Float[Array, "*tokens 1"]) -> Tokens:
    h = g * weight
    h -= h.mean(-1, keepdims=True)
    return _scale_back(h, y, r)


def rms_norm_x(g: Tokens, weight: Vector, y: Tokens, r: Float[Array, "*tokens 1"]) -> Tokens:
    return _scale_back(g * weight, y, r)


def _scale_back(h: Tokens, y: Tokens, r: Float[Array, "*tokens 1"]) -> Tokens:
    """r (h - y mean(h y)), in place; since y is centred in LayerNorm, h may have been centred before."""
    h -= y * (np.vecdot(h, y)[..., None] / y.shape[-1])
    h *= r
    return h


NORMS: dict[str, Rule] = {
    "layer_norm": Rule(layer_norm, {"x": layer_norm_x, "weight": lambda g, y: g * y, "bias": lambda g: g}),
    "rms_norm": Rule(rms_norm, {"x": rms_norm_x, "weight": lambda g, y: g * y}),
}
