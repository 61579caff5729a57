"""torch.nn: a GPT of `nn.TransformerEncoder`, and the paper's encoder-decoder of `nn.Transformer`.

One embedding serves both sides and the output.
"""

import math

import torch
import torch.nn.functional as F
import work
from systems.hugging_face import IGNORE, step
from torch import Tensor, nn
from work import Work

from clearformer.config import GPTConfig, TransformerConfig
from clearformer.data.batches import collate


class GPT(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.positions = nn.Embedding(config.context, config.d_model)
        for table in (self.embedding, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            config.d_model, config.num_heads, config.d_ff, 0.0, "gelu", batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(config.d_model)
        self.layers = nn.TransformerEncoder(layer, config.num_layers, norm, enable_nested_tensor=False)
        self.mask = nn.Transformer.generate_square_subsequent_mask(config.context)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.positions(torch.arange(tokens.shape[1]))
        return F.linear(self.layers(x, self.mask, is_causal=True), self.embedding.weight)


def training(size: str, precision: str) -> Work:
    tokens = torch.from_numpy(work.windows(size))
    torch.manual_seed(1)
    model, labels = GPT(work.GPTS[size]), tokens[:, 1:].contiguous()

    def loss() -> Tensor:
        return F.cross_entropy(model(tokens[:, :-1]).float().flatten(0, 1), labels.flatten())

    return step(model, loss, labels.numel(), precision)


class EncoderDecoder(nn.Module):
    positions: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        nn.init.normal_(self.embedding.weight, std=config.d_model**-0.5)
        layers = config.num_layers
        self.transformer = nn.Transformer(
            config.d_model, config.num_heads, layers, layers, config.d_ff, 0.0, batch_first=True
        )
        angles = torch.arange(config.context)[:, None] / 10_000 ** (torch.arange(0, config.d_model, 2) / config.d_model)
        self.register_buffer("positions", torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1))

    def embed(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim) + self.positions[: tokens.shape[1]]

    def forward(self, source: Tensor, target: Tensor, source_padding: Tensor) -> Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        out = self.transformer(
            self.embed(source),
            self.embed(target),
            tgt_mask=causal,
            tgt_is_causal=True,
            src_key_padding_mask=source_padding,
            memory_key_padding_mask=source_padding,
        )
        return F.linear(out, self.embedding.weight)


def training_pairs(size: str, precision: str) -> Work:
    sources, targets = work.sentences(1), work.sentences(2)
    batch = collate(list(zip(sources, targets, strict=True)))
    source, target, labels = (torch.from_numpy(array) for array in (batch.source, batch.target, batch.targets))
    padding = ~torch.from_numpy(batch.source_real)
    torch.manual_seed(1)
    model = EncoderDecoder(work.PAIRS[size])

    def loss() -> Tensor:
        logits = model(source, target, padding)
        return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORE)

    return step(model, loss, sum(map(len, sources)) + sum(map(len, targets)), precision)
