"""Residual connections, layers, and stacks of layers."""

from collections.abc import Callable, Sequence

from tinygrad import Tensor

from clearformer.config import ModelConfig
from clearformer.engines.tinygrad.attention import Bias, CrossAttention, KeysValues, Mask, MultiHeadAttention
from clearformer.engines.tinygrad.cache import NOTHING, LayerCache, Past
from clearformer.engines.tinygrad.dropout import Dropout, Noise
from clearformer.engines.tinygrad.layers import FeedForward, Identity, Norm, norm
from clearformer.engines.tinygrad.positions import RelativePositions
from clearformer.engines.tinygrad.shapes import Bool, Float, sizes

SelfMask = Bool[Tensor, "#B #H #T _"]
"""of self-attention over the target; S is the source's length"""
SelfBias = Float[Tensor, "#B H T _"]


class Residual:
    """x + sublayer(norm(x)) ("pre") or norm(x + sublayer(x)) ("post")."""

    def __init__(self, config: ModelConfig, noise: Noise) -> None:
        self.norm = norm(config, config.d_model)
        self.dropout = Dropout(config.dropout, noise)
        self.add = {"pre": self._pre, "post": self._post}[config.norm_order]

    def __call__(self, x: Float[Tensor, "B T D"], sublayer: Callable[[Tensor], Tensor]) -> Float[Tensor, "B T D"]:
        return self.add(x, sublayer)

    def _pre(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + self.dropout(sublayer(self.norm(x)))

    def _post(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return self.norm(x + self.dropout(sublayer(x)))


class Layer:
    """Self-attention, then feed-forward."""

    def __init__(self, config: ModelConfig, dropout: float, noise: Noise) -> None:
        """`dropout` is the attention weights'."""
        self.attention = MultiHeadAttention(config, dropout, noise)
        self.attention_residual = Residual(config, noise)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config, noise)

    def __call__(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask | None,
        cache: LayerCache | None = None,
        bias: Bias | None = None,
    ) -> Float[Tensor, "B T D"]:
        x = self.attention_residual(x, lambda x: self.attention(x, mask, cache, bias))
        return self.feed_forward_residual(x, self.feed_forward)


class DecoderLayer:
    """Self-attention over the target, cross-attention over the source, then feed-forward."""

    def __init__(self, config: ModelConfig, noise: Noise) -> None:
        self.attention = MultiHeadAttention(config, 0.0, noise)
        self.attention_residual = Residual(config, noise)
        self.cross_attention = CrossAttention(config, noise)
        self.cross_attention_residual = Residual(config, noise)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config, noise)

    def __call__(
        self,
        x: Float[Tensor, "B T D"],
        mask: SelfMask | None,
        cache: LayerCache | None,
        memory: KeysValues,
        memory_mask: Mask,
        bias: SelfBias | None = None,
    ) -> Float[Tensor, "B T D"]:
        x = self.attention_residual(x, lambda x: self.attention(x, mask, cache, bias))
        x = self.cross_attention_residual(x, lambda x: self.cross_attention(x, memory, memory_mask))
        return self.feed_forward_residual(x, self.feed_forward)


class Stack:
    """What all stacks have: the final norm of pre-norm ones, and the table of relative positions."""

    def __init__(self, config: ModelConfig, *, causal: bool) -> None:
        self.relative = RelativePositions(config, causal=causal) if config.positions == "relative" else None
        self.norm = final_norm(config)

    def bias(self, x: Float[Tensor, "B T D"], past: Past) -> Tensor | None:
        """What relative positions add to the scores of the tokens of `x`."""
        T = sizes(x)[1]  # noqa: N806
        return None if self.relative is None else self.relative(past.at, T, past.keys(T))


class Encoder(Stack):
    """Layers of self-attention and feed-forward."""

    def __init__(self, config: ModelConfig, dropout: float, noise: Noise, *, causal: bool) -> None:
        super().__init__(config, causal=causal)
        self.layers = [Layer(config, dropout, noise) for _ in range(config.num_layers)]

    def __call__(self, x: Float[Tensor, "B T D"], mask: Mask | None, past: Past = NOTHING) -> Float[Tensor, "B T D"]:
        bias = self.bias(x, past)
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, past.layer(index), bias)
        return self.norm(x)


class Decoder(Stack):
    """Decoder layers; `memory` has each layer's keys and values of the source."""

    def __init__(self, config: ModelConfig, noise: Noise) -> None:
        super().__init__(config, causal=True)
        self.layers = [DecoderLayer(config, noise) for _ in range(config.num_layers)]

    def __call__(
        self,
        x: Float[Tensor, "B T D"],
        mask: SelfMask | None,
        past: Past,
        memory: Sequence[KeysValues],
        memory_mask: Mask,
    ) -> Float[Tensor, "B T D"]:
        bias = self.bias(x, past)
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, past.layer(index), memory[index], memory_mask, bias)
        return self.norm(x)


def final_norm(config: ModelConfig) -> Norm:
    """The final norm of a pre-norm stack; the output of a post-norm stack is normalized already."""
    return norm(config, config.d_model) if config.norm_order == "pre" else Identity()
