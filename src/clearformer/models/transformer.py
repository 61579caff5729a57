"""Transformer: the encoder-decoder of the paper.              Vaswani et al. 2017, arXiv:1706.03762, figure 1

    source -> embedding + positions -> encoder -> memory
    target -> embedding + positions -> decoder, attending to memory -> logits of the next target token

Source, target and output share one matrix (section 3.4).
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from clearformer.blocks.cache import KVCache
from clearformer.blocks.decoder import Decoder, DecoderLayer
from clearformer.blocks.encoder import Encoder
from clearformer.blocks.masks import join_masks, padding_mask
from clearformer.config import TransformerConfig
from clearformer.models import parts


class Transformer(parts.Embedder):
    """An encoder-decoder over one vocabulary. `source_real` and `target_real` are False for padding."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.config = config
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = Encoder(
            (parts.encoder_layer(config, parts.self_attention(config, causal=False)) for _ in range(config.num_layers)),
            parts.final_norm(config),
            parts.relative_positions(config, causal=False),
        )
        self.decoder = Decoder(
            (_decoder_layer(config) for _ in range(config.num_layers)),
            parts.final_norm(config),
            parts.relative_positions(config, causal=True),
        )
        self.output_projection = parts.output_projection(config, self.embedding, bias=config.output_bias)

    def encode(self, source: Int[Tensor, "B S"], source_real: Bool[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """The memory: the encoder's vector of each source token."""
        mask = join_masks(padding_mask(source_real), self.attention_mask(source))
        return self.encoder(self.dropout(self.embed(source)), mask)

    def decode(
        self,
        target: Int[Tensor, "B T"],
        memory: Float[Tensor, "B S D"],
        source_real: Bool[Tensor, "B S"],
        target_real: Bool[Tensor, "B T"] | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "B T D"]:
        """The decoder's vectors. With a cache, `target` follows the tokens it holds and is added to it."""
        padding = None if target_real is None else padding_mask(target_real)
        mask = join_masks(padding, self.attention_mask(target, cache))
        out: Tensor = self.decoder(
            self.dropout(self.embed(target, cache)), memory, mask, padding_mask(source_real), cache
        )
        if cache is not None:
            cache.advance(target.shape[1])
        return out

    def forward(
        self,
        source: Int[Tensor, "B S"],
        target: Int[Tensor, "B T"],
        source_real: Bool[Tensor, "B S"],
        target_real: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B T V"]:
        """Logits of the token that follows each of `target`, which starts with the begin-of-sequence token."""
        features = self.decode(target, self.encode(source, source_real), source_real, target_real)
        return self.output_projection(features)


def _decoder_layer(config: TransformerConfig) -> DecoderLayer:
    return DecoderLayer(
        parts.self_attention(config, causal=True),
        parts.residual(config),
        parts.cross_attention(config),
        parts.residual(config),
        parts.feed_forward(config),
        parts.residual(config),
    )


if __name__ == "__main__":
    model = Transformer(TransformerConfig(vocab_size=50, context=16, d_model=32, num_heads=4, num_layers=2, d_ff=128))
    source, target = torch.arange(7)[None], torch.arange(5)[None]
    print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters")
    logits = model(source, target, torch.ones_like(source).bool(), torch.ones_like(target).bool())
    print("7 source and 5 target tokens -> logits", tuple(logits.shape))
