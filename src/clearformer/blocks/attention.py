"""Attention: each query returns a mean of the values, weighted by how well it matches their keys.

    Attention(Q, K, V) = softmax(Q Kᵀ / sqrt(E)) V          Vaswani et al. 2017, arXiv:1706.03762, equation 1

Where a mask is False, the weight is exactly zero. A query that may attend to nothing yields zeros, never NaN.
With fewer key-value heads than query heads, H / G consecutive query heads share one: grouped-query attention
(Ainslie et al. 2023, arXiv:2305.13245), or multi-query attention where G = 1 (Shazeer 2019, arXiv:1911.02150).
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clearformer.blocks.alibi import alibi, causal_alibi, slopes
from clearformer.blocks.masks import causal_mask, join_masks

Mask = Bool[Tensor, "#B #H #T #S"]
Bias = Float[Tensor, "#B #H #T #S"]
"""added to the scores before the softmax"""


def attention_weights(
    q: Float[Tensor, "B H T E"], k: Float[Tensor, "B G S E"], mask: Mask | None = None, bias: Bias | None = None
) -> Float[Tensor, "B H T S"]:
    """The softmax of the formula. Rows sum to one, or to zero where a query may attend to nothing."""
    scores = q @ share_heads(k, q.shape[1]).transpose(-2, -1) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias
    if mask is None:
        return scores.softmax(-1)
    # the lowest finite number and a product, not -inf: a row without any allowed key, and its gradient, stay finite
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) * mask


def attention(
    q: Float[Tensor, "B H T E"],
    k: Float[Tensor, "B G S E"],
    v: Float[Tensor, "B G S E"],
    mask: Mask | None = None,
    bias: Bias | None = None,
) -> Float[Tensor, "B H T E"]:
    """The formula; `ScaledDotProductAttention` runs the fused kernel. A test holds the two equal."""
    return attention_weights(q, k, mask, bias) @ share_heads(v, q.shape[1])


def share_heads(x: Float[Tensor, "B G S E"], num_heads: int) -> Float[Tensor, "B H S E"]:
    """Repeat each of the G key or value heads for the H / G query heads that share it."""
    return x.repeat_interleave(num_heads // x.shape[1], dim=1)


class ScaledDotProductAttention(nn.Module):
    """The parameter-free core of all attention here: hook it to see what a model attends to.

    With `causal`, the T queries are the last T of the S positions, and none attends to a later position.
    `alibi_heads` is the number of heads, if scores are lowered by distance (ALiBi), and 0 if not; another bias, such as
    that of relative positions, is given with the queries and keys.
    In training, dropout is applied to the attention weights.
    """

    slopes: Tensor | None

    def __init__(self, *, causal: bool = False, dropout: float = 0.0, alibi_heads: int = 0) -> None:
        super().__init__()
        self.causal = causal
        self.dropout = dropout
        self.register_buffer("slopes", slopes(alibi_heads) if alibi_heads else None, persistent=False)

    def mask(self, T: int, S: int, mask: Mask | None, device: torch.device) -> Mask | None:  # noqa: N803
        """`mask` and, if the attention is causal, the causal mask; None if every query may attend to every key."""
        return join_masks(mask, causal_mask(T, S, device) if self.causal and T > 1 else None)

    def bias(self, T: int, S: int, given: Bias | None = None) -> Bias | None:  # noqa: N803
        """The bias added to the scores of T queries and S keys: ALiBi's or, without that, what is given."""
        if self.slopes is None:
            return given
        return causal_alibi(self.slopes, S) if self.causal else alibi(self.slopes, T, S)

    def forward(
        self,
        q: Float[Tensor, "B H T E"],
        k: Float[Tensor, "B G S E"],
        v: Float[Tensor, "B G S E"],
        mask: Mask | None = None,
        bias: Bias | None = None,
    ) -> Float[Tensor, "B H T E"]:
        if q.device.type == "cpu" and v.dtype == torch.bfloat16:
            # the backward pass of the CPU kernel is four times slower in bfloat16; autocast would cast to it again
            with torch.autocast("cpu", enabled=False):
                return self._kernel(q.float(), k.float(), v.float(), mask, bias).to(v.dtype)
        return self._kernel(q.to(v.dtype), k.to(v.dtype), v, mask, bias)

    def _kernel(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None, bias: Bias | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        T, S, grouped = q.shape[-2], k.shape[-2], q.shape[1] != k.shape[1]  # noqa: N806
        bias = self.bias(T, S, bias)
        if self.causal and mask is None and T == S and bias is None:  # is_causal skips half of the work
            return F.scaled_dot_product_attention(q, k, v, None, dropout, is_causal=True, enable_gqa=grouped)
        mask = self.mask(T, S, mask, q.device)
        if bias is not None:
            mask = bias.to(q.dtype) if mask is None else bias.to(q.dtype).masked_fill(~mask, -math.inf)
        return F.scaled_dot_product_attention(q, k, v, mask, dropout, enable_gqa=grouped)


class SingleHeadAttention(nn.Module):
    """One head: queries from `x`, keys and values from `memory`, which in self-attention is `x` as well."""

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
        out: Tensor = self.core(q[:, None], k[:, None], v[:, None], mask)  # a head axis of length one
        return out[:, 0]


if __name__ == "__main__":
    torch.manual_seed(0)
    x = torch.randn(1, 4, 8)
    weights = attention_weights(x[:, None], x[:, None], causal_mask(4, 4))
    print("causal attention weights of four tokens, one row per query:")
    print(weights[0, 0].numpy().round(2))
    print("output of one head:", tuple(SingleHeadAttention(8, 2, causal=True)(x, x).shape))
