"""Rotary positions (RoPE): queries and keys are rotated by their position, so a score depends on distances alone.

    R(p) (a, b) = (a cos pθ_i - b sin pθ_i,  b cos pθ_i + a sin pθ_i)    a, b = x_i, x_{i+E/2}    θ_i = base^(-2i/E)
    R(p) q · R(s) k = q · R(s - p) k                                    Su et al. 2021, arXiv:2104.09864, section 3.4

For a longer context than in training, frequencies are divided by a factor f: all of them (Chen et al. 2023,
arXiv:2306.15595) or, as in Llama 3.1, those of pairs that turned less than a few times within the context C of before:

    θ_i / f    or    θ_i (k + (1 - k) / f),  k = (C θ_i / 2π - low) / (high - low), but at least 0 and at most 1

Elements half a head apart form a pair ("half-split", as in Llama); the paper pairs neighbours, which is the same up to
the order of a head's elements.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearformer.config import RotaryScaling

BASE = 10_000.0
AS_TRAINED = RotaryScaling()


def frequencies(half: int, base: float = BASE, scaling: RotaryScaling = AS_TRAINED) -> Float[Tensor, " half"]:
    """θ of each pair, float64; with a context of 0 all of them are divided by the factor."""
    theta = base ** (-torch.arange(half, dtype=torch.float64) / half)
    turns = scaling.context * theta / (2 * math.pi)
    kept = ((turns - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)
    return theta * (kept + (1 - kept) / scaling.factor)


def rotary(
    x: Float[Tensor, "B H T E"],
    positions: Int[Tensor, "*B T"],
    base: float = BASE,
    scaling: RotaryScaling = AS_TRAINED,
) -> Float[Tensor, "B H T E"]:
    """The formula: each pair is a complex number, multiplied by exp(i p θ)."""
    theta = frequencies(x.shape[-1] // 2, base, scaling).to(x.device)
    angles = positions.double().unsqueeze(-1) * theta
    rotations = torch.polar(torch.ones_like(angles), angles)
    if positions.dim() == 2:  # each row has its own positions, shared by its heads
        rotations = rotations[:, None]
    rotated = torch.complex(*x.double().chunk(2, dim=-1)) * rotations
    return torch.cat((rotated.real, rotated.imag), dim=-1).to(x.dtype)


class RotaryPositions(nn.Module):
    """Rotates queries or keys at positions 0 to `max_length` - 1, without parameters. `head_width` must be even."""

    cos: Tensor
    sin: Tensor

    def __init__(
        self, max_length: int, head_width: int, base: float = BASE, scaling: RotaryScaling = AS_TRAINED
    ) -> None:
        super().__init__()
        angles = torch.arange(max_length)[:, None] * frequencies(head_width // 2, base, scaling)
        self.register_buffer("cos", angles.cos().float().repeat(1, 2), persistent=False)
        self.register_buffer("sin", angles.sin().float().repeat(1, 2), persistent=False)

    def forward(self, x: Float[Tensor, "B H T E"], positions: Int[Tensor, "*B T"]) -> Float[Tensor, "B H T E"]:
        cos, sin = self.cos[positions], self.sin[positions]
        if positions.dim() == 2:  # each row has its own positions, shared by its heads
            cos, sin = cos[:, None], sin[:, None]
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-second, first), dim=-1) * sin


if __name__ == "__main__":
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)
    rotate = RotaryPositions(max_length=100, head_width=8)
    for p, s in ((5, 2), (55, 52), (5, 4)):
        score = (rotate(q, torch.tensor([p])) * rotate(k, torch.tensor([s]))).sum()
        print(f"query at {p:>2}, key at {s:>2}, {p - s} apart: score {score:.4f}")
