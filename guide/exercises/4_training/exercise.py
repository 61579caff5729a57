"""Exercise 4: the loss, a training step, and greedy generation.

A model here is any module that takes tokens [B, T] and returns logits [B, T, V]: a score for each possible next token.
"""

import torch
from torch import Tensor, nn


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
