"""The four families, as in `clearformer.models`: the same parts, parameter names and outputs.

GPT          tokens -> logits of the next token of each
BERT         tokens, some masked -> logits of the original tokens
Classifier   tokens -> one vector -> logits of the classes
Transformer  source, target -> logits of the next target token of each
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray

from clearformer.config import (
    AnyModelConfig,
    BERTConfig,
    ClassifierConfig,
    GPTConfig,
    ModelConfig,
    TransformerConfig,
)
from clearformer.engines.numpy import functional as F
from clearformer.engines.numpy.cache import KVCache
from clearformer.engines.numpy.layers import Decoder, DecoderLayer, Encoder, EncoderLayer
from clearformer.engines.numpy.modules import Dropout, Linear, Module, parameter
from clearformer.engines.numpy.multihead import Mask, join_masks, norm
from clearformer.engines.numpy.positions import LearnedPositions, NGramEmbedding, SinusoidalPositions
from clearformer.engines.numpy.tensor import Tensor
from clearformer.engines.tables import PAST
from clearformer.errors import PromptError

Tokens = Int[NDArray[np.int64], "B T"]
Real = Bool[NDArray[np.bool_], "B T"]
Source = Int[NDArray[np.int64], "B S"]
SourceReal = Bool[NDArray[np.bool_], "B S"]

ADDED_POSITIONS: dict[str, type[SinusoidalPositions | LearnedPositions]] = {
    "sinusoidal": SinusoidalPositions,
    "learned": LearnedPositions,
}


class TokenEmbedding(Module):
    """A learned vector for each token, times `scale`."""

    def __init__(self, vocab_size: int, d_model: int, scale: float) -> None:
        self.weight = parameter(vocab_size, d_model)
        self.scale = scale

    def forward(self, tokens: Tokens) -> Tensor:
        x = F.embedding(tokens, self.weight)
        return x if self.scale == 1.0 else x * self.scale


class OutputProjection(Module):
    """From features to logits; tied, it shares the embedding's weight. `cap` 0: no soft-capping."""

    def __init__(self, config: ModelConfig, embedding: TokenEmbedding, *, bias: bool = False) -> None:
        self.weight = embedding.weight if config.tie_embeddings else parameter(*embedding.weight.shape)
        self.bias = parameter(config.vocab_size) if bias else None
        self.cap = config.logit_cap

    def forward(self, x: Tensor) -> Tensor:
        logits = F.linear(x, self.weight, self.bias)
        return F.tanh(logits / self.cap) * self.cap if self.cap else logits


class Embedder(Module):
    """The input of every family: token, position and n-gram embeddings."""

    def __init__(self, config: ModelConfig) -> None:
        scale = math.sqrt(config.d_model) if config.scale_embeddings else 1.0
        self.embedding = TokenEmbedding(config.vocab_size, config.d_model, scale)
        added = ADDED_POSITIONS.get(config.positions)
        self.positions = added(config.context, config.d_model) if added else None
        self.ngrams = NGramEmbedding(config.ngram_buckets, config.d_model) if config.ngram_buckets else None
        self.dropout = Dropout(config.dropout)
        self.context, self.window = config.context, config.window

    def embed(self, tokens: Tokens, cache: KVCache | None = None) -> Tensor:
        """Embed tokens that follow those in the cache, [B, T, D]."""
        x, positions = self.embedding(tokens), self.position_ids(tokens, cache)
        if self.positions is not None:
            x = x + self.positions(positions)
        if self.ngrams is not None:
            x = x + self.ngrams(np.pad(tokens, ((0, 0), (PAST, 0))) if cache is None else cache.with_past(tokens, PAST))
        return x

    def position_ids(self, tokens: Tokens, cache: KVCache | None) -> Int[NDArray[np.int64], "*B T"]:
        """The tokens' positions: from 0, or after those in the cache. Raises PromptError beyond the context."""
        length = tokens.shape[1]
        past = 0 if cache is None else cache.longest
        if past + length > self.context:
            raise PromptError(
                f"at most {self.context} tokens were expected, the model's context, found {past + length}; "
                "shorten the sequence"
            )
        return np.arange(length) if cache is None else cache.positions(length)

    def attention_mask(self, tokens: Tokens, cache: KVCache | None = None) -> Mask | None:
        """The mask of window and row lengths for tokens after those in the cache, without causality and padding."""
        T = tokens.shape[1]  # noqa: N806
        near = None
        if self.window:
            positions, S = self.position_ids(tokens, cache), T + (0 if cache is None else cache.longest)  # noqa: N806
            near = np.abs(np.arange(S) - positions[..., None]) < self.window
            near = near[None, None] if positions.ndim == 1 else near[:, None]
        return join_masks(near, None if cache is None else cache.mask(T))


class GPTBody(Embedder):
    """A GPT without its output layer."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        layers = [EncoderLayer(config, causal=True, dropout=config.dropout) for _ in range(config.num_layers)]
        self.decoder = Encoder(config, layers, causal=True)

    def features(self, tokens: Tokens, cache: KVCache | None = None) -> Tensor:
        """The last layer's output, [B, T, D]. With a cache, `tokens` follow those it holds, and are added to it."""
        out: Tensor = self.decoder(self.dropout(self.embed(tokens, cache)), self.attention_mask(tokens, cache), cache)
        if cache is not None:
            cache.advance(tokens.shape[1])
        return out


