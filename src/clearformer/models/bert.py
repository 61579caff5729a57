"""BERT: a bidirectional encoder that predicts masked tokens.

tokens, some masked -> Norm(embedding + positions (+ segments)) -> L x (self-attention, feed-forward)
       -> Norm(GELU(x W + b)) -> logits of the original tokens            Devlin et al. 2018, arXiv:1810.04805
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clearformer.blocks.embedding import TokenEmbedding
from clearformer.blocks.encoder import Encoder
from clearformer.blocks.masks import join_masks, padding_mask
from clearformer.config import BERTConfig, ModelConfig
from clearformer.models import parts


class BERTBody(parts.Embedder):
    """BERT without its output layers. `segments` is the number of segment embeddings; 0: none are added."""

    def __init__(self, config: ModelConfig, segments: int) -> None:
        super().__init__(config)
        self.segments = TokenEmbedding(segments, config.d_model, 1.0) if segments else None
        self.embedding_norm = parts.norm(config)
        self.dropout = nn.Dropout(config.dropout)
        attentions = (
            parts.self_attention(config, causal=False, dropout=config.dropout) for _ in range(config.num_layers)
        )
        self.encoder = Encoder(
            (parts.encoder_layer(config, attention) for attention in attentions),
            parts.final_norm(config),
            parts.relative_positions(config, causal=False),
        )

    def features(
        self, tokens: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T D"]:
        """The last layer's vectors. `real` is False for padding; `segments` is ignored without segment embeddings."""
        x = self.embed(tokens)
        if self.segments is not None:
            x = x + self.segments(segments)
        mask = join_masks(padding_mask(real), self.attention_mask(tokens))
        return self.encoder(self.dropout(self.embedding_norm(x)), mask)


class BERT(BERTBody):
    """A masked language model."""

    def __init__(self, config: BERTConfig) -> None:
        super().__init__(config, config.segments)
        self.config = config
        self.transform = nn.Linear(config.d_model, config.d_model)
        self.transform_norm = parts.norm(config)
        self.output_projection = parts.output_projection(config, self.embedding, bias=True)

    def forward(
        self, tokens: Int[Tensor, "B T"], real: Bool[Tensor, "B T"], segments: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T V"]:
        """Logits of the original token at each position."""
        x = self.transform(self.features(tokens, real, segments))
        return self.output_projection(self.transform_norm(F.gelu(x)))


if __name__ == "__main__":
    model = BERT(BERTConfig(vocab_size=50, context=16, d_model=32, num_heads=4, num_layers=2, d_ff=128))
    tokens = torch.arange(7)[None]
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters")
    logits = model(tokens, torch.ones_like(tokens).bool(), torch.zeros_like(tokens))
    print("7 tokens -> logits", tuple(logits.shape))
