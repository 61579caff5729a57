"""Positions: attention ignores the order of tokens, so a vector of its position is added to each token's vector.

    P[p, 2i] = sin(p / 10000^(2i/D))    P[p, 2i+1] = cos(p / 10000^(2i/D))    arXiv:1706.03762, section 3.5
    or P is learned, one row per position                                   Gehring et al. 2017, arXiv:1705.03122

For sinusoids P[p + k] is a rotation of P[p] that depends on k alone, so a distance looks the same everywhere.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def sinusoidal(positions: Int[Tensor, "*B T"], d_model: int) -> Float[Tensor, "*B T D"]:
    """The formula, computed in float64: sines and cosines interleaved, wavelengths from 2π to 10000 · 2π."""
    wavelengths = 10_000.0 ** (torch.arange(0, d_model, 2, dtype=torch.float64, device=positions.device) / d_model)
    angles = positions.double().unsqueeze(-1) / wavelengths
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2).float()


class SinusoidalPositions(nn.Module):
    """The fixed vectors of positions 0 to `max_length` - 1, as a table. `d_model` must be even."""

    table: Tensor

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.register_buffer("table", sinusoidal(torch.arange(max_length), d_model), persistent=False)

    def forward(self, positions: Int[Tensor, "*B T"]) -> Float[Tensor, "*B T D"]:
        return F.embedding(positions, self.table)


class LearnedPositions(nn.Module):
    """A learned vector for each of the positions 0 to `max_length` - 1."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(max_length, d_model) * 0.02)

    def forward(self, positions: Int[Tensor, "*B T"]) -> Float[Tensor, "*B T D"]:
        return F.embedding(positions, self.weight)


if __name__ == "__main__":
    vectors = SinusoidalPositions(max_length=100, d_model=32)(torch.arange(100))
    print("dot products of position 10 with 10, 11, 20, 90:", (vectors @ vectors[10])[[10, 11, 20, 90]].tolist())
    print("and of position 50 with 50, 51, 60:             ", (vectors @ vectors[50])[[50, 51, 60]].tolist())
