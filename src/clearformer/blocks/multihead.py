"""Multi-head attention: several heads attend in parallel, each in its own subspace of width E.

    MultiHead(X, M) = Concat(head_1, …, head_H) W_O
    head_i = Attention(X W_Q_i, M W_K_i, M W_V_i)           Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2

In self-attention M is X, and one matrix product computes queries, keys and values of all heads ("fused"); the rows of
its matrix are queries, then keys, then values, head by head. In cross-attention M is the encoder's output. E is D / H,
unless it is given. Each head's queries and keys may be normalised (QK-norm, Henry et al. 2020, arXiv:2010.04245) and
rotated by their positions.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearformer.blocks.attention import Bias, Mask, ScaledDotProductAttention, attention
from clearformer.blocks.cache import KeysValues, LayerCache
from clearformer.blocks.rotary import RotaryPositions


def multi_head_attention(
    x: Float[Tensor, "B T D"],
    memory: Float[Tensor, "B S D"],
    projections: Float[Tensor, "3 H E D"],
    output: Float[Tensor, "D width"],
    mask: Mask | None = None,
) -> Float[Tensor, "B T D"]:
    """The formula, head by head and without biases. `projections` holds W_Q, W_K and W_V of every head."""
    heads = []
    for w_q, w_k, w_v in projections.transpose(0, 1):
        q, k, v = x @ w_q.T, memory @ w_k.T, memory @ w_v.T
        heads.append(attention(q[:, None], k[:, None], v[:, None], mask)[:, 0])
    return torch.cat(heads, dim=-1) @ output.T


def split_heads(x: Float[Tensor, "B T width"], *heads: int) -> tuple[Float[Tensor, "B _ T E"], ...]:
    """Split each token's vector into parts (queries, keys, values) with these numbers of heads."""
    return x.unflatten(-1, (sum(heads), -1)).transpose(1, 2).split(heads, dim=1)


def join_heads(x: Float[Tensor, "B H T E"]) -> Float[Tensor, "B T width"]:
    """Concatenate the heads of each token, to vectors of width H · E."""
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    """Self-attention; with `causal`, no token attends to a later one.

    `num_kv_heads` (G) must divide `num_heads`, its default; `head_width` (E) is by default D / H. `norms` are those of
    each head's queries and keys.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        head_width: int | None = None,
        causal: bool = False,
        dropout: float = 0.0,
        bias: bool = True,
        norms: tuple[nn.Module, nn.Module] | None = None,
        positions: RotaryPositions | Literal["alibi"] | None = None,
    ) -> None:
        super().__init__()
        self.heads = num_heads, num_kv_heads or num_heads, num_kv_heads or num_heads
        width = head_width or d_model // num_heads
        self.qkv_projection = nn.Linear(d_model, sum(self.heads) * width, bias)
        self.query_norm, self.key_norm = norms or (nn.Identity(), nn.Identity())
        self.rotary = positions if isinstance(positions, RotaryPositions) else None
        alibi_heads = num_heads if positions == "alibi" else 0
        self.core = ScaledDotProductAttention(causal=causal, dropout=dropout, alibi_heads=alibi_heads)
        self.output_projection = nn.Linear(num_heads * width, d_model, bias)

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask | None = None,
        cache: LayerCache | None = None,
        bias: Bias | None = None,
    ) -> Float[Tensor, "B T D"]:
        """`bias` is added to the scores: that of relative positions."""
        q, k, v = split_heads(self.qkv_projection(x), *self.heads)
        q, k = self.query_norm(q), self.key_norm(k)
        if self.rotary is not None:
            T = x.shape[1]  # noqa: N806
            positions = torch.arange(T, device=x.device) if cache is None else cache.owner.positions(T)
            q, k = self.rotary(q, positions), self.rotary(k, positions)
        if cache is not None:
            k, v = cache.write(k, v)
        return self.output_projection(join_heads(self.core(q, k, v, mask, bias)))


class CrossAttention(nn.Module):
    """Queries from the decoder (`x`), keys and values from the encoder's output (`memory`)."""

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        head_width: int | None = None,
        dropout: float = 0.0,
        bias: bool = True,
        norms: tuple[nn.Module, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.heads = num_heads, num_kv_heads or num_heads, num_kv_heads or num_heads
        width = head_width or d_model // num_heads
        self.query_projection = nn.Linear(d_model, num_heads * width, bias)
        self.kv_projection = nn.Linear(d_model, sum(self.heads[1:]) * width, bias)
        self.query_norm, self.key_norm = norms or (nn.Identity(), nn.Identity())
        self.core = ScaledDotProductAttention(dropout=dropout)
        self.output_projection = nn.Linear(num_heads * width, d_model, bias)

    def project(self, memory: Float[Tensor, "B S D"]) -> KeysValues:
        """Keys and values of the memory, the same for every generated token."""
        k, v = split_heads(self.kv_projection(memory), *self.heads[1:])
        return self.key_norm(k), v

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"],
        mask: Mask | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        q = self.query_norm(*split_heads(self.query_projection(x), self.heads[0]))
        k, v = self.project(memory) if cache is None else cache.remember(self.project, memory)
        return self.output_projection(join_heads(self.core(q, k, v, mask)))


if __name__ == "__main__":
    x, memory = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    print("self  :", tuple(x.shape), "->", tuple(MultiHeadAttention(8, 2)(x).shape))
    print("causal:", tuple(x.shape), "->", tuple(MultiHeadAttention(8, 2, causal=True)(x).shape))
    print("cross :", tuple(x.shape), "and", tuple(memory.shape), "->", tuple(CrossAttention(8, 2)(x, memory).shape))
