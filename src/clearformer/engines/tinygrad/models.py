"""The four families, as in `clearformer.models`: the same parts, parameter names and outputs."""

from collections.abc import Sequence

from tinygrad import Tensor

from clearformer.config import AnyModelConfig, BERTConfig, ClassifierConfig, GPTConfig, ModelConfig, TransformerConfig
from clearformer.engines.tinygrad.attention import KeysValues
from clearformer.engines.tinygrad.bodies import BERTBody, Embedder, GPTBody, join_padding
from clearformer.engines.tinygrad.cache import NOTHING, Past
from clearformer.engines.tinygrad.dropout import Dropout, Noise
from clearformer.engines.tinygrad.layers import ACTIVATIONS, Embedding, Linear, OutputProjection, norm
from clearformer.engines.tinygrad.shapes import Bool, Float, Int, sizes
from clearformer.engines.tinygrad.stacks import Decoder, Encoder


class GPT(GPTBody):
    """A decoder-only language model."""

    def __init__(self, config: GPTConfig, noise: Noise) -> None:
        super().__init__(config, noise)
        self.output_projection = output_projection(config, self.embedding, bias=False)

    def __call__(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Logits of the token that follows each of `tokens`."""
        return self.output_projection(self.features(tokens))


class BERT(BERTBody):
    """A masked language model."""

    def __init__(self, config: BERTConfig, noise: Noise) -> None:
        super().__init__(config, noise, config.segments)
        self.transform = Linear(config.d_model, config.d_model)
        self.transform_norm = norm(config, config.d_model)
        self.output_projection = output_projection(config, self.embedding, bias=True)

    def __call__(
        self, tokens: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T V"]:
        """Logits of the original token at each position."""
        x = self.transform(self.features(tokens, real, segments))
        return self.output_projection(self.transform_norm(ACTIVATIONS["gelu"](x)))


class Transformer(Embedder):
    """An encoder-decoder over one vocabulary."""

    def __init__(self, config: TransformerConfig, noise: Noise) -> None:
        super().__init__(config, noise)
        self.encoder = Encoder(config, 0.0, noise, causal=False)
        self.decoder = Decoder(config, noise)
        self.output_projection = output_projection(config, self.embedding, bias=config.output_bias)

    def encode(self, source: Int[Tensor, "B S"], source_real: Bool[Tensor, "B S"]) -> Sequence[KeysValues]:
        """The keys and values of the encoder's output for each layer of the decoder."""
        mask = join_padding(source_real, self.attention_mask(source, causal=False))
        memory = self.encoder(self.dropout(self.embed(source)), mask)
        return [layer.cross_attention.project(memory) for layer in self.decoder.layers]

    def decode(
        self,
        target: Int[Tensor, "B T"],
        memory: Sequence[KeysValues],
        source_real: Bool[Tensor, "B S"],
        target_real: Bool[Tensor, "B T"] | None = None,
        past: Past = NOTHING,
    ) -> Float[Tensor, "B T D"]:
        """The decoder's output."""
        mask = self.attention_mask(target, past, causal=True)
        if target_real is not None:
            mask = join_padding(target_real, mask)
        x = self.dropout(self.embed(target, past))
        return self.decoder(x, mask, past, memory, join_padding(source_real, None))

    def __call__(
        self,
        source: Int[Tensor, "B S"],
        target: Int[Tensor, "B T"],
        source_real: Bool[Tensor, "B S"],
        target_real: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B T V"]:
        """Logits of the token that follows each of `target`."""
        features = self.decode(target, self.encode(source, source_real), source_real, target_real)
        return self.output_projection(features)


def output_projection(config: ModelConfig, embedding: Embedding, *, bias: bool) -> OutputProjection:
    """Tied, it shares the embedding's weight."""
    weight = embedding.weight if config.tie_embeddings else Tensor.empty(*sizes(embedding.weight))
    return OutputProjection(weight, config.logit_cap, bias=bias)


def first(x: Float[Tensor, "B T D"], _real: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    return x[:, 0]


def last(x: Float[Tensor, "B T D"], real: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    """The last real token's features; padding is on the right."""
    return at_position(x, real.sum(1) - 1)


def mean(x: Float[Tensor, "B T D"], real: Bool[Tensor, "B T"]) -> Float[Tensor, "B D"]:
    count = real.sum(1, keepdim=True).clamp(min_=1)  # a text may be all padding
    return real.unsqueeze(-1).where(x, 0).sum(1) / count


def at_position(x: Float[Tensor, "B T D"], position: Int[Tensor, " B"]) -> Float[Tensor, "B D"]:
    """Each row's vector at its position."""
    selected = Tensor.arange(sizes(x)[1]) == position.unsqueeze(1)
    return selected.unsqueeze(-1).where(x, 0).sum(1)


POOLINGS = {"first": first, "last": last, "mean": mean}


class Classifier:
    """Classifies a text, or several read together."""

    def __init__(self, config: ClassifierConfig, noise: Noise) -> None:
        self.body = BERTBody(config, noise, config.segments) if config.body == "bert" else GPTBody(config, noise)
        self.pool = POOLINGS[config.pooling]
        self.dropout = Dropout(config.dropout, noise)
        self.class_projection = Linear(config.d_model, config.num_classes)

    def __call__(
        self, tokens: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B C"]:
        """Logits of the classes."""
        return self.class_projection(self.dropout(self.pool(self.read(tokens, real, segments), real)))

    def token_logits(
        self, tokens: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T C"]:
        """Class logits of each token."""
        return self.class_projection(self.dropout(self.read(tokens, real, segments)))

    def read(
        self, tokens: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T D"]:
        if isinstance(self.body, BERTBody):
            return self.body.features(tokens, real, segments)
        return self.body.features(tokens)  # causal: no token attends to the padding on the right


Network = Transformer | GPT | BERT | Classifier
FAMILIES: dict[type[AnyModelConfig], type[Network]] = {
    TransformerConfig: Transformer,
    GPTConfig: GPT,
    BERTConfig: BERT,
    ClassifierConfig: Classifier,
}
