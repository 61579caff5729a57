"""Multi-head attention: several heads attend in parallel, each in its own subspace.

    MultiHead(X, M) = Concat(head_1, …, head_H) W_O
    head_i = Attention(X W_Q_i, M W_K_i, M W_V_i)           Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2

One projection gives the queries, keys and values of all heads; its rows are queries, then keys, then values.
"""

import functools
import itertools

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from clearformer.config import ModelConfig
from clearformer.engines.numpy import functional as F
from clearformer.engines.numpy.cache import KeysValues, LayerCache
from clearformer.engines.numpy.modes import generator
from clearformer.engines.numpy.modules import Identity, LayerNorm, Linear, Module, RMSNorm
from clearformer.engines.numpy.positions import RotaryPositions, alibi
from clearformer.engines.numpy.tensor import Tensor
from clearformer.engines.tables import slopes

Mask = Bool[NDArray[np.bool_], "#B #H #T #S"]


def join_masks(*masks: Mask | None) -> Mask | None:
    """The conjunction of masks; None allows everything."""
    present = [mask for mask in masks if mask is not None]
    return functools.reduce(np.bitwise_and, present) if present else None


def norm(config: ModelConfig, width: int) -> LayerNorm | RMSNorm | Identity:
    match config.norm:
        case "layer":
            return LayerNorm(width, bias=config.bias, eps=config.norm_epsilon)
        case "rms":
            return RMSNorm(width, eps=config.norm_epsilon)
        case "none":
            return Identity()


def split_heads(x: Tensor, *heads: int) -> list[Tensor]:
    """Split vectors [B, T, width] into parts with the given numbers of heads, each [B, heads, T, E]."""
    width, ends = x.shape[2] // sum(heads), itertools.accumulate(heads)
    return [F.split_heads(x, end - count, count, width) for count, end in zip(heads, ends, strict=True)]


class ScaledDotProductAttention(Module):
    """The core of all attention. With `causal`, the queries are the last T of the S positions."""

    def __init__(self, *, causal: bool, dropout: float, alibi_heads: int) -> None:
        self.causal, self.dropout = causal, dropout
        self.slopes = slopes(alibi_heads) if alibi_heads else None

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask | None, bias: Tensor | None = None) -> Tensor:
        T, S = q.shape[2], k.shape[2]  # noqa: N806
        bias = bias if self.slopes is None else Tensor(alibi(self.slopes, T, S))
        causal = self.causal and T > 1
        if causal and not (mask is None and bias is None):
            mask, causal = join_masks(mask, np.tri(T, S, S - T, dtype=np.bool_)[None, None]), False
        dropout = self.dropout if self.training else 0.0
        return F.attention(q, k, v, mask, bias, dropout, generator() if dropout else None, causal=causal)


class MultiHeadAttention(Module):
    """Self-attention; with `causal`, no token attends to later ones."""

    def __init__(self, config: ModelConfig, *, causal: bool, dropout: float) -> None:
        D, E = config.d_model, config.key_width  # noqa: N806
        self.heads = config.num_heads, config.kv_heads, config.kv_heads
        self.qkv_projection = Linear(D, sum(self.heads) * E, config.bias)
        self.query_norm = norm(config, E) if config.qk_norm else Identity()
        self.key_norm = norm(config, E) if config.qk_norm else Identity()
        rotary = config.context, E, config.rotary_base, config.rotary_scaling
        self.rotary = RotaryPositions(*rotary) if config.positions == "rotary" else None
        alibi_heads = config.num_heads if config.positions == "alibi" else 0
        self.core = ScaledDotProductAttention(causal=causal, dropout=dropout, alibi_heads=alibi_heads)
        self.output_projection = Linear(config.num_heads * E, D, config.bias)

    def forward(
        self, x: Tensor, mask: Mask | None = None, cache: LayerCache | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """`bias`, that of relative positions, is added to the scores."""
        q, k, v = split_heads(self.qkv_projection(x), *self.heads)
        q, k = self.query_norm(q), self.key_norm(k)
        if self.rotary is not None:
            T = x.shape[1]  # noqa: N806
            positions = np.arange(T) if cache is None else cache.owner.positions(T)
            q, k = self.rotary(q, positions), self.rotary(k, positions)
        if cache is not None:
            k, v = cache.write(k, v)
        return self.output_projection(F.join_heads(self.core(q, k, v, mask, bias)))


class CrossAttention(Module):
    """Queries from the decoder, keys and values from the encoder's output (`memory`)."""

    def __init__(self, config: ModelConfig) -> None:
        D, E = config.d_model, config.key_width  # noqa: N806
        self.heads = config.num_heads, config.kv_heads
        self.query_projection = Linear(D, config.num_heads * E, config.bias)
        self.kv_projection = Linear(D, 2 * config.kv_heads * E, config.bias)
        self.query_norm = norm(config, E) if config.qk_norm else Identity()
        self.key_norm = norm(config, E) if config.qk_norm else Identity()
        self.core = ScaledDotProductAttention(causal=False, dropout=0.0, alibi_heads=0)
        self.output_projection = Linear(config.num_heads * E, D, config.bias)

    def project(self, memory: Tensor) -> KeysValues:
        """Keys and values of the memory, which are constant during decoding."""
        k, v = split_heads(self.kv_projection(memory), self.heads[1], self.heads[1])
        return self.key_norm(k), v

    def forward(self, x: Tensor, memory: Tensor, mask: Mask | None = None, cache: LayerCache | None = None) -> Tensor:
        (q,) = split_heads(self.query_projection(x), self.heads[0])
        k, v = self.project(memory) if cache is None else cache.remember(self.project, memory)
        return self.output_projection(F.join_heads(self.core(self.query_norm(q), k, v, mask)))
