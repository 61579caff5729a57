"""A masked language model as pure functions of a dictionary of parameters: post-norm, sinusoidal positions, ReLU."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from clearformer.checks.subject import Subject

VOCAB, CONTEXT, WIDTH, HIDDEN, HEADS, LAYERS = 23, 24, 32, 128, 4, 2
PAD, MASK = 0, 1
DROPOUT = 0.1

Params = Mapping[str, Tensor]


def init() -> dict[str, Tensor]:
    """All parameters. Matrices are [in, out]."""
    p = {"embed": torch.randn(VOCAB, WIDTH) * 0.02, "unembed": torch.randn(WIDTH, VOCAB) * 0.02}
    for layer in range(LAYERS):
        for name in ("query", "key", "value", "out"):
            p[f"{name}_{layer}"] = torch.randn(WIDTH, WIDTH) / math.sqrt(WIDTH)
            p[f"{name}_bias_{layer}"] = torch.zeros(WIDTH)
        p[f"up_{layer}"] = torch.randn(WIDTH, HIDDEN) / math.sqrt(WIDTH)
        p[f"up_bias_{layer}"] = torch.zeros(HIDDEN)
        p[f"down_{layer}"] = torch.randn(HIDDEN, WIDTH) / math.sqrt(HIDDEN)
        p[f"down_bias_{layer}"] = torch.zeros(WIDTH)
        for name in ("attention_norm", "feed_forward_norm"):
            p[f"{name}_gain_{layer}"] = torch.ones(WIDTH)
            p[f"{name}_bias_{layer}"] = torch.zeros(WIDTH)
    return p


def linear(p: Params, name: str, layer: int, x: Tensor) -> Tensor:
    return x @ p[f"{name}_{layer}"] + p[f"{name}_bias_{layer}"]


def layer_norm(p: Params, name: str, layer: int, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True, unbiased=False)
    return centred / torch.sqrt(variance + 1e-5) * p[f"{name}_gain_{layer}"] + p[f"{name}_bias_{layer}"]


def dropout(x: Tensor, training: bool) -> Tensor:
    if not training:
        return x
    keep = torch.rand(x.shape) >= DROPOUT
    return x * keep / (1 - DROPOUT)


def positions(real: Tensor) -> Tensor:
    """Sines and cosines [B, T, WIDTH] of wavelengths from 2π to 10000 · 2π; the first real token stands at 0."""
    where = (real.cumsum(1) - 1).clamp(min=0)
    angles = where[..., None] / 10000 ** (torch.arange(0, WIDTH, 2) / WIDTH)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def split_heads(x: Tensor) -> Tensor:
    B, T, _ = x.shape  # noqa: N806
    return x.reshape(B, T, HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)


def softmax(x: Tensor) -> Tensor:
    e = torch.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def attention(p: Params, layer: int, x: Tensor, mask: Tensor) -> Tensor:
    """`mask` [B, 1, 1, S] is True where a key may be attended; where none may, the result is zero."""
    q = split_heads(linear(p, "query", layer, x))
    k = split_heads(linear(p, "key", layer, x))
    v = split_heads(linear(p, "value", layer, x))
    scores = q @ k.transpose(2, 3) / math.sqrt(WIDTH // HEADS)
    scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    weights = softmax(scores) * mask
    merged = (weights @ v).permute(0, 2, 1, 3).reshape(x.shape)
    return linear(p, "out", layer, merged)


def feed_forward(p: Params, layer: int, x: Tensor) -> Tensor:
    hidden = torch.relu(linear(p, "up", layer, x))
    return linear(p, "down", layer, hidden)


def forward(p: Params, tokens: Tensor, real: Tensor, training: bool) -> Tensor:
    """Logits [B, T, VOCAB]."""
    mask = real[:, None, None, :]
    x = p["embed"][tokens] * math.sqrt(WIDTH) + positions(real).to(p["embed"].dtype)
    x = dropout(x, training)
    for layer in range(LAYERS):
        attended = attention(p, layer, x, mask)
        x = layer_norm(p, "attention_norm", layer, x + dropout(attended, training))
        fed = feed_forward(p, layer, x)
        x = layer_norm(p, "feed_forward_norm", layer, x + dropout(fed, training))
    return x @ p["unembed"]


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, averaged over the positions that were masked: all others have the label -100."""
    masked = labels != -100
    log_probs = logits - logits.logsumexp(-1, keepdim=True)
    wanted = log_probs.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return -(wanted * masked).sum() / masked.sum()


class MaskedLM(nn.Module):
    """Holds the parameters; what is done with them are the functions above."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.ParameterDict(init())

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        real = torch.ones_like(tokens, dtype=torch.bool) if real is None else real
        return forward(self.p, tokens, real, self.training)


def fill(model: MaskedLM, tokens: Tensor) -> Tensor:
    """The tokens with the likeliest one in every masked place."""
    return torch.where(tokens == MASK, model(tokens, tokens != PAD).argmax(-1), tokens)


def accumulate(model: MaskedLM, batches: list[tuple[Tensor, Tensor]]) -> None:
    total = sum((labels != -100).sum() for _, labels in batches)
    for tokens, labels in batches:
        share = (labels != -100).sum() / total
        (masked_loss(model(tokens), labels) * share).backward()


def subject() -> Subject:
    torch.manual_seed(0)
    return Subject(
        MaskedLM(),
        call=lambda model, tokens: model(tokens),
        kind="bidirectional",
        vocab_size=VOCAB,
        context=CONTEXT,
        reserved=(PAD, MASK),
        pad=PAD,
        padded=lambda model, tokens, real: model(tokens, real),
        sides=("right", "left"),
        loss=lambda model, tokens, labels: masked_loss(model(tokens), labels),
        accumulate=accumulate,
        fill=fill,
        mask=MASK,
        norm_order="post",
        tied=False,
        name="functional masked LM",
    )
