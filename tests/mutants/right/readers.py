"""Encoders that see both sides, after DistilBERT, ELECTRA, RoBERTa and ViT; a pooled classifier of given lengths."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn

# DistilBERT with a head


class DistilAttention(nn.Module):
    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, nn.Dropout(dropout)
        self.q_lin, self.k_lin, self.v_lin, self.out_lin = (nn.Linear(dim, dim) for _ in range(4))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        bs, q_length, dim = x.size()
        dim_per_head = dim // self.n_heads

        def shape(t: Tensor) -> Tensor:
            return t.view(bs, -1, self.n_heads, dim_per_head).transpose(1, 2)

        q, k, v = shape(self.q_lin(x)) / math.sqrt(dim_per_head), shape(self.k_lin(x)), shape(self.v_lin(x))
        scores = torch.matmul(q, k.transpose(2, 3))
        hidden = (mask == 0).view(bs, 1, 1, -1).expand_as(scores)
        scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
        context = torch.matmul(self.dropout(F.softmax(scores, dim=-1)), v)
        return self.out_lin(context.transpose(1, 2).contiguous().view(bs, q_length, dim))


class DistilBlock(nn.Module):
    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.dropout = DistilAttention(dim, n_heads, dropout), nn.Dropout(dropout)
        self.sa_layer_norm, self.output_layer_norm = nn.LayerNorm(dim, eps=1e-12), nn.LayerNorm(dim, eps=1e-12)
        self.lin1, self.lin2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.sa_layer_norm(self.attention(x, mask) + x)
        return self.output_layer_norm(self.dropout(self.lin2(F.gelu(self.lin1(x)))) + x)


class DistilBertClassifier(nn.Module):
    """`(loss, logits)` where there are labels [B], else `(logits,)`."""

    def __init__(self, vocab_size: int = 60, dim: int = 32, n_layers: int = 2, num_labels: int = 3) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, dim, padding_idx=0)
        self.position_embeddings = nn.Embedding(32, dim)
        self.embedding_norm, self.embedding_dropout = nn.LayerNorm(dim, eps=1e-12), nn.Dropout(0.1)
        self.layer = nn.ModuleList([DistilBlock(dim, 4, 0.1) for _ in range(n_layers)])
        self.pre_classifier, self.classifier = nn.Linear(dim, dim), nn.Linear(dim, num_labels)
        self.seq_classif_dropout = nn.Dropout(0.2)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.data.normal_(0.0, 0.02)
            if isinstance(module, nn.Linear):
                module.bias.data.zero_()
        self.word_embeddings.weight.data[0] = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None) -> Any:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        positions = torch.arange(input_ids.size(1)).unsqueeze(0)
        x = self.word_embeddings(input_ids) + self.position_embeddings(positions)
        x = self.embedding_dropout(self.embedding_norm(x))
        for block in self.layer:
            x = block(x, attention_mask)
        pooled = self.seq_classif_dropout(F.relu(self.pre_classifier(x[:, 0])))
        logits = self.classifier(pooled)
        if labels is None:
            return (logits,)
        return F.cross_entropy(logits, labels), logits


# ELECTRA's discriminator: which tokens were replaced


@dataclass
class ElectraConfig:
    vocab_size: int = 57
    embedding_size: int = 16
    hidden_size: int = 32
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    intermediate_size: int = 64
    type_vocab_size: int = 2
    max_position_embeddings: int = 32
    initializer_range: float = 0.02


@dataclass
class DiscriminatorOutput:
    loss: Tensor | None
    logits: Tensor


class ElectraLayer(nn.Module):
    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.heads = config.num_attention_heads
        self.query, self.key, self.value, self.dense = (nn.Linear(hidden, hidden) for _ in range(4))
        self.intermediate = nn.Linear(hidden, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, hidden)
        self.norms = nn.ModuleList([nn.LayerNorm(hidden), nn.LayerNorm(hidden)])
        self.dropout = nn.Dropout(0.1)

    def forward(self, hidden_states: Tensor, extended_attention_mask: Tensor) -> Tensor:
        def transpose_for_scores(x: Tensor) -> Tensor:
            return x.view(*x.shape[:-1], self.heads, -1).permute(0, 2, 1, 3)

        query, key, value = (transpose_for_scores(part(hidden_states)) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.size(-1)) + extended_attention_mask
        context = self.dropout(scores.softmax(dim=-1)) @ value
        context = self.dense(context.permute(0, 2, 1, 3).flatten(2))
        hidden_states = self.norms[0](hidden_states + self.dropout(context))
        output = self.output(F.gelu(self.intermediate(hidden_states)))
        return self.norms[1](hidden_states + self.dropout(output))


class ElectraDiscriminator(nn.Module):
    """A logit for each token; `labels` [B, T] is 1 where the token was replaced."""

    def __init__(self, config: ElectraConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.embedding_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.embedding_size)
        self.norm, self.dropout = nn.LayerNorm(config.embedding_size), nn.Dropout(0.1)
        self.embeddings_project = nn.Linear(config.embedding_size, config.hidden_size)
        self.layers = nn.ModuleList([ElectraLayer(config) for _ in range(config.num_hidden_layers)])
        self.dense, self.dense_prediction = (
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.Linear(config.hidden_size, 1),
        )
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=config.initializer_range)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> DiscriminatorOutput:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        embeddings = (
            self.word_embeddings(input_ids)
            + self.position_embeddings.weight[: input_ids.size(1)]
            + self.token_type_embeddings(token_type_ids)
        )
        hidden = self.embeddings_project(self.dropout(self.norm(embeddings)))
        mask = (1.0 - attention_mask[:, None, None, :].to(hidden.dtype)) * torch.finfo(hidden.dtype).min
        for layer in self.layers:
            hidden = layer(hidden, mask)
        logits = self.dense_prediction(F.gelu(self.dense(hidden))).squeeze(-1)
        loss = None
        if labels is not None:
            active = attention_mask.view(-1) == 1
            loss = F.binary_cross_entropy_with_logits(logits.view(-1)[active], labels.view(-1)[active].to(logits.dtype))
        return DiscriminatorOutput(loss, logits)


# RoBERTa: positions are counted from the padding's number


class RobertaLMHead(nn.Module):
    def __init__(self, embed_dim: int, output_dim: int, weight: nn.Parameter) -> None:
        super().__init__()
        self.dense, self.layer_norm = nn.Linear(embed_dim, embed_dim), nn.LayerNorm(embed_dim)
        self.weight, self.bias = weight, nn.Parameter(torch.zeros(output_dim))

    def forward(self, features: Tensor, masked_tokens: Tensor | None = None) -> Tensor:
        if masked_tokens is not None:
            features = features[masked_tokens, :]
        return F.linear(self.layer_norm(F.gelu(self.dense(features))), self.weight) + self.bias


class Roberta(nn.Module):
    """<s> 0, <pad> 1, </s> 2, <mask> the last. `masked_tokens` [B, T] asks for the logits of those places alone."""

    def __init__(self, vocab: int = 55, dim: int = 32, layers: int = 2, padding_idx: int = 1) -> None:
        super().__init__()
        self.padding_idx, self.mask_idx = padding_idx, vocab - 1
        self.embed_tokens = nn.Embedding(vocab, dim, padding_idx)
        self.embed_positions = nn.Embedding(32 + padding_idx + 1, dim, padding_idx)
        self.layernorm_embedding, self.dropout = nn.LayerNorm(dim), nn.Dropout(0.1)
        layer = nn.TransformerEncoderLayer(dim, 4, 64, 0.1, "gelu")
        self.sentence_encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        nn.init.normal_(self.embed_positions.weight, std=0.02)
        self.lm_head = RobertaLMHead(dim, vocab, self.embed_tokens.weight)

    def extract_features(self, src_tokens: Tensor) -> Tensor:
        padding_mask = src_tokens.eq(self.padding_idx)
        real = (~padding_mask).long()
        positions = torch.cumsum(real, dim=1) * real + self.padding_idx
        x = self.layernorm_embedding(self.embed_tokens(src_tokens) + self.embed_positions(positions))
        x = self.dropout(x) * real.unsqueeze(-1).type_as(x)
        return self.sentence_encoder(x.transpose(0, 1), src_key_padding_mask=padding_mask).transpose(0, 1)

    def forward(
        self, src_tokens: Tensor, features_only: bool = False, masked_tokens: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        x = self.extract_features(src_tokens)
        return (x if features_only else self.lm_head(x, masked_tokens)), {"inner_states": None}

    def compute_loss(self, src_tokens: Tensor, target: Tensor) -> Tensor:
        """`target` is the padding where nothing is asked for."""
        masked_tokens = target.ne(self.padding_idx)
        logits, _ = self(src_tokens, masked_tokens=masked_tokens)
        return F.cross_entropy(logits, target[masked_tokens], ignore_index=self.padding_idx)


# ViT: an image's patches as tokens


class ViT(nn.Module):
    """img [B, channels, height, width] to class logits; the vector in front reads the image."""

    def __init__(
        self,
        image_size: int = 16,
        patch_size: int = 4,
        num_classes: int = 5,
        dim: int = 32,
        depth: int = 2,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.to_patch = nn.Conv2d(3, dim, patch_size, patch_size)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embedding = nn.Parameter(torch.randn(1, (image_size // patch_size) ** 2 + 1, dim) * 0.02)
        self.dropout = nn.Dropout(0.1)
        layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, 0.1, "gelu", batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, depth, nn.LayerNorm(dim), enable_nested_tensor=False)
        self.mlp_head = nn.Linear(dim, num_classes)

    def forward(self, img: Tensor) -> Tensor:
        x = self.to_patch(img).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1)
        x = self.transformer(self.dropout(x + self.pos_embedding[:, : x.size(1)]))
        return self.mlp_head(x[:, 0])


# A classifier of texts of given lengths, which are pooled by attention


class PooledClassifier(nn.Module):
    """`probabilities = model(tokens, lengths)`; the loss is of its logits."""

    def __init__(self, vocab: int = 64, dim: int = 32, classes: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab, dim)
        self.relative = nn.Embedding(17, 4)
        self.qkv = nn.ModuleList([nn.Linear(dim, 3 * dim) for _ in range(depth)])
        self.mlp = nn.ModuleList(
            [nn.Sequential(nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, dim)) for _ in range(depth)]
        )
        self.norm = nn.ModuleList([nn.LayerNorm(dim) for _ in range(2 * depth)])
        self.pool, self.classify = nn.Linear(dim, 1), nn.Linear(dim, classes)

    def logits(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        place = torch.arange(tokens.shape[1])
        real = place < lengths[:, None]
        distance = (place[None, :] - place[:, None]).clamp(-8, 8) + 8
        bias = self.relative(distance).permute(2, 0, 1)[None]
        bias = bias.masked_fill(~real[:, None, None], -1e9)
        x = self.tokens(tokens)
        for i, (qkv, mlp) in enumerate(zip(self.qkv, self.mlp, strict=True)):
            q, k, v = qkv(self.norm[2 * i](x)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
            x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)
            x = x + mlp(self.norm[2 * i + 1](x))
        weights = self.pool(x).squeeze(-1).masked_fill(~real, -1e9).softmax(dim=1)
        return self.classify((weights[..., None] * x).sum(dim=1))

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return self.logits(tokens, lengths).softmax(dim=-1)

    def loss(self, tokens: Tensor, lengths: Tensor, classes: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(tokens, lengths), classes)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "DistilBERT with a head": partial(seeded, DistilBertClassifier),
    "ELECTRA": partial(seeded, ElectraDiscriminator, ElectraConfig()),
    "RoBERTa of fairseq": partial(seeded, Roberta),
    "ViT": partial(seeded, ViT),
    "pooled by attention": partial(seeded, PooledClassifier),
}
