"""Attention, with a hand-written gradient: every query takes a weighted mean of the values.

    P = softmax(Q Kᵀ / sqrt(E) + bias), zero where the mask is False      O = P V      Vaswani et al. 2017, equation 1

Backwards, from g = dL/dO, with dP = g Vᵀ: the softmax of a row has dp_s/dz_u = p_s ([s = u] - p_u), so

    dZ = P * (dP - Σ_s P dP) = P * (dP - Σ_e g O)       dV = Pᵀ g       dQ = dZ K / sqrt(E)       dK = dZᵀ Q / sqrt(E)

since Σ_s p_s g·v_s = g·o: the row's sum is one over E numbers, not over S. The gradient of the bias is dZ itself. With
dropout, P in O and dV and dP in dZ are multiplied by M / (1 - p), M being the dropout mask; the row's sum is the same.

A few rows of the batch are processed at a time, so that their scores stay in the CPU cache. Of arrays [B, H, T, S] only
P and M are saved. R = H / G query heads share a key head, which is not copied. Causal attention processes BLOCK queries
at a time, with only the keys that the last of them may attend to.
"""

import functools
import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from clearformer.engines.numpy.chunks import chunks_of
from clearformer.engines.numpy.rules import Array, Rule

Queries = Float[Array, "B H T E"]
Keys = Float[Array, "B G S E"]
Weights = Float[Array, "B H T S"]
KeepMask = Bool[NDArray[np.bool_], "B H T S"]
Mask = Bool[NDArray[np.bool_], "#B #H #T #S"]
Bias = Float[Array, "#B #H #T #S"]

BLOCK = 256
"""queries per block of causal attention: smaller blocks compute fewer masked scores, but small products are slow, and
up to 256 keys there is no difference"""


def attention(
    q: Queries,
    k: Keys,
    v: Keys,
    bias: Bias | None = None,
    *,
    causal: bool,
    mask: Mask | None,
    dropout: float,
    rng: np.random.Generator | None,
) -> tuple[Queries, dict[str, Any]]:
    """`causal`: the queries are the last T of S positions and attend to none after them; excludes `mask`.

    `dropout` is the share of dropped weights, drawn from `rng`. A query that may attend to nothing yields zeros.
    """
    (B, H, T, E), (G, S) = q.shape, k.shape[1:3]  # noqa: N806
    weights, out = np.empty((B, H, T, S), q.dtype), empty_heads(q.shape, q.dtype)
    added, keep = masked_bias(mask, bias, q.dtype), dropout_mask(weights.shape, dropout, rng)
    for some in chunks_of(weights):
        queries, keys, values = _grouped(q[some] / math.sqrt(E), G), k[some][:, :, None], v[some][:, :, None]
        result = _grouped(out[some], G)
        for rows, end in _blocks(T, S, causal):
            z = weights[some, :, rows, :end]
            p = _grouped(z, G)
            np.matmul(queries[..., rows, :], keys[..., :end, :].swapaxes(-1, -2), out=p)
            if added is not None:
                z += np.broadcast_to(added, weights.shape)[some]
            softmax_(z, causal=causal)
            if keep is not None:
                p = p * _grouped(_dropout_scale(keep[some, :, rows, :end], dropout, q.dtype), G)
            result[..., rows, :] = p @ values[..., :end, :]
    return out, {"weights": weights, "keep": keep}


def softmax_(scores: Float[Array, "B H T S"], *, causal: bool) -> None:
    """Softmax in place; a row of -inf becomes zeros. `causal`: keys after the query become zeros, too."""
    if causal:
        T = scores.shape[2]  # noqa: N806
        scores[..., -T:] += _causal_bias(T, scores.dtype)
    scores -= scores.max(-1, keepdims=True, initial=np.finfo(scores.dtype).min)  # finite even if all are -inf
    np.exp(scores, out=scores)
    scores /= np.maximum(scores.sum(-1, keepdims=True), 1)  # at least 1, except in a row of zeros


@functools.lru_cache(maxsize=4)
def _causal_bias(queries: int, dtype: np.dtype[Any]) -> Float[Array, "T T"]:
    """-inf at every key after the query."""
    return np.triu(np.full((queries, queries), -math.inf, dtype), 1)


