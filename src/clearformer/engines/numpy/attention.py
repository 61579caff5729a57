"""Attention, and its gradient by hand: every query takes a weighted mean of the values.

    P = softmax(Q Kᵀ / sqrt(E) + bias), zero where the mask is False      O = P V      Vaswani et al. 2017, equation 1

Backwards, from g = dL/dO, with dP = g Vᵀ: the softmax of a row has dp_s/dz_u = p_s ([s = u] - p_u), so

    dZ = P * (dP - Σ_s P dP) = P * (dP - Σ_e g O)       dV = Pᵀ g       dQ = dZ K / sqrt(E)       dK = dZᵀ Q / sqrt(E)

since Σ_s p_s g·v_s = g·o: the row's sum is one over E numbers, not over S. With dropout, P in O and dV and dP in dZ are
multiplied by M / (1 - p), M being what was left standing; the row's sum is the same.

One row of the batch is done at a time, so that its scores stay in the cache. Of all [B, H, T, S] only P is kept, and M.
The heads that share keys stand below each other like more queries, so grouped-query attention needs no copies of keys.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from clearformer.engines.numpy.rules import Array, Rule

Queries = Float[Array, "B H T E"]
Keys = Float[Array, "B G S E"]
Weights = Float[Array, "B H T S"]
Mask = Bool[NDArray[np.bool_], "#B #H #T #S"]
Bias = Float[Array, "#B #H #T #S"]


def attention(
    q: Queries,
    k: Keys,
    v: Keys,
    *,
    mask: Mask | None,
    bias: Bias | None,
    dropout: float,
    rng: np.random.Generator | None,
) -> tuple[Queries, dict[str, Any]]:
    """`dropout` is the share of weights left out, drawn from `rng`. A query that may attend to nothing yields zeros."""
    (B, H, T, E), (G, S) = q.shape, k.shape[1:3]  # noqa: N806
    added = _added(mask, bias, q.dtype)
    weights, out = np.empty((B, H, T, S), q.dtype), np.empty_like(q)
    left = None
    if dropout:
        assert rng is not None, "dropout draws random numbers"
        left = rng.random((B, H, T, S), np.float32) >= dropout
    for b in range(B):
        p = weights[b]
        np.matmul(_grouped(q[b], G) / math.sqrt(E), k[b].swapaxes(-1, -2), out=_grouped(p, G))
        if added is not None:
            p += added[min(b, len(added) - 1)]
        softmax_(p)
        used = p if left is None else p * _kept(left[b], dropout, p.dtype)
        out[b] = (_grouped(used, G) @ v[b]).reshape(H, T, E)
    return out, {"weights": weights, "left": left}


def softmax_(scores: Float[Array, "*rows S"]) -> None:
    """Softmax in place; a row of -inf becomes zeros."""
    largest = scores.max(-1, keepdims=True, initial=-math.inf)
    largest[largest == -math.inf] = 0
    scores -= largest
    np.exp(scores, out=scores)
    total = scores.sum(-1, keepdims=True)
    total[total == 0] = 1
    scores /= total


def attention_backward(
    g: Queries,
    q: Queries,
    k: Keys,
    v: Keys,
    out: Queries,
    weights: Weights,
    left: Bool[NDArray[np.bool_], "B H T S"] | None,
    dropout: float,
) -> tuple[Queries, Keys, Keys]:
    (B, H, T, E), G = q.shape, k.shape[1]  # noqa: N806
    dq, dk, dv = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    for b in range(B):
        p, dz = _grouped(weights[b], G), np.empty_like(weights[b])
        rows = _grouped(g[b], G)
        np.matmul(rows, v[b].swapaxes(-1, -2), out=_grouped(dz, G))
        used = weights[b]
        if left is not None:
            factor = _kept(left[b], dropout, q.dtype)
            used = used * factor
            dz *= factor
        dv[b] = _grouped(used, G).swapaxes(-1, -2) @ rows
        dz -= np.vecdot(g[b], out[b])[..., None]
        dz = _grouped(dz, G)
        dz *= p
        dq[b] = (dz @ (k[b] / math.sqrt(E))).reshape(H, T, E)
        dk[b] = dz.swapaxes(-1, -2) @ (_grouped(q[b], G) / math.sqrt(E))
    return dq, dk, dv


def _kept(left: Bool[NDArray[np.bool_], "H T S"], dropout: float, dtype: np.dtype[Any]) -> Float[Array, "H T S"]:
    """M / (1 - p) of the formula."""
    return np.where(left, dtype.type(1 / (1 - dropout)), dtype.type(0))


def _grouped(x: Float[Array, "H T width"], groups: int) -> Float[Array, "G HT width"]:
    """The heads that share keys, one below the other."""
    return x.reshape(groups, x.shape[0] // groups * x.shape[1], x.shape[2])


def _added(mask: Mask | None, bias: Bias | None, dtype: np.dtype[Any]) -> Bias | None:
    """Mask and bias as one array to add to the scores."""
    if mask is None:
        return bias
    return np.where(mask, dtype.type(0) if bias is None else bias, dtype.type(-math.inf))


ATTENTION: dict[str, Rule] = {"attention": Rule(attention, {"q k v": attention_backward})}
