"""Exercise 4: the loss, a training step, greedy generation, and a step with a cache. A solution."""

import math

import torch
from torch import Tensor, nn

Cache = tuple[Tensor, Tensor]


def loss(logits: Tensor, targets: Tensor, padding: int) -> Tensor:
    surprise = -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    return surprise[targets != padding].mean()


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, tokens: Tensor, targets: Tensor, padding: int
) -> float:
    value = loss(model(tokens), targets, padding)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.item()


@torch.no_grad()
def generate(model: nn.Module, prompt: list[int], end: int, max_new_tokens: int) -> list[int]:
    tokens = list(prompt)
    while len(tokens) < len(prompt) + max_new_tokens:
        token = int(model(torch.tensor([tokens]))[0, -1].argmax())
        if token == end:
            break
        tokens.append(token)
    return tokens[len(prompt) :]


class CausalAttention(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        return scores.masked_fill(~mask, -math.inf).softmax(-1) @ v

    def step(self, x: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        q, k, v = self.query(x), self.key(x), self.value(x)
        if cache is not None:
            k, v = torch.cat((cache[0], k), dim=1), torch.cat((cache[1], v), dim=1)
        N, S = q.shape[1], k.shape[1]  # noqa: N806
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        mask = torch.ones(N, S, dtype=torch.bool).tril(S - N)
        return scores.masked_fill(~mask, -math.inf).softmax(-1) @ v, (k, v)
