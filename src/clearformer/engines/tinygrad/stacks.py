"""Stacks of layers: what enters a sub-layer, what is added to the stream, and what a decoder looks at."""

from collections.abc import Callable, Sequence

from tinygrad import Tensor

from clearformer.config import ModelConfig
from clearformer.engines.tinygrad.attention import CrossAttention, KeysValues, Mask, MultiHeadAttention
from clearformer.engines.tinygrad.cache import NOTHING, LayerCache, Past
from clearformer.engines.tinygrad.dropout import Dropout, Noise
from clearformer.engines.tinygrad.layers import FeedForward, Norm, norm
from clearformer.engines.tinygrad.shapes import Bool, Float

SelfMask = Bool[Tensor, "#B #H #T _"]
"""over the target's own keys; S counts those of the source"""


class Residual:
    """A sub-layer adds to the stream, and a norm comes before it ("pre") or after the sum ("post")."""

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
    """Tokens look at each other, then each thinks for itself."""

    def __init__(self, config: ModelConfig, dropout: float, noise: Noise) -> None:
        """`dropout` is that of the attention weights."""
        self.attention = MultiHeadAttention(config, dropout, noise)
        self.attention_residual = Residual(config, noise)
        self.feed_forward = FeedForward(config)
        self.feed_forward_residual = Residual(config, noise)

    def __call__(
        self, x: Float[Tensor, "B T D"], mask: Mask | None, cache: LayerCache | None = None
    ) -> Float[Tensor, "B T D"]:
        x = self.attention_residual(x, lambda x: self.attention(x, mask, cache))
        return self.feed_forward_residual(x, self.feed_forward)


class DecoderLayer:
    """Looks at what was written so far, then at the source, then thinks."""

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
    ) -> Float[Tensor, "B T D"]:
        x = self.attention_residual(x, lambda x: self.attention(x, mask, cache))
        x = self.cross_attention_residual(x, lambda x: self.cross_attention(x, memory, memory_mask))
        return self.feed_forward_residual(x, self.feed_forward)


class Encoder:
    """Layer after layer, then the norm that a stack of pre-norm layers ends in."""

    def __init__(self, config: ModelConfig, dropout: float, noise: Noise) -> None:
        self.layers = [Layer(config, dropout, noise) for _ in range(config.num_layers)]
        self.norm = final_norm(config)

    def __call__(self, x: Float[Tensor, "B T D"], mask: Mask | None, past: Past = NOTHING) -> Float[Tensor, "B T D"]:
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, past.layer(index))
        return x if self.norm is None else self.norm(x)


class Decoder:
    """The same, of layers that look at a source too; `memory` is what each of them looks at."""

    def __init__(self, config: ModelConfig, noise: Noise) -> None:
        self.layers = [DecoderLayer(config, noise) for _ in range(config.num_layers)]
        self.norm = final_norm(config)

    def __call__(
        self,
        x: Float[Tensor, "B T D"],
        mask: SelfMask | None,
        past: Past,
        memory: Sequence[KeysValues],
        memory_mask: Mask,
    ) -> Float[Tensor, "B T D"]:
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, past.layer(index), memory[index], memory_mask)
        return x if self.norm is None else self.norm(x)


def final_norm(config: ModelConfig) -> Norm | None:
    """A pre-norm stack never normalises its stream; a post-norm stack has just done so."""
    return norm(config, config.d_model) if config.norm_order == "pre" else None