def attention_backward(
    g: Queries,
    q: Queries,
    k: Keys,
    v: Keys,
    out: Queries,
    weights: Weights,
    keep: KeepMask | None,
    dropout: float,
    causal: bool,
) -> tuple[Queries, Keys, Keys]:
    (T, E), (G, S) = q.shape[2:], k.shape[1:3]  # noqa: N806
    dq, dk, dv = (empty_heads(x.shape, x.dtype) for x in (q, k, v))
    dk[:], dv[:] = 0, 0
    for some in chunks_of(weights):
        queries, rest, dqueries = (_grouped(x, G) for x in (q[some] / math.sqrt(E), g[some], dq[some]))
        keys, values = k[some][:, :, None], v[some][:, :, None]
        means = _grouped(np.vecdot(g[some], out[some])[..., None], G)
        for rows, end in _blocks(T, S, causal):
            p = used = _grouped(weights[some, :, rows, :end], G)
            dz = rest[..., rows, :] @ values[..., :end, :].swapaxes(-1, -2)
            if keep is not None:
                factor = _grouped(_dropout_scale(keep[some, :, rows, :end], dropout, q.dtype), G)
                used = p * factor
                dz *= factor
            dz -= means[..., rows, :]
            dz *= p
            dv[some, :, :end] += (used.swapaxes(-1, -2) @ rest[..., rows, :]).sum(2)
            dk[some, :, :end] += (dz.swapaxes(-1, -2) @ queries[..., rows, :]).sum(2)
            np.matmul(dz, keys[..., :end, :], out=dqueries[..., rows, :])
        dqueries *= 1 / math.sqrt(E)
    return dq, dk, dv


def bias_gradient(
    g: Queries, v: Keys, out: Queries, weights: Weights, keep: KeepMask | None, dropout: float
) -> Weights:
    """dZ, computed once more, since few biases have a gradient."""
    (B, H, T, S), G = weights.shape, v.shape[1]  # noqa: N806
    dz = (_grouped(g, G) @ v[:, :, None].swapaxes(-1, -2)).reshape(B, H, T, S)
    if keep is not None:
        dz *= _dropout_scale(keep, dropout, g.dtype)
    dz -= np.vecdot(g, out)[..., None]
    dz *= weights
    return dz


def _blocks(T: int, S: int, causal: bool) -> list[tuple[slice, int]]:  # noqa: N803
    """The queries of each block, and how many keys they attend to."""
    if not causal:
        return [(slice(0, T), S)]
    return [(slice(t, min(t + BLOCK, T)), S - T + min(t + BLOCK, T)) for t in range(0, T, BLOCK)]


def empty_heads(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Queries:
    """An array [B, H, T, E] with the memory layout [B, T, H, E], so that heads are joined without a copy."""
    B, H, T, E = shape  # noqa: N806
    return np.empty((B, T, H, E), dtype).swapaxes(1, 2)


def dropout_mask(shape: tuple[int, ...], dropout: float, rng: np.random.Generator | None) -> KeepMask | None:
    """True for the weights to keep; None without dropout."""
    if not dropout:
        return None
    assert rng is not None, "dropout draws random numbers"
    return rng.random(shape, np.float32) >= dropout


def _dropout_scale(keep: KeepMask, dropout: float, dtype: np.dtype[Any]) -> Weights:
    """M / (1 - p) of the formula."""
    return np.where(keep, dtype.type(1 / (1 - dropout)), dtype.type(0))


def _grouped(x: Float[Array, "B H T width"], groups: int) -> Float[Array, "B G R T width"]:
    """A view that groups the query heads that share a key head."""
    B, H, T, width = x.shape  # noqa: N806
    return x.reshape(B, groups, H // groups, T, width)


def masked_bias(mask: Mask | None, bias: Bias | None, dtype: np.dtype[Any]) -> Bias | None:
    """Mask and bias as one array to add to the scores."""
    if mask is None:
        return bias
    return np.where(mask, dtype.type(0) if bias is None else bias, dtype.type(-math.inf))


ATTENTION: dict[str, Rule] = {"attention": Rule(attention, {"q k v": attention_backward, "bias": bias_gradient})}
