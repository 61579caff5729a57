"""An encoder-decoder of small classes: post-norm, boolean masks (True = may attend), a cache, label smoothing."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from clearformer.checks.subject import Subject

PAD, BEGIN = 0, 1

KeysAndValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Cache:
    """What a decoder keeps between steps: the encoded source, and each layer's keys and values [B, H, S, E]."""

    memory: Tensor
    layers: tuple[KeysAndValues, ...]


class LayerNorm(nn.Module):
    def __init__(self, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(-1, keepdim=True)
        return self.gain * (x - mean) / (variance + self.eps).sqrt() + self.bias


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_width = d_model // num_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.output = nn.Linear(d_model, d_model)
        self.dropout = nn.Dropout(dropout)

    def heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, self.head_width)).transpose(1, 2)

    def keys_and_values(self, memory: Tensor) -> KeysAndValues:
        return self.heads(self.key(memory)), self.heads(self.value(memory))

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
        """`mask` [*, *, T, S]; a query that may attend to nothing gets zeros."""
        scores = self.heads(self.query(x)) @ keys.transpose(-2, -1) / math.sqrt(self.head_width)
        scores = scores.masked_fill(~mask, -torch.inf)
        weights = scores.softmax(-1).masked_fill(~mask, 0.0)
        out = self.dropout(weights) @ values
        return self.output(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Sequential):
    def __init__(self, d_model: int, d_ff: int, dropout: float) -> None:
        super().__init__(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Dropout(dropout), nn.Linear(d_ff, d_model))


class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads, dropout)
        self.feed_forward = FeedForward(d_model, d_ff, dropout)
        self.norms = nn.ModuleList([LayerNorm(d_model) for _ in range(2)])
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norms[0](x + self.dropout(self.attention(x, *self.attention.keys_and_values(x), mask)))
        return self.norms[1](x + self.dropout(self.feed_forward(x)))


class Encoder(nn.Module):
    def __init__(self, layers: list[EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return x


class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(d_model, num_heads, dropout)
        self.cross_attention = MultiHeadAttention(d_model, num_heads, dropout)
        self.feed_forward = FeedForward(d_model, d_ff, dropout)
        self.norms = nn.ModuleList([LayerNorm(d_model) for _ in range(3)])
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, memory: Tensor, mask: Tensor, source_mask: Tensor, past: KeysAndValues | None
    ) -> tuple[Tensor, KeysAndValues]:
        keys, values = self.self_attention.keys_and_values(x)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        x = self.norms[0](x + self.dropout(self.self_attention(x, keys, values, mask)))
        of_source = self.cross_attention.keys_and_values(memory)
        x = self.norms[1](x + self.dropout(self.cross_attention(x, *of_source, source_mask)))
        return self.norms[2](x + self.dropout(self.feed_forward(x))), (keys, values)


class Embedding(nn.Module):
    """Tokens and sinusoidal positions, from `start` on."""

    def __init__(self, vocab_size: int, d_model: int, context: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, d_model)
        self.dropout = nn.Dropout(dropout)
        angles = torch.arange(context)[:, None] * torch.exp(-math.log(10000.0) * torch.arange(0, d_model, 2) / d_model)
        self.register_buffer("waves", torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1))

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        stop = start + tokens.shape[1]
        if stop > len(self.waves):
            raise ValueError(f"at most {len(self.waves)} tokens were expected, found {stop}")
        x = self.table(tokens) * math.sqrt(self.table.embedding_dim)
        return self.dropout(x + self.waves[start:stop])


