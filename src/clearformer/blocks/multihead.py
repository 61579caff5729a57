"""Multi-head attention: several heads look at different things at once, each in its own small subspace.

    MultiHead(X, M) = Concat(head_1, …, head_H) W_O
    head_i = Attention(X W_Q_i, M W_K_i, M W_V_i)           Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2

In self-attention M is X, and one matrix product computes queries, keys and values of all heads ("fused"); its rows are
queries, then keys, then values, each head by head. In cross-attention M is the encoder's output.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearformer.blocks.attention import Mask, ScaledDotProductAttention, attention
from clearformer.blocks.cache import KeysValues, LayerCache


def multi_head_attention(
    x: Float[Tensor, "B T D"],
    memory: Float[Tensor, "B S D"],
    projections: Float[Tensor, "3 H E D"],
    output: Float[Tensor, "D D"],
    mask: Mask | None = None,
) -> Float[Tensor, "B T D"]:
    """The formula, head by head and without biases. `projections` holds W_Q, W_K, W_V of every head."""
    heads = []
    for w_q, w_k, w_v in projections.transpose(0, 1):
        q, k, v = x @ w_q.T, memory @ w_k.T, memory @ w_v.T
        heads.append(attention(q[:, None], k[:, None], v[:, None], mask)[:, 0])
    return torch.cat(heads, dim=-1) @ output.T


def split_heads(x: Float[Tensor, "B T width"], parts: int, num_heads: int) -> tuple[Float[Tensor, "B H T E"], ...]:
    """Cut each token's vector into `parts` (of queries, keys, values) of `num_heads` heads."""
    return x.unflatten(-1, (parts, num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def join_heads(x: Float[Tensor, "B H T E"]) -> Float[Tensor, "B T D"]:
    """Put the heads of each token side by side again."""
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    """Self-attention; masked self-attention, which sees no later token, with `causal`."""

    def __init__(
        self, d_model: int, num_heads: int, *, causal: bool = False, dropout: float = 0.0, bias: bool = True
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv_projection = nn.Linear(d_model, 3 * d_model, bias)
        self.core = ScaledDotProductAttention(causal=causal, dropout=dropout)
        self.output_projection = nn.Linear(d_model, d_model, bias)

    def forward(
        self, x: Float[Tensor, "B T D"], mask: Mask | None = None, cache: LayerCache | None = None
    ) -> Float[Tensor, "B T D"]:
        q, k, v = split_heads(self.qkv_projection(x), 3, self.num_heads)
        if cache is not None:
            k, v = cache.write(k, v)
        return self.output_projection(join_heads(self.core(q, k, v, mask)))


class CrossAttention(nn.Module):
    """Queries from the decoder, keys and values from the encoder's output (`memory`)."""

    def __init__(self, d_model: int, num_heads: int, *, dropout: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_projection = nn.Linear(d_model, d_model, bias)
        self.kv_projection = nn.Linear(d_model, 2 * d_model, bias)
        self.core = ScaledDotProductAttention(dropout=dropout)
        self.output_projection = nn.Linear(d_model, d_model, bias)

    def project(self, memory: Float[Tensor, "B S D"]) -> KeysValues:
        """Keys and values of the memory; they stay the same for a whole generated sequence."""
        k, v = split_heads(self.kv_projection(memory), 2, self.num_heads)
        return k, v

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"],
        mask: Mask | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        (q,) = split_heads(self.query_projection(x), 1, self.num_heads)
        k, v = self.project(memory) if cache is None else cache.remember(self.project, memory)
        return self.output_projection(join_heads(self.core(q, k, v, mask)))


if __name__ == "__main__":
    x, memory = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    print("self  :", tuple(x.shape), "->", tuple(MultiHeadAttention(8, 2)(x).shape))
    print("masked:", tuple(x.shape), "->", tuple(MultiHeadAttention(8, 2, causal=True)(x).shape))
    print("cross :", tuple(x.shape), "on", tuple(memory.shape), "->", tuple(CrossAttention(8, 2)(x, memory).shape))
