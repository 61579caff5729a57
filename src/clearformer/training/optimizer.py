"""AdamW, Adam with weight decay that does not pass through its averages, or AdamW and Muon together.

    m = β1 m + (1 - β1) g      v = β2 v + (1 - β2) g²                  Kingma & Ba 2014, arXiv:1412.6980
    w = w - rate · (m̂ / (sqrt(v̂) + ε) + decay · w)                     Loshchilov & Hutter 2017, arXiv:1711.05101

Muon takes the matrices inside the layers; embeddings, output projection and vectors stay with AdamW.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clearformer.config import TrainConfig
from clearformer.training.memory import MEMORY, decays, optimizer_of
from clearformer.training.muon import Muon


class Optimizer:
    """One optimizer, or two that share a model's parameters; the learning rate is set from outside at each step."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        self._owner = {weight: part for part in parts for group in part.param_groups for weight in group["params"]}

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def part_of(self, parameter: nn.Parameter) -> torch.optim.Optimizer:
        """The optimizer that moves this parameter."""
        return self._owner[parameter]


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """What `config` asks for over all parameters, with decay on matrices alone."""
    named = list(model.named_parameters())
    adamw = [(name, weight) for name, weight in named if optimizer_of(name, weight.shape, config) == "adamw"]
    groups = [
        {"params": [weight for _, weight in adamw if decays(weight.shape)], "weight_decay": config.weight_decay},
        {"params": [weight for _, weight in adamw if not decays(weight.shape)], "weight_decay": 0.0},
    ]
    betas = config.beta1, config.beta2
    parts: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=config.epsilon, fused=True)
    ]
    if matrices := [weight for name, weight in named if optimizer_of(name, weight.shape, config) == "muon"]:
        parts.append(Muon(matrices, config.weight_decay))
    return Optimizer(*parts)


def optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, NDArray[np.float32]]:
    """The optimizer's memory by name: `exp_avg`, `exp_avg_sq` and `step`, or `momentum_buffer`, of each parameter."""
    return {
        f"{name}.{key}": value.detach().cpu().numpy()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.part_of(parameter).state[parameter].items()
    }


def load_optimizer(
    model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, NDArray[np.float32]], config: TrainConfig
) -> None:
    """Give the optimizer the memory that `optimizer_tensors` took."""
    for name, parameter in model.named_parameters():
        optimizer.part_of(parameter).state[parameter] = {
            key: torch.from_numpy(tensors[f"{name}.{key}"].copy()).to(parameter.device)
            for key in MEMORY[optimizer_of(name, tuple(parameter.shape), config)]
        }
