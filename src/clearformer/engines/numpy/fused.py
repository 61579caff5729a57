"""Fused rules: whole formulas of a transformer as one operation, with hand-written gradients.

    linear          y = x Wᵀ + b            dL/dx = g W      dL/dW = gᵀ x over all tokens      dL/db = Σ_tokens g
    embedding       y = W[tokens]           dL/dW[v] = Σ g over the positions of token v
    split_heads     y = x[:, :, from:to] as [B, H, T, E]         dL/dx = g in its place, zero elsewhere
    rotary          y = R x, R a rotation   dL/dx = Rᵀ g, the rotation back
    dropout         y = M x / (1 - p)       dL/dx = M g / (1 - p), M being the dropout mask
    cross_entropy   L = Σ_tokens (log Σ_v exp z_v - Σ_v q_v z_v),  q = (1 - ε) [v = target] + ε / V
                    dL/dz = softmax(z) - q, and zero where nothing is predicted

They save time, since less is read and written, and memory, since less is saved for the backward pass. Tests compare
them to the same formulas in small steps.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from clearformer.data.batches import IGNORE
from clearformer.engines.numpy.activations import ACTIVATIONS
from clearformer.engines.numpy.attention import ATTENTION
from clearformer.engines.numpy.chunks import chunks_of
from clearformer.engines.numpy.norms import NORMS
from clearformer.engines.numpy.rules import Array, Part, Rule, rows

Tokens = Int[NDArray[np.integer[Any]], "*tokens"]
Logits = Float[Array, "*tokens V"]


def linear(
    x: Float[Array, "*tokens D"], weight: Float[Array, "F D"], bias: Float[Array, " F"] | None = None
) -> Float[Array, "*tokens F"]:
    out = rows(x) @ weight.T
    if bias is not None:
        out += bias
    return out.reshape(*x.shape[:-1], len(weight))


def linear_x(g: Float[Array, "*tokens F"], weight: Float[Array, "F D"]) -> Float[Array, "*tokens D"]:
    return (rows(g) @ weight).reshape(*g.shape[:-1], weight.shape[1])


def linear_bias(g: Float[Array, "*tokens F"]) -> Float[Array, " F"]:
    """A matrix product sums over tokens much faster than `sum`."""
    return np.ones(len(rows(g)), g.dtype) @ rows(g)


def embedding_weight(g: Float[Array, "*tokens D"], shape: tuple[int, ...], tokens: Tokens) -> Float[Array, "V D"]:
    """Sorting makes the positions of each token adjacent, to be summed at once."""
    order = np.argsort(tokens, axis=None, kind="stable")
    ordered = tokens.reshape(-1)[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    dw = np.zeros(shape, g.dtype)
    if len(starts):
        dw[ordered[starts]] = np.add.reduceat(rows(g)[order], starts, axis=0)
    return dw


def split_heads(
    x: Float[Array, "B T all_heads"], first: int, count: int, width: int
) -> Float[Array, "B count T width"]:
    """A view of some heads."""
    B, T, _ = x.shape  # noqa: N806
    return x[..., first * width : (first + count) * width].reshape(B, T, count, width).swapaxes(1, 2)


def split_heads_x(
    g: Float[Array, "B count T width"], shape: tuple[int, ...], first: int, count: int, width: int
) -> Part:
    return Part(shape, (..., slice(first * width, (first + count) * width)), join_heads(g))


def join_heads(x: Float[Array, "B H T E"]) -> Float[Array, "B T width"]:
    B, H, T, E = x.shape  # noqa: N806
    return x.swapaxes(1, 2).reshape(B, T, H * E)


def rotary(
    x: Float[Array, "B H T E"], cos: Float[Array, "*#B T half"], sin: Float[Array, "*#B T half"]
) -> Float[Array, "B H T E"]:
    """Rotate element i and the one half a head after it by the same angle. Keeps the memory layout of x."""
    first, second = np.split(x, 2, axis=-1)
    out = np.empty_like(x)
    out_first, out_second = np.split(out, 2, axis=-1)
    np.multiply(first, cos, out=out_first)
    out_first -= second * sin
    np.multiply(second, cos, out=out_second)
    out_second += first * sin
    return out


def dropout(
    x: Float[Array, "*tokens D"], p: float, rng: np.random.Generator
) -> tuple[Float[Array, "*tokens D"], dict[str, Any]]:
    keep = rng.random(x.shape, np.float32) >= p
    return dropped(x, keep, p), {"keep": keep}


def dropped(
    g: Float[Array, "*tokens D"], keep: Bool[NDArray[np.bool_], "*tokens D"], p: float
) -> Float[Array, "*tokens D"]:
    out = g * keep
    out *= 1 / (1 - p)
    return out


def cross_entropy(logits: Logits, targets: Tokens, smoothing: float) -> tuple[np.floating[Any], dict[str, Any]]:
    """Nats, summed over the tokens whose target is not IGNORE."""
    z, p, answers = rows(logits), np.empty(rows(logits).shape, logits.dtype), targets.reshape(-1)
    losses = np.zeros(len(z), logits.dtype)
    for some in chunks_of(z):
        np.subtract(z[some], z[some].max(-1, keepdims=True), out=p[some])
        predicted = np.flatnonzero(answers[some] != IGNORE)
        loss = -(1 - smoothing) * p[some][predicted, answers[some][predicted]]
        if smoothing:
            loss -= smoothing * p[some][predicted].mean(-1)
        total = np.exp(p[some], out=p[some]).sum(-1, keepdims=True)
        losses[some][predicted] = loss + np.log(total[predicted, 0])
        p[some] /= total
    predicted = np.flatnonzero(answers != IGNORE)
    return losses.sum(), {"p": p, "predicted": predicted, "answers": answers[predicted]}


def cross_entropy_logits(
    g: Float[Array, ""],
    shape: tuple[int, ...],
    p: Float[Array, "N V"],
    predicted: Int[NDArray[np.int64], " P"],
    answers: Int[NDArray[np.integer[Any]], " P"],
    smoothing: float,
) -> Logits:
    """In place, since p is not needed again."""
    p -= smoothing / shape[-1]
    p[predicted, answers] -= 1 - smoothing
    ignored = np.ones(len(p), np.bool_)
    ignored[predicted] = False
    p[ignored] = 0
    p *= g
    return p.reshape(shape)


FUSED: dict[str, Rule] = {
    "linear": Rule(linear, {"x": linear_x, "weight": lambda g, x: rows(g).T @ rows(x), "bias": linear_bias}),
    "embedding": Rule(lambda weight, tokens: weight[tokens], {"weight": embedding_weight}),
    "split_heads": Rule(split_heads, {"x": split_heads_x}),
    "join_heads": Rule(join_heads, {"x": lambda g, shape: split_heads(g, 0, shape[1], shape[3])}),
    "rotary": Rule(rotary, {"x": lambda g, cos, sin: rotary(g, cos, -sin)}),
    "dropout": Rule(dropout, {"x": dropped}),
    "cross_entropy": Rule(cross_entropy, {"logits": cross_entropy_logits}),
    **NORMS,
    **ACTIVATIONS,
    **ATTENTION,
}
