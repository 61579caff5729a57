"""Attention: every query takes a weighted mean of the values, by how well it matches their keys.

    Attention(Q, K, V) = softmax(Q Kᵀ / sqrt(E)) V          Vaswani et al. 2017, arXiv:1706.03762, equation 1

A mask gives a weight of exactly zero where it is False. A query that may attend to nothing yields zeros, never NaN.
With fewer heads of keys and values than of queries, H / G queries' heads in a row share one: grouped-query attention
(Ainslie et al. 2023, arXiv:2305.13245), or multi-query with G = 1 (Shazeer 2019, arXiv:1911.02150).
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
"""what is added to the scores before the softmax"""


def attention_weights(
    q: Float[Tensor, "B H T E"], k: Float[Tensor, "B G S E"], mask: Mask | None = None, bias: Bias | None = None
) -> Float[Tensor, "B H T S"]:
    """The softmax of the formula: rows sum to one, or to zero where a query may attend to nothing."""
    scores = q @ share_heads(k, q.shape[1]).transpose(-2, -1) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores = scores + bias
    if mask is None:
        return scores.softmax(-1)
    # the lowest number rather than -inf, and a product afterwards: an empty row stays finite, in its gradient too
    return scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1) * mask


def attention(
    q: Float[Tensor, "B H T E"],
    k: Float[Tensor, "B G S E"],
    v: Float[Tensor, "B G S E"],
    mask: Mask | None = None,
    bias: Bias | None = None,
) -> Float[Tensor, "B H T E"]:
    """The formula. `ScaledDotProductAttention` runs the fused kernel; a test holds the two equal."""
    return attention_weights(q, k, mask, bias) @ share_heads(v, q.shape[1])


def share_heads(x: Float[Tensor, "B G S E"], num_heads: int) -> Float[Tensor, "B H S E"]:
    """Each of the G heads of keys or values, as often as there are heads of queries that share it."""
    return x.repeat_interleave(num_heads // x.shape[1], dim=1)


class ScaledDotProductAttention(nn.Module):
    """The core that all attention runs through, without weights of its own: hook it to see what a model attends to.

    With `causal`, the T queries are the last T of the S positions and none sees what comes after it.
    With `alibi_heads`, that many heads lower their scores by distance (ALiBi); 0: none does.
    Dropout is applied to the attention weights, in training only.
    """

    slopes: Tensor | None

    def __init__(self, *, causal: bool = False, dropout: float = 0.0, alibi_heads: int = 0) -> None:
        super().__init__()
        self.causal = causal
        self.dropout = dropout
        self.register_buffer("slopes", slopes(alibi_heads) if alibi_heads else None, persistent=False)

    def mask(self, T: int, S: int, mask: Mask | None, device: torch.device) -> Mask | None:  # noqa: N803
        """All that keeps T queries from seeing S keys: the mask given, and the future; None if nothing does."""
        return join_masks(mask, causal_mask(T, S, device) if self.causal and T > 1 else None)

    def bias(self, T: int, S: int) -> Bias | None:  # noqa: N803
        """What is added to the scores of T queries and S keys."""
        if self.slopes is None:
            return None
        return causal_alibi(self.slopes, S) if self.causal else alibi(self.slopes, T, S)

    def forward(
        self,
        q: Float[Tensor, "B H T E"],
        k: Float[Tensor, "B G S E"],
        v: Float[Tensor, "B G S E"],
        mask: Mask | None = None,
    ) -> Float[Tensor, "B H T E"]:
        if q.device.type == "cpu" and v.dtype == torch.bfloat16:
            # a CPU's kernel is four times slower in bfloat16, backwards, and autocast would choose it again
            with torch.autocast("cpu", enabled=False):
                return self._kernel(q.float(), k.float(), v.float(), mask).to(v.dtype)
        return self._kernel(q.to(v.dtype), k.to(v.dtype), v, mask)

    def _kernel(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        T, S, grouped = q.shape[-2], k.shape[-2], q.shape[1] != k.shape[1]  # noqa: N806
        if self.causal and mask is None and T == S and self.slopes is None:  # the kernel's own path skips half the work
            return F.scaled_dot_product_attention(q, k, v, None, dropout, is_causal=True, enable_gqa=grouped)
        seen, bias = self.mask(T, S, mask, q.device), self.bias(T, S)
        if bias is not None:
            seen = bias.to(q.dtype) if seen is None else bias.to(q.dtype).masked_fill(~seen, -math.inf)
        return F.scaled_dot_product_attention(q, k, v, seen, dropout, enable_gqa=grouped)


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
