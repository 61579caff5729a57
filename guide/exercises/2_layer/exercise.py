"""Exercise 2: an encoder layer with residual and norm.

Write the forward passes of the norm and of the layer; the parts they need are made already.
"""

import torch
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """Give each token's vector the mean 0 and the variance 1, then stretch and shift it by learned amounts."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]: (x - mean) / sqrt(variance + eps) * weight + bias, each token by itself.

        The variance is the mean of the squared distances from the mean: divided by D, not by D - 1.
        """
        raise NotImplementedError


class EncoderLayer(nn.Module):
    """Attention, then feed-forward; each is added to what went into it, and the sum is normed, as in the paper.

    Both parts are modules that take x [B, T, D] and return [B, T, D].
    """

    def __init__(self, d_model: int, attention: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.attention_norm = LayerNorm(d_model)
        self.feed_forward = feed_forward
        self.feed_forward_norm = LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]"""
        raise NotImplementedError
