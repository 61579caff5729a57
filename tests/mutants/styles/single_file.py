"""A GPT in a single file: one projection for queries, keys and values, learned positions, loss inside `forward`."""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from clearformer.checks.subject import Subject


@dataclass
class GPTConfig:
    vocab_size: int = 23
    block_size: int = 24
    n_layer: int = 2
    n_head: int = 4
    n_embd: int = 32
    dropout: float = 0.1


class CausalSelfAttention(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.qkv = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.proj = nn.Linear(config.n_embd, config.n_embd)
        self.attn_drop = nn.Dropout(config.dropout)
        self.resid_drop = nn.Dropout(config.dropout)
        mask = torch.tril(torch.ones(config.block_size, config.block_size)).bool()
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape  # noqa: N806
        q, k, v = self.qkv(x).split(D, dim=2)
        q = q.view(B, T, self.n_head, D // self.n_head).transpose(1, 2)
        k = k.view(B, T, self.n_head, D // self.n_head).transpose(1, 2)
        v = v.view(B, T, self.n_head, D // self.n_head).transpose(1, 2)
        att = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
        att = att.masked_fill(~self.mask[:T, :T], float("-inf"))
        att = F.softmax(att, dim=-1)
        att = self.attn_drop(att)
        y = (att @ v).transpose(1, 2).reshape(B, T, D)
        return self.resid_drop(self.proj(y))


class MLP(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.proj = nn.Linear(4 * config.n_embd, config.n_embd)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.proj(F.gelu(self.fc(x))))


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.head.weight = self.wte.weight
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits of all positions and the loss; without targets those of the last position, and no loss."""
        T = idx.shape[1]  # noqa: N806
        assert self.config.block_size >= T, f"at most {self.config.block_size} tokens were expected, found {T}"
        x = self.drop(self.wte(idx) + self.wpe(torch.arange(T)))
        for block in self.blocks:
            x = block(x)
        x = self.ln_f(x)
        if targets is None:
            return self.head(x[:, [-1], :]), None
        logits = self.head(x)
        loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-1)
        return logits, loss


def training_batch(tokens: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Each token, and the label of the next; a label that is not to be predicted becomes -1."""
    x, y = tokens[:, :-1], labels[:, 1:]
    return x, y.masked_fill(y == -100, -1)


def training_loss(model: GPT, tokens: Tensor, labels: Tensor) -> Tensor:
    x, y = training_batch(tokens, labels)
    return model(x, y)[1]


def accumulate(model: GPT, batches: list[tuple[Tensor, Tensor]]) -> None:
    """Gradients as if the micro-batches were one batch: each loss counts as often as it has targets."""
    counts = [(training_batch(*batch)[1] != -1).sum() for batch in batches]
    for (tokens, labels), count in zip(batches, counts, strict=True):
        loss = training_loss(model, tokens, labels) * count / sum(counts)
        loss.backward()


def subject() -> Subject:
    torch.manual_seed(0)
    config = GPTConfig()
    return Subject(
        GPT(config),
        call=lambda model, tokens: model(tokens, tokens)[0],
        vocab_size=config.vocab_size,
        context=config.block_size,
        loss=training_loss,
        accumulate=accumulate,
        norm_order="pre",
        tied=True,
        name="single-file GPT",
    )
