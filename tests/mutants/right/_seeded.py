"""What right models share that is no repository's own: random weights, the same whenever one is made, and positions."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def seeded(family: Callable[..., nn.Module], *args: Any, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return family(*args, **settings)


def normal(model: nn.Module, std: float = 0.02) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def places(real: Tensor) -> Tensor:
    """Positions of real tokens, wherever the padding stands."""
    return (real.long().cumsum(dim=-1) - 1).clamp(min=0)
