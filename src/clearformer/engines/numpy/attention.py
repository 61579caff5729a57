"""Attention, and its gradient by hand: every query takes a weighted mean of the values.

    P = softmax(Q Kᵀ / sqrt(E) + bias), zero where the mask is False      O = P V      Vaswani et al. 2017, equation 1

Backwards, from g = dL/dO, with dP = g Vᵀ: the softmax of a row has dp_s/dz_u = p_s ([s = u] - p_u), so

    dZ = P * (dP - Σ_s P dP) = P * (dP - Σ_e g O)       dV = Pᵀ g       dQ = dZ K / sqrt(E)       dK = dZᵀ Q / sqrt(E)

since Σ_s p_s g·v_s = g·o: the row's sum is one over E numbers, not over S. With dropout, P in O and dV and dP in dZ are
multiplied by M / (1 - p), M being what was left standing; the row's sum is the same.

One row of the batch is done at a time, so that its scores stay in the cache, and several at once. Of all [B, H, T, S]
only P is kept, and M. R = H / G queries' heads share one of keys, which is not copied for them. Where attention is
causal, queries are done BLOCK at a time, and only with the keys that the last of them may see.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from clearformer.engines.numpy.rules import Array, Rule
from clearformer.engines.numpy.threads import in_parts

Queries = Float[Array, "B H T E"]
Keys = Float[Array, "B G S E"]
Weights = Float[Array, "B H T S"]
Mask = Bool[NDArray[np.bool_], "#B #H #T #S"]
Bias = Float[Array, "#B #H #T #S"]

BLOCK = 64
"""queries of a causal attention that are done together: fewer keys are looked at in vain, but products are smaller"""


def attention(
    q: Queries,
    k: Keys,
    v: Keys,
    *,
    causal: bool,
    mask: Mask | None,
    bias: Bias | None,
    dropout: float,
    rng: np.random.Generator | None,
) -> tuple[Queries, dict[str, Any]]:
    """`causal`: the queries are the last T of S positions and see none that comes after; then there is no other mask.

    `dropout` is the share of weights left out, drawn from `rng`. A query that may attend to nothing yields zeros.
    """
    (B, H, T, E), (G, S) = q.shape, k.shape[1:3]  # noqa: N806
    added = _added(mask, bias, q.dtype)
    weights = np.empty((B, H, T, S), q.dtype)
    out = np.empty((B, T, H, E), q.dtype).swapaxes(1, 2)  # as the heads will be joined
    later = np.triu(np.full((BLOCK, BLOCK), -math.inf, q.dtype), 1)
    left = None
    if dropout:
        assert rng is not None, "dropout draws random numbers"
        left = rng.random((B, H, T, S), np.float32) >= dropout

    def row(b: int) -> None:
        p, queries, result = (_grouped(x, G) for x in (weights[b], q[b] / math.sqrt(E), out[b]))
        factor = None if left is None else _grouped(_kept(left[b], dropout, q.dtype), G)
        for rows, end in _blocks(T, S, causal):
            z = p[:, :, rows, :end]
            np.matmul(queries[:, :, rows], k[b][:, None, :end].swapaxes(-1, -2), out=z)
            if causal:
                z[..., end - z.shape[2] :] += later[: z.shape[2], : z.shape[2]]
            if added is not None:
                z += _grouped(np.broadcast_to(added[min(b, len(added) - 1)], (H, T, S)), G)
            softmax_(z)
            result[:, :, rows] = (z if factor is None else z * factor[:, :, rows, :end]) @ v[b][:, None, :end]

    in_parts(row, B, weights.size, products=True)
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
    causal: bool,
) -> tuple[Queries, Keys, Keys]:
    (B, H, T, E), (G, S) = q.shape, k.shape[1:3]  # noqa: N806
    dq = np.empty((B, T, H, E), q.dtype).swapaxes(1, 2)
    dk, dv = (np.zeros((B, S, G, E), q.dtype).swapaxes(1, 2) for _ in "kv")

    def row(b: int) -> None:
        p, queries, rest, dqueries = (_grouped(x, G) for x in (weights[b], q[b] / math.sqrt(E), g[b], dq[b]))
        means = _grouped(np.vecdot(g[b], out[b])[..., None], G)
        factor = None if left is None else _grouped(_kept(left[b], dropout, q.dtype), G)
        for rows, end in _blocks(T, S, causal):
            used, dz = p[:, :, rows, :end], rest[:, :, rows] @ v[b][:, None, :end].swapaxes(-1, -2)
            if factor is not None:
                dz *= factor[:, :, rows, :end]
            dz -= means[:, :, rows]
            dz *= used
            if factor is not None:
                used = used * factor[:, :, rows, :end]
            dv[b, :, :end] += (used.swapaxes(-1, -2) @ rest[:, :, rows]).sum(1)
            dk[b, :, :end] += (dz.swapaxes(-1, -2) @ queries[:, :, rows]).sum(1)
            np.matmul(dz, k[b][:, None, :end], out=dqueries[:, :, rows])
        dqueries *= 1 / math.sqrt(E)

    in_parts(row, B, weights.size, products=True)
    return dq, dk, dv


def _blocks(T: int, S: int, causal: bool) -> list[tuple[slice, int]]:  # noqa: N803
    """Which queries are done together, and how many of the keys they see."""
    if not causal:
        return [(slice(0, T), S)]
    return [(slice(t, min(t + BLOCK, T)), S - T + min(t + BLOCK, T)) for t in range(0, T, BLOCK)]


def _kept(left: Bool[NDArray[np.bool_], "H T S"], dropout: float, dtype: np.dtype[Any]) -> Float[Array, "H T S"]:
    """M / (1 - p) of the formula."""
    return np.where(left, dtype.type(1 / (1 - dropout)), dtype.type(0))


def _grouped(x: Float[Array, "H T width"], groups: int) -> Float[Array, "G R T width"]:
    """The heads that share keys, together: a view."""
    return x.reshape(groups, x.shape[0] // groups, *x.shape[1:])


def _added(mask: Mask | None, bias: Bias | None, dtype: np.dtype[Any]) -> Bias | None:
    """Mask and bias as one array to add to the scores."""
    if mask is None:
        return bias
    return np.where(mask, dtype.type(0) if bias is None else bias, dtype.type(-math.inf))


ATTENTION: dict[str, Rule] = {"attention": Rule(attention, {"q k v": attention_backward})}
