"""Choose a configuration's sub-blocks, the same way for every family. A choice is a row of a table."""

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor, nn

from clearformer.blocks.cache import KVCache
from clearformer.blocks.embedding import TokenEmbedding
from clearformer.blocks.encoder import EncoderLayer
from clearformer.blocks.feedforward import FeedForward
from clearformer.blocks.multihead import CrossAttention, MultiHeadAttention
from clearformer.blocks.norm import LayerNorm, RMSNorm
from clearformer.blocks.positions import LearnedPositions, SinusoidalPositions
from clearformer.blocks.residual import PostNormResidual, PreNormResidual, Residual
from clearformer.config import ModelConfig
from clearformer.errors import PromptError

NORMS: dict[str, Callable[[ModelConfig], nn.Module]] = {
    "layer": lambda config: LayerNorm(config.d_model, bias=config.bias),
    "rms": lambda config: RMSNorm(config.d_model),
}
RESIDUALS: dict[str, type[Residual]] = {"pre": PreNormResidual, "post": PostNormResidual}
POSITIONS: dict[str, type[SinusoidalPositions | LearnedPositions]] = {
    "sinusoidal": SinusoidalPositions,
    "learned": LearnedPositions,
}
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


def embedding(config: ModelConfig) -> TokenEmbedding:
    return TokenEmbedding(config.vocab_size, config.d_model, None if config.scale_embeddings else 1.0)


def positions(config: ModelConfig) -> SinusoidalPositions | LearnedPositions:
    return POSITIONS[config.positions](config.context, config.d_model)


def position_index(tokens: Int[Tensor, "B T"], context: int, cache: KVCache | None) -> Int[Tensor, "*B T"]:
    """Where the tokens stand: from 0 on, or after those in the cache. Raises PromptError beyond the context."""
    length = tokens.shape[1]
    past = 0 if cache is None else cache.longest
    if past + length > context:
        raise PromptError(
            f"at most {context} tokens were expected, the model's context, found {past + length}; shorten the sequence"
        )
    return torch.arange(length, device=tokens.device) if cache is None else cache.positions(length)


def residual(config: ModelConfig) -> Residual:
    return RESIDUALS[config.norm_order](NORMS[config.norm](config), config.dropout)


def final_norm(config: ModelConfig) -> nn.Module:
    """A pre-norm stack never normalises its stream, so it ends in a norm; a post-norm stack has just done so."""
    return NORMS[config.norm](config) if config.norm_order == "pre" else nn.Identity()


def self_attention(config: ModelConfig, *, causal: bool, dropout: float = 0.0) -> MultiHeadAttention:
    return MultiHeadAttention(config.d_model, config.num_heads, causal=causal, dropout=dropout, bias=config.bias)


def cross_attention(config: ModelConfig) -> CrossAttention:
    return CrossAttention(config.d_model, config.num_heads, bias=config.bias)


def feed_forward(config: ModelConfig) -> FeedForward:
    return FeedForward(config.d_model, config.d_ff, ACTIVATIONS[config.activation](), bias=config.bias)


def encoder_layer(config: ModelConfig, attention: MultiHeadAttention) -> EncoderLayer:
    return EncoderLayer(attention, residual(config), feed_forward(config), residual(config))


def output_projection(config: ModelConfig, embedding: TokenEmbedding) -> nn.Linear:
    """From vectors to logits; tied, it is the embedding's matrix itself."""
    projection = nn.Linear(config.d_model, config.vocab_size, bias=False)
    if config.tie_embeddings:
        projection.weight = embedding.weight
    return projection
