"""Normalisation: bring every token's vector to the same scale.

    LayerNorm(x) = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias      Ba et al. 2016, arXiv:1607.06450
    RMSNorm(x)   =  x            / sqrt(mean(x²) + eps) * weight           Zhang & Sennrich 2019, arXiv:1910.07467

Means are taken over the last axis, for each token alone. The variance is the biased one (divide by D, not D - 1).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

EPS = 1e-5


def layer_norm(
    x: Float[Tensor, "*tokens D"], weight: Float[Tensor, " D"], bias: Float[Tensor, " D"] | None, eps: float
) -> Float[Tensor, "*tokens D"]:
    """The formula of LayerNorm; without a bias if it is None."""
    mean = x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True, unbiased=False)
    scaled = (x - mean) / torch.sqrt(variance + eps) * weight
    return scaled if bias is None else scaled + bias


def rms_norm(x: Float[Tensor, "*tokens D"], weight: Float[Tensor, " D"], eps: float) -> Float[Tensor, "*tokens D"]:
    """The formula of RMSNorm: LayerNorm without subtracting the mean."""
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * weight


class LayerNorm(nn.Module):
    """Normalise each token's vector to mean 0 and variance 1, then apply a learned scale and shift."""

    def __init__(self, d_model: int, *, bias: bool = True, eps: float = EPS) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Float[Tensor, "*tokens D"]) -> Float[Tensor, "*tokens D"]:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """Normalise each token's vector to a root mean square of 1, then apply a learned scale."""

    def __init__(self, d_model: int, *, eps: float = EPS) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "*tokens D"]) -> Float[Tensor, "*tokens D"]:
        # autocast may pass bfloat16, which the kernel does not mix with the float32 weight
        return F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.eps)


if __name__ == "__main__":
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    print("in       ", x.flatten().tolist())
    print("LayerNorm", [round(value, 3) for value in LayerNorm(4)(x).flatten().tolist()])
    print("RMSNorm  ", [round(value, 3) for value in RMSNorm(4)(x).flatten().tolist()])
