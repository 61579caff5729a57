"""A BERT for pretraining: segments, a masked language model's labels, a second head for the next sentence, and a method
that fills in what is masked."""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


@dataclass
class BertConfig:
    vocab_size: int = 41
    hidden_size: int = 32
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    intermediate_size: int = 64
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 32
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    cls_token_id: int = 1
    mask_token_id: int = 3


class BertLayerNorm(nn.Module):
    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.bias = nn.Parameter(torch.zeros(hidden_size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        variance = (x - mean).pow(2).mean(-1, keepdim=True)
        return self.weight * (x - mean) / torch.sqrt(variance + self.eps) + self.bias


class BertEmbeddings(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.layer_norm = BertLayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, input_ids: Tensor, segment_ids: Tensor) -> Tensor:
        position_ids = torch.arange(input_ids.size(1), device=input_ids.device)
        words = self.word_embeddings(input_ids)
        places = self.position_embeddings(position_ids)
        segments = self.token_type_embeddings(segment_ids)
        return self.dropout(self.layer_norm(words + places + segments))


class BertSelfAttention(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.head_size = config.hidden_size // config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dropout = nn.Dropout(config.attention_probs_dropout_prob)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.qkv(hidden).chunk(3, dim=-1)
        query, key, value = (
            x.unflatten(-1, (self.num_heads, self.head_size)).transpose(1, 2) for x in (query, key, value)
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.head_size)
        scores = scores + mask
        probs = self.dropout(F.softmax(scores, dim=-1))
        return (probs @ value).transpose(1, 2).flatten(2)


class BertLayer(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = BertSelfAttention(config)
        self.attention_output = nn.Linear(config.hidden_size, config.hidden_size)
        self.attention_norm = BertLayerNorm(config.hidden_size, config.layer_norm_eps)
        self.intermediate = nn.Linear(config.hidden_size, config.intermediate_size)
        self.output = nn.Linear(config.intermediate_size, config.hidden_size)
        self.output_norm = BertLayerNorm(config.hidden_size, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        attended = self.dropout(self.attention_output(self.attention(hidden, mask)))
        hidden = self.attention_norm(hidden + attended)
        fed = self.dropout(self.output(F.gelu(self.intermediate(hidden))))
        return self.output_norm(hidden + fed)


class BertForPreTraining(nn.Module):
    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = BertEmbeddings(config)
        self.layers = nn.ModuleList([BertLayer(config) for _ in range(config.num_hidden_layers)])
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.seq_relationship = nn.Linear(config.hidden_size, 2)
        self.transform = nn.Linear(config.hidden_size, config.hidden_size)
        self.transform_norm = BertLayerNorm(config.hidden_size, config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)
        self.apply(self._init_weights)
        self.decoder.weight = self.embeddings.word_embeddings.weight

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def extended_mask(self, attention_mask: Tensor) -> Tensor:
        """[B, 1, 1, S]: 0 for a token and the lowest number for padding, to be added to scores."""
        dtype = self.decoder.weight.dtype
        hidden = ~attention_mask.bool()[:, None, None, :]
        return torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)

    def forward(
        self,
        input_ids: Tensor,
        segment_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Logits [B, T, V] of the masked tokens, and [B, 2] of whether the second sentence follows the first.

        `labels` [B, T] holds the token in a masked place and -100 in all others.
        """
        if segment_ids is None:
            segment_ids = torch.zeros_like(input_ids)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        mask = self.extended_mask(attention_mask)
        hidden = self.embeddings(input_ids, segment_ids)
        for layer in self.layers:
            hidden = layer(hidden, mask)
        logits = self.decoder(self.transform_norm(F.gelu(self.transform(hidden))))
        pooled = torch.tanh(self.pooler(hidden[:, 0]))
        out = {"logits": logits, "seq_relationship_logits": self.seq_relationship(pooled)}
        if labels is not None:
            out["loss"] = self.masked_lm_loss(logits, labels)
            if next_sentence_label is not None:
                out["loss"] = out["loss"] + F.cross_entropy(out["seq_relationship_logits"], next_sentence_label)
        return out

    def masked_lm_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)

    @torch.no_grad()
    def fill_mask(self, input_ids: Tensor) -> Tensor:
        """The tokens [B, T] with the likeliest token in every masked place."""
        logits = self(input_ids, attention_mask=input_ids != self.config.pad_token_id)["logits"]
        return torch.where(input_ids == self.config.mask_token_id, logits.argmax(dim=-1), input_ids)


def model() -> BertForPreTraining:
    torch.manual_seed(0)
    return BertForPreTraining(BertConfig())
