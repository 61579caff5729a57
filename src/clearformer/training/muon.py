"""Muon: momentum, made orthogonal, so that a matrix moves alike in all directions.

    M = μ M + (1 - μ) G        U S Vᵀ = μ M + (1 - μ) G                             Jordan et al. 2024
    W = W - rate · (0.2 sqrt(max(n, m)) · U Vᵀ + decay · W)   for W of n by m       Liu et al. 2025, arXiv:2502.16982

U Vᵀ is approached by five steps of an iteration made of products alone, which brings singular values above 0.01 of
the norm near to 1. Liu's factor brings the steps to AdamW's size, so that both take the same rate and decay.
"""

import itertools
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearformer.training.device import compute_dtype
from clearformer.training.memory import ITERATION, ITERATIONS, MOMENTUM


class Muon(torch.optim.Optimizer):
    """For matrices. Those of one shape, or of its transpose, are made orthogonal together.

    Not torch.optim.Muon, which does them one by one and in bfloat16, whatever the processor (decision 0008).
    """

    def __init__(self, matrices: list[nn.Parameter], weight_decay: float) -> None:
        super().__init__(matrices, {"lr": 0.0, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move all matrices that have a gradient."""
        assert closure is None, "the loss is not computed again"
        for group in self.param_groups:
            moving = sorted((weight for weight in group["params"] if weight.grad is not None), key=_sides)
            for _, alike in itertools.groupby(moving, _sides):
                self._move(list(alike), **group)

    def _move(self, weights: list[Tensor], lr: float, weight_decay: float, **_: Any) -> None:
        directions = orthogonal(torch.stack([_wide(self._averaged(weight)) for weight in weights]))
        for weight, direction in zip(weights, directions, strict=True):
            tall = weight.shape[0] > weight.shape[1]
            weight.mul_(1 - lr * weight_decay)
            weight.sub_(direction.mT if tall else direction, alpha=lr * 0.2 * math.sqrt(max(weight.shape)))

    def _averaged(self, weight: Tensor) -> Tensor:
        """Update the momentum; return it with the gradient mixed in once more (Nesterov's)."""
        if weight not in self.state:
            self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        momentum: Tensor = self.state[weight]["momentum_buffer"]
        assert weight.grad is not None
        momentum.lerp_(weight.grad, 1 - MOMENTUM)
        return weight.grad.lerp(momentum, MOMENTUM)


def orthogonal(x: Float[Tensor, "N n m"]) -> Float[Tensor, "N n m"]:
    """About U Vᵀ of each matrix U S Vᵀ, with n at most m (as many products for m at most n, but larger ones)."""
    a, b, c = ITERATION
    x = (x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)).to(compute_dtype(x.device))
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _sides(matrix: Tensor) -> list[int]:
    return sorted(matrix.shape)


def _wide(matrix: Tensor) -> Tensor:
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
