"""GPT: a stack of causal layers that predicts the next token.      Radford et al. 2018; 2019 (GPT-2)

tokens -> embedding + positions -> L x (causal self-attention, feed-forward) -> norm -> logits of the next token
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearformer.blocks.cache import KVCache
from clearformer.blocks.encoder import Encoder
from clearformer.config import GPTConfig, ModelConfig
from clearformer.models import parts


class GPTBody(parts.Embedder):
    """GPT without its output projection: an encoder whose attention is causal."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.dropout)
        attentions = (
            parts.self_attention(config, causal=True, dropout=config.dropout) for _ in range(config.num_layers)
        )
        self.decoder = Encoder(
            (parts.encoder_layer(config, attention) for attention in attentions),
            parts.final_norm(config),
            parts.relative_positions(config, causal=True),
        )

    def features(self, tokens: Int[Tensor, "B T"], cache: KVCache | None = None) -> Float[Tensor, "B T D"]:
        """The last layer's vectors. With a cache, `tokens` follow those it holds and are added to it."""
        out: Tensor = self.decoder(self.dropout(self.embed(tokens, cache)), self.attention_mask(tokens, cache), cache)
        if cache is not None:
            cache.advance(tokens.shape[1])
        return out


class GPT(GPTBody):
    """A decoder-only language model."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config)
        self.config = config
        self.output_projection = parts.output_projection(config, self.embedding)

    def forward(self, tokens: Int[Tensor, "B T"], cache: KVCache | None = None) -> Float[Tensor, "B T V"]:
        """Logits of the token that follows each of `tokens`."""
        return self.output_projection(self.features(tokens, cache))


if __name__ == "__main__":
    model = GPT(GPTConfig(vocab_size=50, context=16, d_model=32, num_heads=4, num_layers=2, d_ff=128))
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters")
    print("7 tokens -> logits", tuple(model(torch.arange(7)[None]).shape))
