"""Exercise 4: the loss, a training step, and greedy generation. A solution."""

import torch
from torch import Tensor, nn


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
