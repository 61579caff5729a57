"""Normalisation: put every token's vector on the same scale.

    LayerNorm(x) = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias      Ba et al. 2016, arXiv:1607.06450
    RMSNorm(x)   =  x            / sqrt(mean(x²) + eps) * weight           Zhang & Sennrich 2019, arXiv:1910.07467

Means run over the last axis, one token at a time, so no token sees another here.
The variance is the biased one (divide by D, not D - 1).
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

EPS = 1e-5


def layer_norm(
    x: Float[Tensor, "*tokens D"], weight: Float[Tensor, " D"], bias: Float[Tensor, " D"] | None, eps: float
) -> Float[Tensor, "*tokens D"]:
    """The formula of LayerNorm, as the paper writes it."""
    mean = x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True, unbiased=False)
    scaled = (x - mean) / torch.sqrt(variance + eps) * weight
    return scaled if bias is None else scaled + bias


def rms_norm(x: Float[Tensor, "*tokens D"], weight: Float[Tensor, " D"], eps: float) -> Float[Tensor, "*tokens D"]:
    """The formula of RMSNorm: LayerNorm without the centre."""
    return x / torch.sqrt(x.square().mean(-1, keepdim=True) + eps) * weight


class LayerNorm(nn.Module):
    """Centre and scale each token's vector, then stretch and shift it by learned amounts."""

    def __init__(self, d_model: int, *, bias: bool = True, eps: float = EPS) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Float[Tensor, "*tokens D"]) -> Float[Tensor, "*tokens D"]:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """Scale each token's vector to unit root mean square, then stretch it by learned amounts."""

    def __init__(self, d_model: int, *, eps: float = EPS) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "*tokens D"]) -> Float[Tensor, "*tokens D"]:
        # in float32 even where autocast gives bfloat16: the kernel does not mix the two
        return F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.eps)


if __name__ == "__main__":
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    print("in       ", x.flatten().tolist())
    print("LayerNorm", [round(value, 3) for value in LayerNorm(4)(x).flatten().tolist()])
    print("RMSNorm  ", [round(value, 3) for value in RMSNorm(4)(x).flatten().tolist()])
