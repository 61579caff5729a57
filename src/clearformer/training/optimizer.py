"""AdamW: Adam with weight decay that does not pass through its averages.

    m = β1 m + (1 - β1) g      v = β2 v + (1 - β2) g²                  Kingma & Ba 2014, arXiv:1412.6980
    w = w - rate · (m̂ / (sqrt(v̂) + ε) + decay · w)                     Loshchilov & Hutter 2017, arXiv:1711.05101

Only matrices are decayed: a bias or a norm's weight near zero is no simpler than one far from it.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clearformer.config import TrainConfig


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over all parameters, in one group with decay and one without. The rate is set at each step."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(config.beta1, config.beta2), eps=config.epsilon, fused=True)


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, NDArray[np.float32]]:
    """The optimizer's memory by name: `exp_avg`, `exp_avg_sq` and `step` of each parameter."""
    return {
        f"{name}.{key}": value.detach().cpu().numpy()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def optimizer_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """What `optimizer_tensors` has once a step was made, from the parameters' names and shapes."""
    keys = {"step": False, "exp_avg": True, "exp_avg_sq": True}
    return {
        f"{name}.{key}": shape if like_parameter else ()
        for name, shape in shapes.items()
        for key, like_parameter in keys.items()
    }


def load_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, NDArray[np.float32]]
) -> None:
    """Give the optimizer the memory that `optimizer_tensors` took."""
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            key: torch.from_numpy(tensors[f"{name}.{key}"].copy()).to(parameter.device)
            for key in ("step", "exp_avg", "exp_avg_sq")
        }