class Transformer(nn.Module):
    def __init__(
        self,
        vocab_size: int = 23,
        context: int = 24,
        d_model: int = 32,
        num_heads: int = 4,
        d_ff: int = 64,
        num_layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(vocab_size, d_model, context, dropout)
        sizes = (d_model, num_heads, d_ff, dropout)
        self.encoder = Encoder([EncoderLayer(*sizes) for _ in range(num_layers)])
        self.decoder = nn.ModuleList([DecoderLayer(*sizes) for _ in range(num_layers)])
        self.generator = nn.Linear(d_model, vocab_size)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
        nn.init.normal_(self.embedding.table.weight, std=d_model**-0.5)
        self.generator.weight = self.embedding.table.weight

    def encode(self, source: Tensor, source_real: Tensor) -> Tensor:
        return self.encoder(self.embedding(source), source_real[:, None, None, :])

    def decode(
        self, target: Tensor, memory: Tensor, source_mask: Tensor, real: Tensor, past: tuple[KeysAndValues, ...] | None
    ) -> tuple[Tensor, tuple[KeysAndValues, ...]]:
        """Logits of `target`, which follows the tokens in `past`, and all keys and values. `real` [B, S] of both."""
        start = 0 if past is None else past[0][0].shape[2]
        T = target.shape[1]  # noqa: N806
        future = torch.ones(T, start + T, dtype=torch.bool).triu(start + 1)
        mask = ~future & real[:, None, None, :]
        x, present = self.embedding(target, start), []
        for index, layer in enumerate(self.decoder):
            x, kept = layer(x, memory, mask, source_mask, None if past is None else past[index])
            present.append(kept)
        return self.generator(x), tuple(present)

    def forward(self, source: Tensor, target: Tensor, source_real: Tensor, real: Tensor) -> Tensor:
        memory = self.encode(source, source_real)
        return self.decode(target, memory, source_real[:, None, None, :], real, None)[0]

    def step(self, source: Tensor, target: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        memory = self.encode(source, all_real(source)) if cache is None else cache.memory
        past = None if cache is None else cache.layers
        length = target.shape[1] + (0 if past is None else past[0][0].shape[2])
        real = torch.ones(target.shape[0], length, dtype=torch.bool)
        logits, layers = self.decode(target, memory, all_real(source)[:, None, None, :], real, past)
        return logits, Cache(memory, layers)


def all_real(tokens: Tensor) -> Tensor:
    return torch.ones_like(tokens, dtype=torch.bool)


class LabelSmoothing(nn.Module):
    """Cross-entropy against 1 - `smoothing` on the label and `smoothing` spread over all tokens."""

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        log_probs = logits.log_softmax(-1)
        real = labels != -100
        target = torch.full_like(log_probs, self.smoothing / logits.shape[-1])
        right = labels.clamp(min=0)[..., None]
        target = target.scatter_add(-1, right, torch.full_like(right, 1 - self.smoothing, dtype=target.dtype))
        each = -(target * log_probs).sum(-1)
        return (each * real).sum() / real.sum()


def translation_loss(model: Transformer, source: Tensor, labels: Tensor) -> Tensor:
    """The decoder reads `BEGIN` and all labels but the last, and at each place predicts the label there."""
    begin = torch.full_like(labels[:, :1], BEGIN)
    target = torch.cat([begin, labels[:, :-1]], dim=1)
    target = target.masked_fill(target == -100, PAD)
    logits = model(source, target, all_real(source), target != PAD)
    return LabelSmoothing(0.1)(logits, labels)


def accumulate(model: Transformer, batches: list[tuple[Tensor, Tensor]]) -> None:
    total = sum((labels != -100).sum() for _, labels in batches)
    for source, labels in batches:
        share = (labels != -100).sum() / total
        (translation_loss(model, source, labels) * share).backward()


def subject() -> Subject:
    torch.manual_seed(0)
    return Subject(
        Transformer(),
        call=lambda model, source, tokens: model(source, tokens, all_real(source), all_real(tokens)),
        kind="encoder-decoder",
        vocab_size=23,
        context=24,
        reserved=(PAD, BEGIN),
        pad=PAD,
        padded=lambda model, source, tokens, source_real, real: model(source, tokens, source_real, real),
        step=lambda model, source, tokens, cache: model.step(source, tokens, cache),
        loss=translation_loss,
        accumulate=accumulate,
        smoothing=0.1,
        start=BEGIN,
        norm_order="post",
        tied=True,
        name="modular encoder-decoder",
    )
