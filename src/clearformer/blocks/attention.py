"""Attention: every query takes a weighted mean of the values, by how well it matches their keys.

    Attention(Q, K, V) = softmax(Q Kᵀ / sqrt(E)) V          Vaswani et al. 2017, arXiv:1706.03762, equation 1

A mask gives a weight of exactly zero where it is False. A query that may attend to nothing yields zeros, never NaN.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clearformer.blocks.masks import causal_mask, join_masks

Mask = Bool[Tensor, "#B #H #T #S"]


def attention_weights(
    q: Float[Tensor, "B H T E"], k: Float[Tensor, "B H S E"], mask: Mask | None = None
) -> Float[Tensor, "B H T S"]:
    """The softmax of the formula: rows sum to one, or to zero where a query may attend to nothing."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        return scores.softmax(-1)
    # the lowest number rather than -inf, and a product afterwards: an empty row stays finite, in its gradient too
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) * mask


def attention(
    q: Float[Tensor, "B H T E"],
    k: Float[Tensor, "B H S E"],
    v: Float[Tensor, "B H S E"],
    mask: Mask | None = None,
) -> Float[Tensor, "B H T E"]:
    """The formula. `ScaledDotProductAttention` runs the fused kernel; a test holds the two equal."""
    return attention_weights(q, k, mask) @ v


class ScaledDotProductAttention(nn.Module):
    """The core that all attention runs through, without weights of its own: hook it to see what a model attends to.

    With `causal`, the T queries are the last T of the S positions and none sees what comes after it.
    Dropout is applied to the attention weights, in training only.
    """

    def __init__(self, *, causal: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.causal = causal
        self.dropout = dropout

    def mask(self, T: int, S: int, mask: Mask | None, device: torch.device) -> Mask | None:  # noqa: N803
        """All that keeps T queries from seeing S keys: the mask given, and the future; None if nothing does."""
        return join_masks(mask, causal_mask(T, S, device) if self.causal and T > 1 else None)

    def forward(
        self,
        q: Float[Tensor, "B H T E"],
        k: Float[Tensor, "B H S E"],
        v: Float[Tensor, "B H S E"],
        mask: Mask | None = None,
    ) -> Float[Tensor, "B H T E"]:
        dropout = self.dropout if self.training else 0.0
        T, S = q.shape[-2], k.shape[-2]  # noqa: N806
        if self.causal and mask is None and T == S:  # the kernel's own causal path skips half of the work
            return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        return F.scaled_dot_product_attention(q, k, v, self.mask(T, S, mask, q.device), dropout_p=dropout)


class SingleHeadAttention(nn.Module):
    """One head: queries from `x`, keys and values from `memory`, which is `x` again in self-attention."""

    def __init__(self, d_model: int, head_width: int, *, causal: bool = False) -> None:
        super().__init__()
        self.query_projection = nn.Linear(d_model, head_width, bias=False)
        self.key_projection = nn.Linear(d_model, head_width, bias=False)
        self.value_projection = nn.Linear(d_model, head_width, bias=False)
        self.core = ScaledDotProductAttention(causal=causal)

    def forward(
        self, x: Float[Tensor, "B T D"], memory: Float[Tensor, "B S D"], mask: Mask | None = None
    ) -> Float[Tensor, "B T E"]:
        q, k, v = self.query_projection(x), self.key_projection(memory), self.value_projection(memory)
        # the core has an axis for heads; here it has length one
        heads: Tensor = self.core(q[:, None], k[:, None], v[:, None], mask)
        return heads[:, 0]


if __name__ == "__main__":
    torch.manual_seed(0)
    x = torch.randn(1, 4, 8)
    weights = attention_weights(x[:, None], x[:, None], causal_mask(4, 4))
    print("causal attention of four tokens to each other, a row a query:")
    print(weights[0, 0].numpy().round(2))
    print("output of one head:", tuple(SingleHeadAttention(8, 2, causal=True)(x, x).shape))
