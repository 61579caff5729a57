"""Exercise 5: what changed since: RMSNorm, a gated feed-forward, rotary positions, grouped queries.

Write the forward passes of the two modules, and the two functions; each body is one to four lines.
"""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Divide each token's vector by the root of the mean of its squares, then stretch it by learned amounts."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]: x / sqrt(mean of squares + eps) * weight, each token by itself."""
        raise NotImplementedError


class GatedFeedForward(nn.Module):
    """SwiGLU: one hidden layer decides, element by element, how much of another passes."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]: the SiLU of `gate`, times `up`, through `down`.

        SiLU is a number times its own sigmoid; `torch.nn.functional.silu` may be used.
        """
        raise NotImplementedError


def rotary(x: Tensor, positions: Tensor) -> Tensor:
    """Turn queries or keys [B, H, T, E] by their positions [T]: [B, H, T, E].

    Elements i and i + E / 2 are a pair, the coordinates of a point in a plane, for i from 0 to E / 2 - 1. At position p
    that point is turned about the origin by the angle p * 10000 ** (-2 * i / E), counterclockwise.
    """
    raise NotImplementedError


def grouped_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of H heads of queries [B, H, T, E] to G sets of keys and values [B, G, S, E]: [B, H, T, E].

    H is a multiple of G. The first H / G heads share the first set, the next H / G heads the second, and so on. There
    is no mask; `torch.softmax` may be used.
    """
    raise NotImplementedError