class GPT(GPTBody):
    """A decoder-only language model."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.config = config
        self.output_projection = OutputProjection(config, self.embedding)

    def forward(self, tokens: Tokens) -> Tensor:
        return self.output_projection(self.features(tokens))


class BERTBody(Embedder):
    """A BERT without its output layer; `segments` is the number of segment embeddings."""

    def __init__(self, config: ModelConfig, segments: int) -> None:
        super().__init__(config)
        self.segments = TokenEmbedding(segments, config.d_model, 1.0) if segments else None
        self.embedding_norm = norm(config, config.d_model)
        layers = [EncoderLayer(config, causal=False, dropout=config.dropout) for _ in range(config.num_layers)]
        self.encoder = Encoder(config, layers, causal=False)

    def features(self, tokens: Tokens, real: Real, segments: Tokens) -> Tensor:
        x = self.embed(tokens)
        if self.segments is not None:
            x = x + self.segments(segments)
        mask = join_masks(real[:, None, None, :], self.attention_mask(tokens))
        return self.encoder(self.dropout(self.embedding_norm(x)), mask)


class BERT(BERTBody):
    """A masked language model."""

    def __init__(self, config: BERTConfig) -> None:
        super().__init__(config, config.segments)
        self.config = config
        self.transform = Linear(config.d_model, config.d_model)
        self.transform_norm = norm(config, config.d_model)
        self.output_projection = OutputProjection(config, self.embedding, bias=True)

    def forward(self, tokens: Tokens, real: Real, segments: Tokens) -> Tensor:
        x = F.gelu(self.transform(self.features(tokens, real, segments)))
        return self.output_projection(self.transform_norm(x))


def first(x: Tensor, _real: Real) -> Tensor:
    return x[:, 0]


def last(x: Tensor, real: Real) -> Tensor:
    """The last real token's features; padding is on the right."""
    return x[np.arange(len(real)), real.sum(-1) - 1]


def mean(x: Tensor, real: Real) -> Tensor:
    shares = real / np.maximum(real.sum(-1, keepdims=True), 1)  # a text may be all padding
    return (x * Tensor(shares[:, :, None].astype(x.dtype))).sum(1)


POOLINGS: dict[str, Callable[[Tensor, Real], Tensor]] = {"first": first, "last": last, "mean": mean}


class Classifier(Module):
    """Classifies a text, or several read together."""

    def __init__(self, config: ClassifierConfig) -> None:
        self.config = config
        self.body = BERTBody(config, config.segments) if config.body == "bert" else GPTBody(config)
        self.pool = POOLINGS[config.pooling]
        self.dropout = Dropout(config.dropout)
        self.class_projection = Linear(config.d_model, config.num_classes)

    def features(self, tokens: Tokens, real: Real, segments: Tokens) -> Tensor:
        if isinstance(self.body, GPTBody):  # causal: no token attends to the padding on the right
            return self.body.features(tokens)
        return self.body.features(tokens, real, segments)

    def forward(self, tokens: Tokens, real: Real, segments: Tokens) -> Tensor:
        return self.class_projection(self.dropout(self.pool(self.features(tokens, real, segments), real)))

    def token_logits(self, tokens: Tokens, real: Real, segments: Tokens) -> Tensor:
        """Class logits of each token, [B, T, C]."""
        return self.class_projection(self.dropout(self.features(tokens, real, segments)))


class Transformer(Embedder):
    """An encoder-decoder over one vocabulary."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.config = config
        layers = [EncoderLayer(config, causal=False, dropout=0.0) for _ in range(config.num_layers)]
        self.encoder = Encoder(config, layers, causal=False)
        self.decoder = Decoder(config, [DecoderLayer(config) for _ in range(config.num_layers)], causal=True)
        self.output_projection = OutputProjection(config, self.embedding, bias=config.output_bias)

    def encode(self, source: Source, source_real: SourceReal) -> Tensor:
        """The memory: the encoder's output, [B, S, D]."""
        mask = join_masks(source_real[:, None, None, :], self.attention_mask(source))
        return self.encoder(self.dropout(self.embed(source)), mask)

    def decode(
        self,
        target: Tokens,
        memory: Tensor,
        source_real: SourceReal,
        target_real: Real | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """The decoder's output, [B, T, D]. With a cache, `target` follows the tokens it holds, and is added to it."""
        padding = None if target_real is None else target_real[:, None, None, :]
        mask = join_masks(padding, self.attention_mask(target, cache))
        x = self.dropout(self.embed(target, cache))
        out: Tensor = self.decoder(x, memory, mask, source_real[:, None, None, :], cache)
        if cache is not None:
            cache.advance(target.shape[1])
        return out

    def forward(self, source: Source, target: Tokens, source_real: SourceReal, target_real: Real) -> Tensor:
        features = self.decode(target, self.encode(source, source_real), source_real, target_real)
        return self.output_projection(features)


Model = Transformer | GPT | BERT | Classifier

FAMILIES: dict[type[AnyModelConfig], type[Model]] = {
    TransformerConfig: Transformer,
    GPTConfig: GPT,
    BERTConfig: BERT,
    ClassifierConfig: Classifier,
}
