"""Exercise 3: the causal mask and the decoder. A solution."""

import math

import torch
from torch import Tensor, nn


def causal_mask(T: int) -> Tensor:  # noqa: N803
    return torch.ones(T, T, dtype=torch.bool).tril()


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        return scores.softmax(-1) @ v
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) * mask @ v


class DecoderLayer(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)
        self.cross_query = nn.Linear(d_model, d_model, bias=False)
        self.cross_key = nn.Linear(d_model, d_model, bias=False)
        self.cross_value = nn.Linear(d_model, d_model, bias=False)
        self.feed_forward = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.ReLU(), nn.Linear(4 * d_model, d_model))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = x + attention(self.query(x), self.key(x), self.value(x), causal_mask(x.shape[1]))
        x = x + attention(self.cross_query(x), self.cross_key(memory), self.cross_value(memory))
        return x + self.feed_forward(x)
