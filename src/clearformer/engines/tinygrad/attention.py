"""Multi-head attention: softmax(Q Kᵀ / sqrt(E)) V, as in `clearformer.blocks.attention`.

tinygrad compiles its kernels from this formula. Masks are True where a query may attend; a query that may attend to
nothing yields zeros.
"""

import math

from tinygrad import Tensor

from clearformer.config import ModelConfig
from clearformer.engines.tables import slopes
from clearformer.engines.tinygrad.cache import LayerCache
from clearformer.engines.tinygrad.dropout import Dropout, Noise
from clearformer.engines.tinygrad.layers import Identity, Linear, Norm, norm
from clearformer.engines.tinygrad.positions import RotaryPositions, distances
from clearformer.engines.tinygrad.shapes import Bool, Float, sizes

Mask = Bool[Tensor, "#B #H #T #S"]
Bias = Float[Tensor, "#B H T S"]
KeysValues = tuple[Float[Tensor, "B G S E"], Float[Tensor, "B G S E"]]
LOWEST = -3e38
"""the score of masked keys; with -inf a row of masked keys alone would be NaN"""


class ScaledDotProductAttention:
    """The attention core, without parameters."""

    def __init__(self, dropout: Dropout) -> None:
        self.dropout = dropout

    def __call__(
        self,
        q: Float[Tensor, "B H T E"],
        k: Float[Tensor, "B G S E"],
        v: Float[Tensor, "B G S E"],
        mask: Mask | None,
        bias: Bias | None = None,
    ) -> Float[Tensor, "B H T E"]:
        """`bias` is added to the scores."""
        k, v = (x.repeat_interleave(sizes(q)[1] // sizes(x)[1], dim=1) for x in (k, v))
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if bias is not None:
            scores = scores + bias
        if mask is None:
            return self.dropout(scores.softmax(-1)) @ v
        return self.dropout(mask.where(mask.where(scores, LOWEST).softmax(-1), 0)) @ v


def split_heads(x: Float[Tensor, "B T width"], *heads: int) -> tuple[Float[Tensor, "B _ T E"], ...]:
    """Split each token's vector into parts of `heads` heads each."""
    return x.unflatten(-1, (sum(heads), -1)).transpose(1, 2).split(heads, dim=1)


def join_heads(x: Float[Tensor, "B H T E"]) -> Float[Tensor, "B T width"]:
    """Concatenate the heads of each token."""
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention:
    """Self-attention; the rows of `qkv_projection` are those of queries, keys and values, in this order."""

    def __init__(self, config: ModelConfig, dropout: float, noise: Noise) -> None:
        self.heads = config.num_heads, config.kv_heads, config.kv_heads
        width = config.num_heads * config.key_width
        self.qkv_projection = Linear(config.d_model, sum(self.heads) * config.key_width, bias=config.bias)
        self.query_norm, self.key_norm = head_norms(config)
        self.rotary = RotaryPositions(config) if config.positions == "rotary" else None
        self.slopes = Tensor(slopes(config.num_heads)).realize() if config.positions == "alibi" else None
        self.core = ScaledDotProductAttention(Dropout(dropout, noise))
        self.output_projection = Linear(width, config.d_model, bias=config.bias)

    def __call__(
        self,
        x: Float[Tensor, "B T D"],
        mask: Mask | None,
        cache: LayerCache | None = None,
        bias: Bias | None = None,
    ) -> Float[Tensor, "B T D"]:
        """`bias`, that of relative positions, is added to the scores."""
        at = None if cache is None else cache.at
        q, k, v = split_heads(self.qkv_projection(x), *self.heads)
        q, k = self.query_norm(q), self.key_norm(k)
        if self.rotary is not None:
            q, k = self.rotary(q, at), self.rotary(k, at)
        if cache is not None:
            k, v = cache.write(k, v)
        if self.slopes is not None:
            bias = -self.slopes.reshape(1, -1, 1, 1) * distances(at, sizes(q)[2], sizes(k)[2]).abs()
        return self.output_projection(join_heads(self.core(q, k, v, mask, bias)))


class CrossAttention:
    """Queries from the decoder; keys and values from the encoder's output (`memory`)."""

    def __init__(self, config: ModelConfig, noise: Noise) -> None:
        self.heads = config.num_heads, config.kv_heads, config.kv_heads
        width = config.num_heads * config.key_width
        self.query_projection = Linear(config.d_model, width, bias=config.bias)
        self.kv_projection = Linear(config.d_model, 2 * config.kv_heads * config.key_width, bias=config.bias)
        self.query_norm, self.key_norm = head_norms(config)
        self.core = ScaledDotProductAttention(Dropout(0.0, noise))
        self.output_projection = Linear(width, config.d_model, bias=config.bias)

    def project(self, memory: Float[Tensor, "B S D"]) -> KeysValues:
        """Keys and values of the memory, constant for a whole generated sequence."""
        k, v = split_heads(self.kv_projection(memory), *self.heads[1:])
        return self.key_norm(k), v

    def __call__(self, x: Float[Tensor, "B T D"], memory: KeysValues, mask: Mask | None) -> Float[Tensor, "B T D"]:
        """`memory` is the result of `project`."""
        (q,) = split_heads(self.query_projection(x), self.heads[0])
        return self.output_projection(join_heads(self.core(self.query_norm(q), *memory, mask)))


def head_norms(config: ModelConfig) -> tuple[Norm, Norm]:
    """The QK norms, of each head's queries and keys."""
    if not config.qk_norm:
        return Identity(), Identity()
    return norm(config, config.key_width), norm(config, config.key_width)
