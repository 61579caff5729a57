"""Layers and stacks: attention and feed-forward, each adding to the residual stream.

post-norm: x -> Norm(x + Dropout(Sublayer(x)))          Vaswani et al. 2017, arXiv:1706.03762, section 5.4
pre-norm:  x -> x + Dropout(Sublayer(Norm(x)))          Xiong et al. 2020, arXiv:2002.04745
FFN(x) = f(x W_1 + b_1) W_2 + b_2                       Vaswani et al. 2017, equation 2
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from clearformer.config import ModelConfig
from clearformer.engines.numpy import functional as F
from clearformer.engines.numpy.cache import KVCache, LayerCache
from clearformer.engines.numpy.modules import Dropout, Identity, Linear, Module
from clearformer.engines.numpy.multihead import CrossAttention, Mask, MultiHeadAttention, norm
from clearformer.engines.numpy.positions import RelativePositions
from clearformer.engines.numpy.tensor import Tensor

SelfMask = Bool[NDArray[np.bool_], "#B #H #T _"]
"""over the target's own keys; S counts those of the source"""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "squared_relu": F.squared_relu,
    "gelu_tanh": F.gelu_tanh,
    "swiglu": F.swiglu,
    "geglu": F.geglu,
    "geglu_tanh": F.geglu_tanh,
}


class Residual(Module):
    """A residual connection around a sub-layer."""

    def __init__(self, config: ModelConfig) -> None:
        self.norm = norm(config, config.d_model)
        self.dropout = Dropout(config.dropout)


class PreNormResidual(Residual):
    """Normalise the sub-layer's input."""

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + self.dropout(sublayer(self.norm(x)))


class PostNormResidual(Residual):
    """Normalise the sum."""

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return self.norm(x + self.dropout(sublayer(x)))


RESIDUALS: dict[str, type[Residual]] = {"pre": PreNormResidual, "post": PostNormResidual}


class FeedForward(Module):
    """Widen, apply the activation, narrow; in a gated activation, one half gates the other."""

    def __init__(self, config: ModelConfig) -> None:
        self.linear1 = Linear(config.d_model, config.linear1_width, config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.linear2 = Linear(config.d_ff, config.d_model, config.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.activation(self.linear1(x)))


class EncoderLayer(Module):
    """Self-attention and feed-forward; with causal attention, a GPT's layer."""

    def __init__(self, config: ModelConfig, *, causal: bool, dropout: float) -> None:
        """`dropout` is that of the attention weights."""
        residual = RESIDUALS[config.norm_order]
        self.attention = MultiHeadAttention(config, causal=causal, dropout=dropout)
        self.attention_residual = residual(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = residual(config)

    def forward(
        self, x: Tensor, mask: Mask | None = None, cache: LayerCache | None = None, bias: Tensor | None = None
    ) -> Tensor:
        x = self.attention_residual(x, lambda x: self.attention(x, mask, cache, bias))
        return self.feed_forward_residual(x, self.feed_forward)


class DecoderLayer(Module):
    """Masked self-attention, cross-attention to the encoder's output (`memory`), feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        residual = RESIDUALS[config.norm_order]
        self.attention = MultiHeadAttention(config, causal=True, dropout=0.0)
        self.attention_residual = residual(config)
        self.cross_attention = CrossAttention(config)
        self.cross_attention_residual = residual(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = residual(config)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: SelfMask | None,
        memory_mask: Mask,
        cache: LayerCache | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        x = self.attention_residual(x, lambda x: self.attention(x, mask, cache, bias))
        x = self.cross_attention_residual(x, lambda x: self.cross_attention(x, memory, memory_mask, cache))
        return self.feed_forward_residual(x, self.feed_forward)


class Stack(Module):
    """A stack of layers; pre-norm ones end with a norm, since their residual stream is not normalised.

    All its self-attentions share the table of relative positions.
    """

    def __init__(self, config: ModelConfig, layers: Sequence[Module], *, causal: bool) -> None:
        is_relative = config.positions == "relative"
        self.relative = RelativePositions(config.num_heads, causal=causal) if is_relative else None
        self.layers = list(layers)
        self.norm = norm(config, config.d_model) if config.norm_order == "pre" else Identity()

    def bias(self, x: Tensor, cache: KVCache | None) -> Tensor | None:
        """What relative positions add to the scores of the tokens of `x`."""
        return None if self.relative is None else self.relative(x.shape[1], cache)


class Encoder(Stack):
    def forward(self, x: Tensor, mask: Mask | None, cache: KVCache | None = None) -> Tensor:
        bias = self.bias(x, cache)
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, None if cache is None else cache.layers[index], bias)
        return self.norm(x)


class Decoder(Stack):
    def forward(
        self, x: Tensor, memory: Tensor, mask: SelfMask | None, memory_mask: Mask, cache: KVCache | None
    ) -> Tensor:
        bias = self.bias(x, cache)
        for index, layer in enumerate(self.layers):
            x = layer(x, memory, mask, memory_mask, None if cache is None else cache.layers[index], bias)
        return self.norm(x)
