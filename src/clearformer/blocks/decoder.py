"""Decoder: a stack of layers of causal self-attention, cross-attention to the source, and feed-forward.

x -> Residual(causal MultiHeadAttention) -> Residual(CrossAttention) -> Residual(FeedForward)
                                                                Vaswani et al. 2017, arXiv:1706.03762, section 3.1
"""

from collections.abc import Iterable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clearformer.blocks.attention import Mask
from clearformer.blocks.cache import KVCache, LayerCache
from clearformer.blocks.feedforward import FeedForward, GatedFeedForward
from clearformer.blocks.multihead import CrossAttention, MultiHeadAttention
from clearformer.blocks.norm import LayerNorm
from clearformer.blocks.relative import RelativePositions
from clearformer.blocks.residual import PostNormResidual, Residual

SelfMask = Bool[Tensor, "#B #H #T _"]
"""of T target tokens over the target's keys; S is the length of the source"""
SelfBias = Float[Tensor, "#B #H #T _"]


class DecoderLayer(nn.Module):
    """Self-attention, cross-attention to the encoder's output (`memory`), feed-forward."""

    def __init__(
        self,
        attention: MultiHeadAttention,
        attention_residual: Residual,
        cross_attention: CrossAttention,
        cross_attention_residual: Residual,
        feed_forward: FeedForward | GatedFeedForward,
        feed_forward_residual: Residual,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_residual = attention_residual
        self.cross_attention = cross_attention
        self.cross_attention_residual = cross_attention_residual
        self.feed_forward = feed_forward
        self.feed_forward_residual = feed_forward_residual

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"],
        mask: SelfMask | None = None,
        memory_mask: Mask | None = None,
        cache: LayerCache | None = None,
        bias: SelfBias | None = None,
    ) -> Float[Tensor, "B T D"]:
        x = self.attention_residual(x, lambda x: self.attention(x, mask, cache, bias))
        x = self.cross_attention_residual(x, lambda x: self.cross_attention(x, memory, memory_mask, cache))
        return self.feed_forward_residual(x, self.feed_forward)


class Decoder(nn.Module):
    """The layers, then a final norm (`nn.Identity()` if the layers are post-norm).

    With `relative`, the self-attention of all layers adds its numbers to the scores.
    """

    def __init__(
        self, layers: Iterable[DecoderLayer], norm: nn.Module, relative: RelativePositions | None = None
    ) -> None:
        super().__init__()
        self.relative = relative
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        memory: Float[Tensor, "B S D"],
        mask: SelfMask | None = None,
        memory_mask: Mask | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        bias = None if self.relative is None else self.relative(x.shape[1], cache)
        for index, layer in enumerate(self.layers):
            x = layer(x, memory, mask, memory_mask, None if cache is None else cache.layers[index], bias)
        return self.norm(x)


if __name__ == "__main__":
    layer = DecoderLayer(
        MultiHeadAttention(8, num_heads=2, causal=True),
        PostNormResidual(LayerNorm(8)),
        CrossAttention(8, num_heads=2),
        PostNormResidual(LayerNorm(8)),
        FeedForward(8, 32, nn.ReLU()),
        PostNormResidual(LayerNorm(8)),
    )
    target, memory = torch.randn(1, 3, 8), torch.randn(1, 5, 8)
    out = Decoder([layer], nn.Identity())(target, memory)
    print("target", tuple(target.shape), "and memory", tuple(memory.shape), "->", tuple(out.shape))
