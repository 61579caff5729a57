"""Rotary positions (RoPE): queries and keys are rotated by their position, so a score depends on distances alone.

    R(p) (a, b) = (a cos pθ_i - b sin pθ_i,  b cos pθ_i + a sin pθ_i)    a, b = x_i, x_{i+E/2}    θ_i = base^(-2i/E)
    R(p) q · R(s) k = q · R(s - p) k                                    Su et al. 2021, arXiv:2104.09864, section 3.4

Elements half a head apart form a pair ("half-split", as in Llama); the paper pairs neighbours, which is the same up to
the order of a head's elements.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

BASE = 10_000.0


def rotary(x: Float[Tensor, "B H T E"], positions: Int[Tensor, "*B T"], base: float = BASE) -> Float[Tensor, "B H T E"]:
    """The formula: each pair is a complex number, multiplied by exp(i p θ)."""
    half = x.shape[-1] // 2
    angles = positions.double().unsqueeze(-1) * base ** (
        -torch.arange(half, device=x.device, dtype=torch.float64) / half
    )
    rotations = torch.polar(torch.ones_like(angles), angles)
    if positions.dim() == 2:  # each row has its own positions, shared by its heads
        rotations = rotations[:, None]
    rotated = torch.complex(*x.double().chunk(2, dim=-1)) * rotations
    return torch.cat((rotated.real, rotated.imag), dim=-1).to(x.dtype)


class RotaryPositions(nn.Module):
    """Rotates queries or keys at positions 0 to `max_length` - 1, without parameters. `head_width` must be even."""

    cos: Tensor
    sin: Tensor

    def __init__(self, max_length: int, head_width: int, base: float = BASE) -> None:
        super().__init__()
        frequencies = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
        angles = torch.arange(max_length)[:, None] * frequencies
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
