"""Bodies: models without their output layers."""

from tinygrad import Tensor

from clearformer.config import ModelConfig
from clearformer.engines.tables import PAST
from clearformer.engines.tinygrad.attention import Mask
from clearformer.engines.tinygrad.cache import NOTHING, Past
from clearformer.engines.tinygrad.dropout import Dropout, Noise
from clearformer.engines.tinygrad.layers import Embedding, norm
from clearformer.engines.tinygrad.positions import ADDED_POSITIONS, NGramEmbedding, distances, near
from clearformer.engines.tinygrad.shapes import Bool, Float, Int, sizes
from clearformer.engines.tinygrad.stacks import Encoder


class Embedder:
    """The input of every family: token, position and n-gram embeddings."""

    def __init__(self, config: ModelConfig, noise: Noise) -> None:
        scale = config.d_model**0.5 if config.scale_embeddings else 1.0
        self.embedding = Embedding(config.vocab_size, config.d_model, scale)
        added = ADDED_POSITIONS.get(config.positions)
        self.positions = added(config) if added else None
        self.ngrams = NGramEmbedding(config.ngram_buckets, config.d_model) if config.ngram_buckets else None
        self.window = config.window
        self.dropout = Dropout(config.dropout, noise)

    def embed(self, tokens: Int[Tensor, "B T"], past: Past = NOTHING) -> Float[Tensor, "B T D"]:
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions(past.at, sizes(tokens)[1])
        if self.ngrams is not None:
            before = past.tokens
            x = x + self.ngrams(tokens.pad((None, (PAST, 0))) if before is None else before.cat(tokens, dim=1))
        return x

    def attention_mask(
        self, tokens: Int[Tensor, "B T"], past: Past = NOTHING, *, causal: bool
    ) -> Bool[Tensor, "#B 1 T S"] | None:
        """The mask of causality and window, without padding; None: all may attend to all."""
        T = sizes(tokens)[1]  # noqa: N806
        return near(distances(past.at, T, past.keys(T)), self.window, causal=causal)


class GPTBody(Embedder):
    """A GPT without its output layer."""

    def __init__(self, config: ModelConfig, noise: Noise) -> None:
        super().__init__(config, noise)
        self.decoder = Encoder(config, config.dropout, noise, causal=True)

    def features(self, tokens: Int[Tensor, "B T"], past: Past = NOTHING) -> Float[Tensor, "B T D"]:
        """The last layer's output."""
        return self.decoder(
            self.dropout(self.embed(tokens, past)), self.attention_mask(tokens, past, causal=True), past
        )


class BERTBody(Embedder):
    """A BERT without its output layer; `segments` is the number of segment embeddings."""

    def __init__(self, config: ModelConfig, noise: Noise, segments: int) -> None:
        super().__init__(config, noise)
        self.segments = Embedding(segments, config.d_model) if segments else None
        self.embedding_norm = norm(config, config.d_model)
        self.encoder = Encoder(config, config.dropout, noise, causal=False)

    def features(
        self, tokens: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T D"]:
        """The last layer's output."""
        x = self.embed(tokens)
        if self.segments is not None:
            x = x + self.segments(segments)
        mask = join_padding(real, self.attention_mask(tokens, causal=False))
        return self.encoder(self.dropout(self.embedding_norm(x)), mask)


def join_padding(real: Bool[Tensor, "B S"], mask: Mask | None) -> Mask:
    """The mask, if there is one, without the keys that are padding."""
    padding = real.unsqueeze(1).unsqueeze(1)
    return padding if mask is None else padding & mask
