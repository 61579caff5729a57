"""The blocks that a configuration selects, for every family alike: a dictionary per setting."""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clearformer.blocks.cache import KVCache
from clearformer.blocks.embedding import TokenEmbedding
from clearformer.blocks.encoder import EncoderLayer
from clearformer.blocks.feedforward import FeedForward, GatedFeedForward, SquaredReLU
from clearformer.blocks.masks import join_masks, window_mask
from clearformer.blocks.multihead import CrossAttention, MultiHeadAttention
from clearformer.blocks.ngrams import PAST, NGramEmbedding
from clearformer.blocks.norm import LayerNorm, RMSNorm
from clearformer.blocks.output import OutputProjection
from clearformer.blocks.positions import LearnedPositions, SinusoidalPositions
from clearformer.blocks.relative import RelativePositions
from clearformer.blocks.residual import PostNormResidual, PreNormResidual, Residual
from clearformer.blocks.rotary import RotaryPositions
from clearformer.config import ModelConfig
from clearformer.errors import PromptError

NORMS: dict[str, Callable[[ModelConfig, int], nn.Module]] = {
    "layer": lambda config, width: LayerNorm(width, bias=config.bias, eps=config.norm_epsilon),
    "rms": lambda config, width: RMSNorm(width, eps=config.norm_epsilon),
    "none": lambda *_: nn.Identity(),
}
RESIDUALS: dict[str, type[Residual]] = {"pre": PreNormResidual, "post": PostNormResidual}
ADDED_POSITIONS: dict[str, type[SinusoidalPositions | LearnedPositions]] = {
    "sinusoidal": SinusoidalPositions,
    "learned": LearnedPositions,
}
ATTENTION_POSITIONS: dict[str, Callable[[ModelConfig], RotaryPositions | Literal["alibi"]]] = {
    "rotary": lambda config: RotaryPositions(
        config.context, config.key_width, config.rotary_base, config.rotary_scaling
    ),
    "alibi": lambda _: "alibi",
}
FEED_FORWARDS: dict[str, Callable[[ModelConfig], FeedForward | GatedFeedForward]] = {
    "relu": lambda config: FeedForward(config.d_model, config.d_ff, nn.ReLU(), bias=config.bias),
    "gelu": lambda config: FeedForward(config.d_model, config.d_ff, nn.GELU(), bias=config.bias),
    "squared_relu": lambda config: FeedForward(config.d_model, config.d_ff, SquaredReLU(), bias=config.bias),
    "gelu_tanh": lambda config: FeedForward(config.d_model, config.d_ff, nn.GELU("tanh"), bias=config.bias),
    "swiglu": lambda config: GatedFeedForward(config.d_model, config.d_ff, nn.SiLU(), bias=config.bias),
    "geglu": lambda config: GatedFeedForward(config.d_model, config.d_ff, nn.GELU(), bias=config.bias),
    "geglu_tanh": lambda config: GatedFeedForward(config.d_model, config.d_ff, nn.GELU("tanh"), bias=config.bias),
}


class Embedder(nn.Module):
    """The base of every family: token embeddings, plus those of positions and n-grams if the configuration has them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(config.vocab_size, config.d_model, None if config.scale_embeddings else 1.0)
        added = ADDED_POSITIONS.get(config.positions)
        self.positions = added(config.context, config.d_model) if added else None
        self.ngrams = NGramEmbedding(config.ngram_buckets, config.d_model) if config.ngram_buckets else None
        self.context, self.window = config.context, config.window

    def embed(self, tokens: Int[Tensor, "B T"], cache: KVCache | None = None) -> Float[Tensor, "B T D"]:
        """The vectors of `tokens`, which follow those in the cache. Raises PromptError beyond the context."""
        x, position_ids = self.embedding(tokens), self.position_ids(tokens, cache)
        if self.positions is not None:
            x = x + self.positions(position_ids)
        if self.ngrams is not None:
            with_past = nn.functional.pad(tokens, (PAST, 0)) if cache is None else cache.with_past(tokens, PAST)
            x = x + self.ngrams(with_past)
        return x

    def position_ids(self, tokens: Int[Tensor, "B T"], cache: KVCache | None) -> Int[Tensor, "*B T"]:
        """Positions of the tokens: from 0 on, or after those in the cache. Raises PromptError beyond the context."""
        length = tokens.shape[1]
        past = 0 if cache is None else cache.longest
        if past + length > self.context:
            raise PromptError(
                f"at most {self.context} tokens were expected, the model's context, found {past + length}; "
                "shorten the sequence"
            )
        return torch.arange(length, device=tokens.device) if cache is None else cache.positions(length)

    def attention_mask(
        self, tokens: Int[Tensor, "B T"], cache: KVCache | None = None
    ) -> Bool[Tensor, "#B 1 T S"] | None:
        """The sliding window, and the mask of a cache whose rows differ in length; neither causality nor padding."""
        position_ids, past = self.position_ids(tokens, cache), 0 if cache is None else cache.longest
        window = window_mask(position_ids, past + tokens.shape[1], self.window) if self.window else None
        return join_masks(window, None if cache is None else cache.mask(tokens.shape[1]))


def norm(config: ModelConfig) -> nn.Module:
    return NORMS[config.norm](config, config.d_model)


def residual(config: ModelConfig) -> Residual:
    return RESIDUALS[config.norm_order](norm(config), config.dropout)


def final_norm(config: ModelConfig) -> nn.Module:
    """The norm at the end of a stack: pre-norm layers leave the stream unnormalised, post-norm layers do not."""
    return norm(config) if config.norm_order == "pre" else nn.Identity()


def head_norms(config: ModelConfig) -> tuple[nn.Module, nn.Module] | None:
    """The norms of each head's queries and keys."""
    make = NORMS[config.norm]
    return (make(config, config.key_width), make(config, config.key_width)) if config.qk_norm else None


def relative_positions(config: ModelConfig, *, causal: bool) -> RelativePositions | None:
    """The table of a stack, if the configuration has relative positions."""
    return RelativePositions(config.num_heads, causal=causal) if config.positions == "relative" else None


def self_attention(config: ModelConfig, *, causal: bool, dropout: float = 0.0) -> MultiHeadAttention:
    positions = ATTENTION_POSITIONS.get(config.positions)
    return MultiHeadAttention(
        config.d_model,
        config.num_heads,
        num_kv_heads=config.kv_heads,
        head_width=config.key_width,
        causal=causal,
        dropout=dropout,
        bias=config.bias,
        norms=head_norms(config),
        positions=positions(config) if positions else None,
    )


def cross_attention(config: ModelConfig) -> CrossAttention:
    return CrossAttention(
        config.d_model,
        config.num_heads,
        num_kv_heads=config.kv_heads,
        head_width=config.key_width,
        bias=config.bias,
        norms=head_norms(config),
    )


def feed_forward(config: ModelConfig) -> FeedForward | GatedFeedForward:
    return FEED_FORWARDS[config.activation](config)


def encoder_layer(config: ModelConfig, attention: MultiHeadAttention) -> EncoderLayer:
    return EncoderLayer(attention, residual(config), feed_forward(config), residual(config))


def output_projection(config: ModelConfig, embedding: TokenEmbedding, *, bias: bool = False) -> OutputProjection:
    """From vectors to logits; if tied, its weight is the embedding's."""
    weight = embedding.weight if config.tie_embeddings else nn.Parameter(torch.zeros_like(embedding.weight))
    return OutputProjection(weight, bias=bias, cap=config.logit_cap)
