"""Habits of JAX: parameters in a nested dict, layers stacked along a first axis and scanned over, einsum, vmap over the
batch, dtypes stated, the random key made by hand."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from right._seeded import seeded
from torch import Tensor, nn

VOCAB, CONTEXT, WIDTH, HEADS, HIDDEN, LAYERS = 37, 24, 32, 4, 64, 3
HEAD = WIDTH // HEADS


def init(rope: bool, tied: bool) -> dict[str, Any]:
    """All weights of a kind in one tensor, a layer along its first axis."""
    fan_in = {"q": WIDTH, "k": WIDTH, "v": WIDTH, "o": WIDTH, "up": WIDTH, "down": HIDDEN}
    shapes = {
        **dict.fromkeys("qkv", (LAYERS, WIDTH, HEADS, HEAD)),
        **{"o": (LAYERS, HEADS, HEAD, WIDTH), "up": (LAYERS, WIDTH, HIDDEN), "down": (LAYERS, HIDDEN, WIDTH)},
    }
    layers = {name: torch.randn(shape) * fan_in[name] ** -0.5 for name, shape in shapes.items()}
    layers |= {name: torch.ones(LAYERS, WIDTH) for name in ("scale_1", "scale_2")}
    params: dict[str, Any] = {"embed": torch.randn(VOCAB, WIDTH) * 0.02, "layers": layers, "scale": torch.ones(WIDTH)}
    if not rope:
        params["pos"] = torch.randn(CONTEXT, WIDTH) * 0.02
    if not tied:
        params["unembed"] = torch.randn(WIDTH, VOCAB) * WIDTH**-0.5
    return params


def to_parameters(tree: dict[str, Any]) -> nn.Module:
    """A nested dict as modules, so that an optimizer finds its leaves."""
    leaves = {name: nn.Parameter(value) for name, value in tree.items() if isinstance(value, Tensor)}
    branches = {name: to_parameters(value) for name, value in tree.items() if isinstance(value, dict)}
    if not branches:
        return nn.ParameterDict(leaves)
    node = nn.Module()
    node.leaves, node.branches = nn.ParameterDict(leaves), nn.ModuleDict(branches)
    return node


def rms_norm(x: Tensor, scale: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * scale


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """x [B, T, H, E]"""
    freqs = 10000.0 ** (-torch.arange(0, HEAD, 2, dtype=x.dtype) / HEAD)
    angles = positions[:, None, None].to(x.dtype) * freqs
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()), -1)


def layer(p: dict[str, Tensor], x: Tensor, mask: Tensor, rope: bool) -> Tensor:
    h = rms_norm(x, p["scale_1"])
    q, k, v = (torch.einsum("btd,dhe->bthe", h, p[name]) for name in "qkv")
    if rope:
        positions = torch.arange(x.shape[1])
        q, k = rotate(q, positions), rotate(k, positions)
    logits = torch.einsum("bthe,bshe->bhts", q, k) / HEAD**0.5
    weights = torch.softmax(torch.where(mask, logits, torch.finfo(logits.dtype).min), dim=-1)
    x = x + torch.einsum("bhts,bshe,hed->btd", weights, v, p["o"])
    h = torch.nn.functional.gelu(rms_norm(x, p["scale_2"]) @ p["up"], approximate="tanh")
    return x + h @ p["down"]


class Scanned(nn.Module):
    def __init__(self, causal: bool = True, rope: bool = True, tied: bool = False) -> None:
        super().__init__()
        self.causal, self.rope = causal, rope
        self.params = to_parameters(init(rope, tied))

    def forward(self, tokens: Tensor) -> Tensor:
        own, layers = self.params.leaves, self.params.branches["layers"]
        T = tokens.shape[1]  # noqa: N806
        x = own["embed"][tokens]
        if not self.rope:
            x = x + own["pos"][:T]
        mask = torch.ones(T, T, dtype=torch.bool)
        mask = mask.tril() if self.causal else mask
        for index in range(LAYERS):
            x = layer({name: stack[index] for name, stack in layers.items()}, x, mask, self.rope)
        x = rms_norm(x, own["scale"])
        return x @ (own["unembed"] if "unembed" in own else own["embed"].T)


class Mapped(Scanned):
    """The function of one sequence, mapped over the rows of the batch."""

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.stack([super(Mapped, self).forward(row[None])[0] for row in tokens])


class OneHot(Scanned):
    """Tokens as one-hot vectors times the embedding, positions as well."""

    def forward(self, tokens: Tensor) -> Tensor:
        one_hot = torch.nn.functional.one_hot(tokens, VOCAB).to(self.params.leaves["embed"].dtype)
        own, layers = self.params.leaves, self.params.branches["layers"]
        T = tokens.shape[1]  # noqa: N806
        x = torch.einsum("btv,vd->btd", one_hot, own["embed"]) + torch.eye(T, CONTEXT).to(one_hot) @ own["pos"]
        mask = torch.ones(T, T, dtype=torch.bool).tril()
        for index in range(LAYERS):
            x = layer({name: stack[index] for name, stack in layers.items()}, x, mask, rope=False)
        return rms_norm(x, own["scale"]) @ own["embed"].T


class WithLossFunction(Scanned):
    """`loss_fn(batch)` as a training loop would differentiate it, of tokens [B, T + 1] and a weight a token."""

    def loss_fn(self, batch: dict[str, Tensor]) -> Tensor:
        tokens, weights = batch["tokens"], batch["weights"][:, 1:]
        log_probs = self(tokens[:, :-1]).log_softmax(dim=-1)
        each = -log_probs.gather(-1, tokens[:, 1:, None])[..., 0]
        return (each * weights).sum() / weights.sum().clamp(min=1)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "scanned": partial(seeded, Scanned),
    "scanned, learned positions": partial(seeded, Scanned, rope=False),
    "scanned, tied": partial(seeded, Scanned, tied=True),
    "scanned, both sides": partial(seeded, Scanned, causal=False, rope=False),
    "mapped over rows": partial(seeded, Mapped),
    "one-hot": partial(seeded, OneHot, rope=False, tied=True),
    "loss function of a batch": partial(seeded, WithLossFunction),
}
