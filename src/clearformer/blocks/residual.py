"""Residual: a sub-layer's output is added to its input, the residual stream, so that gradients reach every layer.

    post-norm: x -> Norm(x + Dropout(Sublayer(x)))          Vaswani et al. 2017, arXiv:1706.03762, section 5.4
    pre-norm:  x -> x + Dropout(Sublayer(Norm(x)))          Xiong et al. 2020, arXiv:2002.04745

Post-norm needs a learning-rate warm-up; pre-norm trains without one, and its stack ends in one more norm.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearformer.blocks.norm import LayerNorm

Sublayer = Callable[[Tensor], Tensor]


class PostNormResidual(nn.Module):
    """Normalise the sum of the stream and the sub-layer's output."""

    def __init__(self, norm: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = norm
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T D"], sublayer: Sublayer) -> Float[Tensor, "B T D"]:
        return self.norm(x + self.dropout(sublayer(x)))


class PreNormResidual(nn.Module):
    """Normalise the sub-layer's input, and leave the stream as it is."""

    def __init__(self, norm: nn.Module, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = norm
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B T D"], sublayer: Sublayer) -> Float[Tensor, "B T D"]:
        return x + self.dropout(sublayer(self.norm(x)))


Residual = PostNormResidual | PreNormResidual


if __name__ == "__main__":
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    print("a sub-layer that returns zeros, applied to", x.flatten().tolist())
    print("pre-norm leaves the stream as it is:", PreNormResidual(LayerNorm(4))(x, torch.zeros_like).flatten().tolist())
    post = PostNormResidual(LayerNorm(4))(x, torch.zeros_like).flatten().tolist()
    print("post-norm normalises the stream:    ", [round(value, 3) for value in post])
