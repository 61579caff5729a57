"""Every variant of GPT, written again from the papers: in NumPy, token by token and head by head."""

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

# float64 but for the rotary table's float32 cosines: 5.8e-8 seen, relative to 1 + the value
TOLERANCE = 1e-5

Array = NDArray[np.float64]
Weights = dict[str, Array]


def norm(config, x: Array, weights: Weights, name: str) -> Array:
    x = x if config.norm == "rms" else x - x.mean()
    return x / math.sqrt(np.mean(x**2) + 1e-5) * weights[f"{name}.weight"] + weights.get(f"{name}.bias", 0.0)


def linear(x: Array, weights: Weights, name: str) -> Array:
    return weights[f"{name}.weight"] @ x + weights.get(f"{name}.bias", 0.0)


def rotate(x: Array, position: int) -> Array:
    """Section 3.4 of arXiv:2104.09864, a pair at a time."""
    half, out = len(x) // 2, x.copy()
    for i in range(half):
        angle = position * 10_000.0 ** (-2 * i / len(x))
        out[i] = x[i] * math.cos(angle) - x[i + half] * math.sin(angle)
        out[i + half] = x[i] * math.sin(angle) + x[i + half] * math.cos(angle)
    return out


def attention(config, xs: list[Array], weights: Weights, name: str) -> list[Array]:
    heads, groups, width = config.num_heads, config.kv_heads, config.key_width
    qkv = [linear(x, weights, f"{name}.qkv_projection").reshape(heads + 2 * groups, width) for x in xs]
    out = []
    for t, head in itertools.product(range(len(xs)), range(heads)):
        shared, first = head * groups // heads, max(0, t - config.window + 1) if config.window else 0
        scores = []
        for s in range(first, t + 1):
            q, k = qkv[t][head], qkv[s][heads + shared]
            if config.qk_norm:
                q, k = norm(config, q, weights, f"{name}.query_norm"), norm(config, k, weights, f"{name}.key_norm")
            if config.positions == "rotary":
                q, k = rotate(q, t), rotate(k, s)
            slope = 2.0 ** (-8 * (head + 1) / heads) if config.positions == "alibi" else 0.0
            scores.append(q @ k / math.sqrt(width) - slope * (t - s))
            if config.positions == "relative":  # all distances here are small enough to have a row of their own
                scores[-1] += weights["decoder.relative.weight"][t - s, head]
        softmax = np.exp(scores) / np.exp(scores).sum()
        out.append(sum(weight * qkv[first + i][heads + groups + shared] for i, weight in enumerate(softmax)))
    return [
        linear(np.concatenate(out[t * heads : (t + 1) * heads]), weights, f"{name}.output_projection")
        for t in range(len(xs))
    ]


def feed_forward(config, x: Array, weights: Weights, name: str) -> Array:
    hidden = linear(x, weights, f"{name}.linear1")
    if config.activation in ("swiglu", "geglu"):
        gate, up = hidden[: config.d_ff], hidden[config.d_ff :]
        hidden = (gate / (1 + np.exp(-gate)) if config.activation == "swiglu" else gelu(gate)) * up
    elif config.activation == "gelu":
        hidden = gelu(hidden)
    else:
        hidden = np.maximum(hidden, 0) ** {"relu": 1, "squared_relu": 2}[config.activation]
    return linear(hidden, weights, f"{name}.linear2")


def gelu(x: Array) -> Array:
    return np.array([value * 0.5 * math.erfc(-value / math.sqrt(2)) for value in x])


def bucket(buckets: int, *window: int) -> int:
    mixed = 1
    for token in window:
        mixed = (mixed ^ (token + 1)) * 1_000_003 % 2**40
    return (mixed ^ mixed // 2**20) % buckets


def embed(config, tokens: list[int], t: int, weights: Weights) -> Array:
    x = weights["embedding.weight"][tokens[t]] * (math.sqrt(config.d_model) if config.scale_embeddings else 1.0)
    if config.positions == "learned":
        x = x + weights["positions.weight"][t]
    if config.positions == "sinusoidal":
        angles = [t / 10_000 ** (i // 2 * 2 / config.d_model) for i in range(config.d_model)]
        x = x + [math.cos(angle) if i % 2 else math.sin(angle) for i, angle in enumerate(angles)]
    if config.ngram_buckets:
        last = [tokens[t - i] if t >= i else 0 for i in range(3)]
        x = x + weights["ngrams.pairs"][bucket(config.ngram_buckets, *last[:2])]
        x = x + weights["ngrams.triples"][bucket(config.ngram_buckets, *last)]
    return x


def gpt(config, tokens: list[int], weights: Weights) -> Array:
    def normed(xs: list[Array], name: str) -> list[Array]:
        return [norm(config, x, weights, name) for x in xs]

    xs = [embed(config, tokens, t, weights) for t in range(len(tokens))]
    for layer in range(config.num_layers):
        for sublayer in ("attention", "feed_forward"):
            name = f"decoder.layers.{layer}.{sublayer}"
            inputs = normed(xs, f"{name}_residual.norm") if config.norm_order == "pre" else xs
            if sublayer == "attention":
                outputs = attention(config, inputs, weights, name)
            else:
                outputs = [feed_forward(config, x, weights, name) for x in inputs]
            xs = [x + output for x, output in zip(xs, outputs, strict=True)]
            xs = normed(xs, f"{name}_residual.norm") if config.norm_order == "post" else xs
    xs = normed(xs, "decoder.norm") if config.norm_order == "pre" else xs
    logits = np.stack(xs) @ weights.get("output_projection.weight", weights["embedding.weight"]).T
    return config.logit_cap * np.tanh(logits / config.logit_cap) if config.logit_cap else logits


LLAMA = {"positions": "rotary", "norm": "rms", "activation": "swiglu", "bias": False, "tie_embeddings": False}


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"positions": "sinusoidal", "norm_order": "post", "activation": "relu", "scale_embeddings": True},
        {"positions": "rotary", "qk_norm": True},
        {"positions": "rotary", "head_width": 6, "num_kv_heads": 2},
        {"positions": "alibi", "num_kv_heads": 2},
        {"positions": "alibi", "window": 2, "norm": "rms"},
        {"positions": "relative", "num_kv_heads": 2},
        {"num_kv_heads": 1, "ngram_buckets": 13, "logit_cap": 3.0},
        {"activation": "squared_relu", "window": 3, "bias": False},
        {"positions": "none", "activation": "geglu"},
        LLAMA | {"num_kv_heads": 2},
        LLAMA | {"num_kv_heads": 2, "window": 3, "qk_norm": True, "ngram_buckets": 13, "logit_cap": 3.0},
    ],
    ids=lambda choices: "-".join(choices) or "gpt2-style",
)
def test_gpt_equals_its_numpy_version(tiny, choices: dict[str, object]):
    model = tiny("gpt", num_heads=4, d_model=16, **choices).double()
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    tokens = torch.randint(11, (7,))
    expected = gpt(model.config, tokens.tolist(), weights)
    np.testing.assert_allclose(model(tokens[None])[0].detach().numpy(), expected, atol=TOLERANCE, rtol=TOLERANCE)
