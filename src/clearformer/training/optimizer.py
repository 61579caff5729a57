"""AdamW (Adam with decoupled weight decay), alone or together with Muon.

    m = β1 m + (1 - β1) g      v = β2 v + (1 - β2) g²                  Kingma & Ba 2014, arXiv:1412.6980
    w = w - rate · (m̂ / (sqrt(v̂) + ε) + decay · w)                     Loshchilov & Hutter 2017, arXiv:1711.05101

Muon updates the matrices inside the layers; AdamW the embeddings, the output projection and all vectors.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clearformer.config import TrainConfig
from clearformer.models.sharded import joined_like, whole
from clearformer.training.muon import Muon
from clearformer.training.optimizer_state import STATE, decays, optimizer_of


class Optimizer:
    """One or two optimizers over a model's parameters; the loop sets the learning rate before each step."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts
        self._part_of = {weight: part for part in parts for group in part.param_groups for weight in group["params"]}

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
        """The optimizer that updates this parameter."""
        return self._part_of[parameter]


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """The optimizer that `config` names, over all parameters; weight decay applies to matrices only."""
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


def optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by name: `exp_avg`, `exp_avg_sq` and `step`, or `momentum_buffer`, of each parameter."""
    return {
        f"{name}.{key}": value.detach()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.part_of(parameter).state[parameter].items()
    }


def optimizer_tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, NDArray[np.float32]]:
    """`optimizer_state`, put together from all processes, as arrays."""
    return {name: whole(value).cpu().numpy() for name, value in optimizer_state(model, optimizer).items()}


def load_optimizer(
    model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, NDArray[np.float32]], config: TrainConfig
) -> None:
    """Restore the state that `optimizer_tensors` returned; of divided parameters, from this process's part of it."""
    for name, parameter in model.named_parameters():
        kept = STATE[optimizer_of(name, tuple(parameter.shape), config)]
        found = {key: torch.from_numpy(tensors[f"{name}.{key}"].copy()).to(parameter.device) for key in kept}
        optimizer.part_of(parameter).state[parameter] = {
            key: joined_like(found[key], parameter) if like_parameter else found[key]
            for key, like_parameter in kept.items()
        }
