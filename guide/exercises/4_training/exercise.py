"""Exercise 4: the loss, a training step, greedy generation, and a step with a cache.

A model here is any module that takes tokens [B, T] and returns logits [B, T, V]: a score for each possible next token.
"""

import math

import torch
from torch import Tensor, nn

Cache = tuple[Tensor, Tensor]
"""keys and values [B, S, D] of all tokens so far"""


def loss(logits: Tensor, targets: Tensor, padding: int) -> Tensor:
    """The mean cross-entropy of logits [B, T, V] and the right next tokens [B, T], in nats, as a tensor without axes.

    It is minus the logarithm of the probability of the right token, averaged over all targets that are not `padding`.
    Write it without `cross_entropy` and `nll_loss`; `log_softmax` may be used.
    """
    raise NotImplementedError


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, tokens: Tensor, targets: Tensor, padding: int
) -> float:
    """One step of training on a batch: the loss before it as a number, and the weights moved by the optimizer.

    Gradients of an earlier step must not count.
    """
    raise NotImplementedError


def generate(model: nn.Module, prompt: list[int], end: int, max_new_tokens: int) -> list[int]:
    """Continue a prompt by the likeliest token again and again: the new tokens alone.

    It stops after `max_new_tokens`, or as soon as the token is `end`, which is not part of what is returned.
    No gradients are kept.
    """
    raise NotImplementedError


class CausalAttention(nn.Module):
    """Causal self-attention with one head. `forward` is given; write `step`, which takes only the new tokens."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.value = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The full pass: x [B, T, D] -> [B, T, D]."""
        q, k, v = self.query(x), self.key(x), self.value(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        return scores.masked_fill(~mask, -math.inf).softmax(-1) @ v

    def step(self, x: Tensor, cache: Cache | None) -> tuple[Tensor, Cache]:
        """The output [B, N, D] of N new tokens x [B, N, D], and the cache with theirs added.

        `cache` is None if there are no tokens before, and is left as it is. Keys and values of the tokens before are
        taken from it, and not computed again.
        """
        raise NotImplementedError
