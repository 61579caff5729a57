"""Muon: orthogonalized momentum, so that an update changes a matrix equally in all directions.

    M = μ M + (1 - μ) G        U S Vᵀ = μ M + (1 - μ) G                             Jordan et al. 2024
    W = W - rate · (0.2 sqrt(max(n, m)) · U Vᵀ + decay · W)   for W of n by m       Liu et al. 2025, arXiv:2502.16982

U Vᵀ is approximated by five Newton-Schulz iterations, matrix products only, which bring singular values above 0.01 of
the norm close to 1. Liu's factor gives updates the size of AdamW's, so that both use the same rate and decay.
"""

import itertools
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearformer.models.sharded import divided_like, whole
from clearformer.training.device import compute_dtype
from clearformer.training.optimizer_state import MOMENTUM, NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS


class Muon(torch.optim.Optimizer):
    """For matrices; those of one shape, or of its transpose, are orthogonalized as one batch.

    Unlike torch.optim.Muon, which takes them one by one and in bfloat16 on every device (decision 0008).
    """

    def __init__(self, matrices: list[nn.Parameter], weight_decay: float) -> None:
        super().__init__(matrices, {"lr": 0.0, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all matrices that have a gradient."""
        assert closure is None, "closures are not supported"
        for group in self.param_groups:
            weights = sorted((weight for weight in group["params"] if weight.grad is not None), key=_sides)
            for _, same_shape in itertools.groupby(weights, _sides):
                self._update(list(same_shape), **group)

    def _update(self, weights: list[Tensor], lr: float, weight_decay: float, **_: Any) -> None:
        directions = orthogonalize(torch.stack([_wide(whole(self._momentum(weight))) for weight in weights]))
        for weight, direction in zip(weights, directions, strict=True):
            tall = weight.shape[0] > weight.shape[1]
            weight.mul_(1 - lr * weight_decay)
            update = divided_like(direction.mT if tall else direction, weight)
            weight.sub_(update, alpha=lr * 0.2 * math.sqrt(max(weight.shape)))

    def _momentum(self, weight: Tensor) -> Tensor:
        """Update the momentum and return Nesterov's, which includes the gradient once more."""
        if weight not in self.state:
            self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        momentum: Tensor = self.state[weight]["momentum_buffer"]
        assert weight.grad is not None
        momentum.lerp_(weight.grad, 1 - MOMENTUM)
        return weight.grad.lerp(momentum, MOMENTUM)


def orthogonalize(x: Float[Tensor, "N n m"]) -> Float[Tensor, "N n m"]:
    """Approximately U Vᵀ of each matrix U S Vᵀ. Any n and m; n ≤ m is faster."""
    a, b, c = NEWTON_SCHULZ
    x = (x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)).to(compute_dtype(x.device))
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _sides(matrix: Tensor) -> list[int]:
    return sorted(matrix.shape)


def _wide(matrix: Tensor) -> Tensor:
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
