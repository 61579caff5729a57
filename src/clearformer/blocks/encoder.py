"""Encoder: a stack of layers of self-attention and feed-forward.

    x -> Residual(MultiHeadAttention) -> Residual(FeedForward)      Vaswani et al. 2017, arXiv:1706.03762, section 3.1

With causal attention the same stack is a decoder-only model, the body of a GPT.
"""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clearformer.blocks.attention import Bias, Mask
from clearformer.blocks.cache import KVCache, LayerCache
from clearformer.blocks.feedforward import FeedForward, GatedFeedForward
from clearformer.blocks.multihead import MultiHeadAttention
from clearformer.blocks.norm import LayerNorm
from clearformer.blocks.relative import RelativePositions
from clearformer.blocks.residual import PostNormResidual, Residual


class EncoderLayer(nn.Module):
    """Self-attention mixes the tokens, then feed-forward transforms each token alone."""

    def __init__(
        self,
        attention: MultiHeadAttention,
        attention_residual: Residual,
        feed_forward: FeedForward | GatedFeedForward,
        feed_forward_residual: Residual,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.attention_residual = attention_residual
        self.feed_forward = feed_forward
        self.feed_forward_residual = feed_forward_residual

    def forward(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask | None = None,
        cache: LayerCache | None = None,
        bias: Bias | None = None,
    ) -> Float[Tensor, "B T D"]:
        x = self.attention_residual(x, lambda x: self.attention(x, mask, cache, bias))
        return self.feed_forward_residual(x, self.feed_forward)


class Encoder(nn.Module):
    """The layers, then a final norm (`nn.Identity()` if the layers are post-norm).

    With `relative`, the attention of all layers adds its numbers to the scores.
    """

    def __init__(
        self, layers: Iterable[EncoderLayer], norm: nn.Module, relative: RelativePositions | None = None
    ) -> None:
        super().__init__()
        self.relative = relative
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(
        self, x: Float[Tensor, "B T D"], mask: Mask | None = None, cache: KVCache | None = None
    ) -> Float[Tensor, "B T D"]:
        bias = None if self.relative is None else self.relative(x.shape[1], cache)
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, None if cache is None else cache.layers[index], bias)
        return self.norm(x)


if __name__ == "__main__":
    layer = EncoderLayer(
        MultiHeadAttention(8, num_heads=2),
        PostNormResidual(LayerNorm(8)),
        FeedForward(8, 32, nn.ReLU()),
        PostNormResidual(LayerNorm(8)),
    )
    x = torch.randn(1, 3, 8)
    print("one layer:", tuple(x.shape), "->", tuple(Encoder([layer], nn.Identity())(x).shape))
    print("parameters:", {name: tuple(value.shape) for name, value in layer.named_parameters()})
