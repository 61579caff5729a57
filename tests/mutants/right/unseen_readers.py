"""Readers, pairs and steps of training: ModernBERT, BART, Marian, a reward, retrieval, entities, memories, prefixes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import normal, places, seeded
from torch import Tensor, nn


class Attention(nn.Module):
    """visible: true where a query [.., T] may see a key [.., S]"""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        return x.view(x.size(0), x.size(1), self.heads, -1).transpose(1, 2)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.k_proj(memory)), self.split(self.v_proj(memory))

    def attend(self, x: Tensor, k: Tensor, v: Tensor, visible: Tensor) -> Tensor:
        scores = self.split(self.q_proj(x)) @ k.transpose(-1, -2) / math.sqrt(k.size(-1))
        weights = scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return self.out_proj((weights @ v).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        return self.attend(x, *self.keys_values(memory), visible)


class Feed(nn.Sequential):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))


class PreNorm(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention, self.feed, self.dropout = Attention(dim, heads), Feed(dim, 2 * dim), nn.Dropout(dropout)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.dropout(self.attention(h, h, visible))
        return x + self.dropout(self.feed(self.norm2(x)))


# ModernBERT: rotary, every second layer looks around itself alone, masked tokens


class ModernLayer(nn.Module):
    def __init__(self, dim: int, heads: int, local: int | None, first: bool) -> None:
        super().__init__()
        self.heads, self.local, self.base = heads, local, 160_000.0 if local is None else 10_000.0
        self.attn_norm = nn.Identity() if first else nn.LayerNorm(dim, bias=False)
        self.mlp_norm = nn.LayerNorm(dim, bias=False)
        self.Wqkv, self.Wo = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.Wi, self.Wo_mlp = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(2 * dim, dim, bias=False)

    def rotate(self, x: Tensor) -> Tensor:
        inv = self.base ** (-torch.arange(0, x.size(-1), 2, dtype=x.dtype) / x.size(-1))
        angle = torch.arange(x.size(-2), dtype=x.dtype)[:, None] * torch.cat([inv, inv])
        x1, x2 = x.chunk(2, dim=-1)
        return x * angle.cos() + torch.cat((-x2, x1), dim=-1) * angle.sin()

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.Wqkv(self.attn_norm(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        visible = attention_mask.bool()[:, None, None, :].expand(b, 1, t, t)
        if self.local is not None:
            place = torch.arange(t)
            visible = visible & ((place[:, None] - place).abs() <= self.local // 2)
        bias = torch.zeros(visible.shape, dtype=x.dtype).masked_fill(~visible, torch.finfo(x.dtype).min)
        y = F.scaled_dot_product_attention(self.rotate(q), self.rotate(k), v, attn_mask=bias)
        x = x + self.Wo(y.transpose(1, 2).reshape(b, t, d))
        value, gate = self.Wi(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.Wo_mlp(F.gelu(value) * gate)


@dataclass
class MaskedLMOutput:
    logits: Tensor
    loss: Tensor | None = None


class ModernBert(nn.Module):
    """labels: the token where one was masked, -100 elsewhere."""

    def __init__(self, vocab: int = 64, dim: int = 32, heads: int = 4, depth: int = 3, local: int = 6) -> None:
        super().__init__()
        self.tok_embeddings, self.norm = nn.Embedding(vocab, dim), nn.LayerNorm(dim, bias=False)
        spans = [None if i % 3 == 0 else local for i in range(depth)]
        self.layers = nn.ModuleList([ModernLayer(dim, heads, span, i == 0) for i, span in enumerate(spans)])
        self.final_norm = nn.LayerNorm(dim, bias=False)
        self.head = nn.Sequential(nn.Linear(dim, dim, bias=False), nn.GELU(), nn.LayerNorm(dim, bias=False))
        self.decoder = nn.Linear(dim, vocab)
        normal(self)
        self.decoder.weight = self.tok_embeddings.weight

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> MaskedLMOutput:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        x = self.norm(self.tok_embeddings(input_ids))
        for layer in self.layers:
            x = layer(x, attention_mask)
        logits = self.decoder(self.head(self.final_norm(x)))
        if labels is None:
            return MaskedLMOutput(logits)
        return MaskedLMOutput(logits, F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100))


# BART: norms behind the sub-layers, positions begin at two, the decoder's input made of the labels


BART_BOS, BART_PAD, BART_EOS = 0, 1, 2


def shift_tokens_right(labels: Tensor) -> Tensor:
    shifted = torch.cat([labels.new_full((labels.size(0), 1), BART_EOS), labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == -100, BART_PAD)


class BartLayer(nn.Module):
    def __init__(self, dim: int, heads: int, cross: bool) -> None:
        super().__init__()
        self.self_attn, self.feed = Attention(dim, heads), Feed(dim, 2 * dim)
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.encoder_attn = Attention(dim, heads) if cross else None
        self.encoder_attn_layer_norm = nn.LayerNorm(dim) if cross else None
        self.dropout = nn.Dropout(0.1)

    def forward(
        self, x: Tensor, visible: Tensor, memory: Tensor | None = None, memory_visible: Tensor | None = None
    ) -> Tensor:
        x = self.self_attn_layer_norm(x + self.dropout(self.self_attn(x, x, visible)))
        if self.encoder_attn is not None and self.encoder_attn_layer_norm is not None:
            x = self.encoder_attn_layer_norm(x + self.dropout(self.encoder_attn(x, memory, memory_visible)))
        return self.final_layer_norm(x + self.dropout(self.feed(x)))


class Bart(nn.Module):
    """Returns logits, or (loss, logits) with labels: the target with its end, -100 behind it."""

    def __init__(self, vocab: int = 60, dim: int = 32, heads: int = 4, depth: int = 2, positions: int = 40) -> None:
        super().__init__()
        self.shared = nn.Embedding(vocab, dim, padding_idx=BART_PAD)
        self.enc_positions, self.dec_positions = (nn.Embedding(positions + 2, dim) for _ in range(2))
        self.enc_norm, self.dec_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.encoder = nn.ModuleList([BartLayer(dim, heads, False) for _ in range(depth)])
        self.decoder = nn.ModuleList([BartLayer(dim, heads, True) for _ in range(depth)])
        self.final_logits_bias: Tensor
        self.register_buffer("final_logits_bias", torch.zeros(1, vocab))
        normal(self)
        nn.init.zeros_(self.shared.weight[BART_PAD].detach())

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        if attention_mask is None:
            attention_mask = (input_ids != BART_PAD).long()
        if decoder_input_ids is None:
            decoder_input_ids = shift_tokens_right(input_ids if labels is None else labels)
        seen = attention_mask.bool()[:, None, None, :]
        memory = self.enc_norm(self.shared(input_ids) + self.enc_positions(places(attention_mask) + 2))
        for layer in self.encoder:
            memory = layer(memory, seen)
        t = decoder_input_ids.size(1)
        causal = torch.ones(t, t, dtype=torch.bool).tril()
        x = self.dec_norm(self.shared(decoder_input_ids) + self.dec_positions(torch.arange(t) + 2))
        for layer in self.decoder:
            x = layer(x, causal, memory, seen)
        logits = F.linear(x, self.shared.weight) + self.final_logits_bias
        if labels is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100), logits


# A small Marian: sinusoids, and greedy translation with the keys and values of what is written


class MarianDecoderLayer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.own, self.cross, self.feed = Attention(dim, heads), Attention(dim, heads), Feed(dim, 2 * dim)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))

    def forward(
        self, x: Tensor, causal: Tensor, memory: Tensor, seen: Tensor, state: dict[str, Tensor] | None
    ) -> Tensor:
        k, v = self.own.keys_values(x)
        if state is not None:
            if "k" in state:
                k, v = torch.cat([state["k"], k], dim=2), torch.cat([state["v"], v], dim=2)
            state["k"], state["v"] = k, v
        x = self.norm1(x + self.own.attend(x, k, v, causal))
        x = self.norm2(x + self.cross(x, memory, seen))
        return self.norm3(x + self.feed(x))


class SmallMarian(nn.Module):
    """Padding is 0, an end 1 and a start 2; `forward(src, tgt)` predicts what follows each token of tgt."""

    sinusoids: Tensor

    def __init__(self, vocab: int = 58, dim: int = 32, heads: int = 4, depth: int = 2, length: int = 40) -> None:
        super().__init__()
        self.dim, self.embed = dim, nn.Embedding(vocab, dim, padding_idx=0)
        angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, dim, 2) / dim)
        self.register_buffer("sinusoids", torch.cat([angle.sin(), angle.cos()], dim=-1), persistent=False)
        self.encoder = nn.ModuleList([BartLayer(dim, heads, False) for _ in range(depth)])
        self.decoder = nn.ModuleList([MarianDecoderLayer(dim, heads) for _ in range(depth)])
        self.bias = nn.Parameter(torch.zeros(vocab))
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)
        nn.init.normal_(self.embed.weight, std=0.02)

    def encode(self, src: Tensor) -> tuple[Tensor, Tensor]:
        real = src != 0
        x = self.embed(src) * math.sqrt(self.dim) + self.sinusoids[places(real)]
        for layer in self.encoder:
            x = layer(x, real[:, None, None])
        return x, real[:, None, None]

    def decode(
        self, tgt: Tensor, memory: Tensor, seen: Tensor, states: list[dict[str, Tensor]] | None = None, start: int = 0
    ) -> Tensor:
        end = start + tgt.size(1)
        causal = torch.ones(end, end, dtype=torch.bool).tril()[start:]
        x = self.embed(tgt) * math.sqrt(self.dim) + self.sinusoids[start:end]
        for i, layer in enumerate(self.decoder):
            x = layer(x, causal, memory, seen, None if states is None else states[i])
        return F.linear(x, self.embed.weight, self.bias)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        return self.decode(tgt, *self.encode(src))

    @torch.no_grad()
    def translate(self, src: Tensor, max_len: int = 12) -> Tensor:
        """The likeliest token at each step [B, up to max_len], padding after an end."""
        memory, seen = self.encode(src)
        states: list[dict[str, Tensor]] = [{} for _ in self.decoder]
        token, written = src.new_full((len(src), 1), 2), []
        ended = torch.zeros_like(token, dtype=torch.bool)
        for step in range(max_len):
            logits = self.decode(token, memory, seen, states, step)
            token = logits[:, -1:].argmax(dim=-1).masked_fill(ended, 0)
            written.append(token)
            ended = ended | (token == 1)
            if bool(ended.all()):
                break
        return torch.cat(written, dim=1)


# Entities: a label for a word's first piece, -100 for the rest; torch's encoder


class EntityTagger(nn.Module):
    def __init__(self, vocab: int = 75, dim: int = 32, labels: int = 5, depth: int = 2, length: int = 40) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(vocab, dim, padding_idx=0), nn.Embedding(length, dim)
        layer = nn.TransformerEncoderLayer(dim, 4, 64, dropout=0.1, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.dropout, self.classifier = nn.Dropout(0.1), nn.Linear(dim, labels)
        nn.init.normal_(self.classifier.weight, std=0.02)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        x = self.words(input_ids) + self.places(places(mask))
        x = self.encoder(x, src_key_padding_mask=mask == 0)
        out = {"logits": self.classifier(self.dropout(x))}
        if labels is not None:
            out["loss"] = F.cross_entropy(out["logits"].transpose(1, 2), labels, ignore_index=-100)
        return out


# A reward: a number for a text, read off its last real token


class RewardModel(nn.Module):
    def __init__(self, vocab: int = 52, dim: int = 32, heads: int = 4, depth: int = 2, length: int = 40) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, dim), nn.Embedding(length, dim)
        self.blocks = nn.ModuleList([PreNorm(dim, heads) for _ in range(depth)])
        self.norm, self.v_head = nn.LayerNorm(dim), nn.Linear(dim, 1, bias=False)
        normal(self)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Rewards [B]"""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        t = input_ids.size(1)
        visible = torch.ones(t, t, dtype=torch.bool).tril() & mask.bool()[:, None, None, :]
        x = self.wte(input_ids) + self.wpe(places(mask))
        for block in self.blocks:
            x = block(x, visible)
        rewards = self.v_head(self.norm(x)).squeeze(-1)
        last = (mask * torch.arange(t)).argmax(dim=-1, keepdim=True)
        return rewards.gather(1, last).squeeze(1)

    def preference_loss(
        self,
        chosen: Tensor,
        rejected: Tensor,
        chosen_mask: Tensor | None = None,
        rejected_mask: Tensor | None = None,
    ) -> Tensor:
        return -F.logsigmoid(self(chosen, chosen_mask) - self(rejected, rejected_mask)).mean()


# Retrieval: questions and passages through one encoder, each row's passage against the others'


class DualEncoder(nn.Module):
    """Padding is 0. Returns a dict: `scores` [B, B] of each question with each passage, and the `loss`."""

    def __init__(self, vocab: int = 60, dim: int = 32, heads: int = 4, depth: int = 2, length: int = 40) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocab, dim, padding_idx=0), nn.Embedding(length, dim)
        self.blocks = nn.ModuleList([PreNorm(dim, heads) for _ in range(depth)])
        self.norm, self.project = nn.LayerNorm(dim), nn.Linear(dim, 24, bias=False)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(0.07)))
        normal(self)

    def encode(self, ids: Tensor) -> Tensor:
        real = ids != 0
        x = self.token(ids) + self.position(places(real))
        for block in self.blocks:
            x = block(x, real[:, None, None])
        x = self.norm(x) * real[..., None]
        pooled = x.sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1)
        return F.normalize(self.project(pooled), dim=-1)

    def forward(self, questions: Tensor, passages: Tensor) -> dict[str, Tensor]:
        scores = self.encode(questions) @ self.encode(passages).T / self.log_temperature.exp()
        own = torch.arange(len(questions))
        return {"scores": scores, "loss": (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2}


# BERT with both of its tasks, from and to dicts


class BertForPreTraining(nn.Module):
    def __init__(self, vocab: int = 66, dim: int = 32, heads: int = 4, depth: int = 2, length: int = 40) -> None:
        super().__init__()
        self.word_embeddings, self.position_embeddings = nn.Embedding(vocab, dim), nn.Embedding(length, dim)
        self.token_type_embeddings, self.norm = nn.Embedding(2, dim), nn.LayerNorm(dim, eps=1e-12)
        self.layer = nn.ModuleList([BartLayer(dim, heads, False) for _ in range(depth)])
        self.pooler, self.seq_relationship = nn.Linear(dim, dim), nn.Linear(dim, 2)
        self.transform = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim, eps=1e-12))
        self.bias, self.dropout = nn.Parameter(torch.zeros(vocab)), nn.Dropout(0.1)
        normal(self)

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        next_sentence_label: Tensor | None = None,
    ) -> dict[str, Tensor]:
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        positions = self.position_embeddings(places(attention_mask))
        x = self.word_embeddings(input_ids) + positions + self.token_type_embeddings(token_type_ids)
        x = self.dropout(self.norm(x))
        for layer in self.layer:
            x = layer(x, attention_mask.bool()[:, None, None, :])
        first = attention_mask.long().argmax(dim=-1)
        pooled = torch.tanh(self.pooler(x[torch.arange(len(x)), first]))
        out = {
            "prediction_logits": F.linear(self.transform(x), self.word_embeddings.weight, self.bias),
            "seq_relationship_logits": self.seq_relationship(self.dropout(pooled)),
        }
        losses = []
        if labels is not None:
            losses.append(F.cross_entropy(out["prediction_logits"].flatten(0, 1), labels.flatten(), ignore_index=-100))
        if next_sentence_label is not None:
            losses.append(F.cross_entropy(out["seq_relationship_logits"], next_sentence_label))
        if losses:
            out["loss"] = torch.stack(losses).sum()
        return out


# Time first, everything by hand


class TimeFirst(nn.Module):
    """src [T, B]; logits [T, B, V]"""

    pe: Tensor

    def __init__(self, vocab: int = 54, dim: int = 32, heads: int = 2, depth: int = 2, length: int = 64) -> None:
        super().__init__()
        self.dim, self.heads, self.encoder = dim, heads, nn.Embedding(vocab, dim)
        angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, dim, 2) / dim)
        self.register_buffer("pe", torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, None])
        self.inputs = nn.ModuleList([nn.Linear(dim, 3 * dim) for _ in range(depth)])
        self.outputs = nn.ModuleList([nn.Linear(dim, dim) for _ in range(depth)])
        self.feeds = nn.ModuleList([Feed(dim, 96) for _ in range(depth)])
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(2 * depth)])
        self.drop, self.decoder = nn.Dropout(0.1), nn.Linear(dim, vocab)
        normal(self)
        nn.init.normal_(self.encoder.weight, std=dim**-0.5)

    def forward(self, src: Tensor) -> Tensor:
        t, b = src.shape
        x = self.drop(self.encoder(src) * math.sqrt(self.dim) + self.pe[: src.size(0)])
        future = torch.full((t, t), float("-inf"), dtype=x.dtype).triu(1)
        for i, feed in enumerate(self.feeds):
            q, k, v = self.inputs[i](x).view(t, b, 3, self.heads, -1).unbind(dim=2)
            scores = torch.einsum("tbhe,sbhe->bhts", q, k) / math.sqrt(q.size(-1))
            weights = (scores + future).softmax(dim=-1)
            mixed = torch.einsum("bhts,sbhe->tbhe", weights, v).reshape(t, b, self.dim)
            x = self.norms[2 * i](x + self.drop(self.outputs[i](mixed)))
            x = self.norms[2 * i + 1](x + self.drop(feed(x)))
        return self.decoder(x)


# Steps as Lightning calls them, on batches that are dicts


class LitSteps(nn.Module):
    """A batch has `input_ids` and `attention_mask`; the loss is of real tokens, each for the one before it."""

    def __init__(self, vocab: int = 63, dim: int = 32, heads: int = 4, depth: int = 2, length: int = 40) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, dim), nn.Embedding(length, dim)
        self.blocks = nn.ModuleList([PreNorm(dim, heads, 0.1) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, vocab, bias=False)
        normal(self)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        t = input_ids.size(1)
        visible = torch.ones(t, t, dtype=torch.bool).tril() & mask.bool()[:, None, None, :]
        x = self.tokens(input_ids) + self.positions(places(mask))
        for block in self.blocks:
            x = block(x, visible)
        return self.head(self.norm(x))

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        logits = self(batch["input_ids"], batch["attention_mask"])[:, :-1]
        target, real = batch["input_ids"][:, 1:], batch["attention_mask"][:, 1:].to(logits.dtype)
        losses = F.cross_entropy(logits.transpose(1, 2), target, reduction="none")
        return (losses * real).sum() / real.sum()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        return self.loss(batch)

    @torch.no_grad()
    def validation_step(self, batch: dict[str, Tensor], batch_idx: int = 0) -> dict[str, Tensor]:  # noqa: ARG002
        loss = self.loss(batch)
        return {"val_loss": loss, "val_ppl": loss.exp()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=3e-4, weight_decay=0.1)


# Memories of the segment before, with a learned bias for distances


class SegmentLM(nn.Module):
    """Returns (logits, mems): mems are the inputs of each layer, without gradient, of the last `mem_len` tokens."""

    def __init__(self, vocab: int = 48, dim: int = 32, heads: int = 4, depth: int = 2, mem_len: int = 48) -> None:
        super().__init__()
        self.mem_len, self.reach = mem_len, 24
        self.embed, self.head = nn.Embedding(vocab, dim), nn.Linear(dim, vocab)
        self.distances = nn.Parameter(torch.zeros(heads, self.reach))
        self.q, self.o = (nn.ModuleList([nn.Linear(dim, dim, bias=False) for _ in range(depth)]) for _ in "qo")
        self.kv = nn.ModuleList([nn.Linear(dim, 2 * dim, bias=False) for _ in range(depth)])
        self.feeds = nn.ModuleList([Feed(dim, 96) for _ in range(depth)])
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(2 * depth + 1)])
        normal(self)
        nn.init.normal_(self.distances, std=0.02)

    def forward(self, data: Tensor, mems: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        b, t = data.shape
        m, new_mems = 0 if mems is None else mems[0].size(1), []
        hidden = torch.ones(t, m + t, dtype=torch.bool).triu(diagonal=1 + m)
        distance = torch.arange(m, m + t)[:, None] - torch.arange(m + t)
        bias = self.distances[:, distance.clamp(0, self.reach - 1)].masked_fill(hidden, -torch.inf)
        x = self.embed(data)
        for i, feed in enumerate(self.feeds):
            both = x if mems is None else torch.cat([mems[i], x], dim=1)
            new_mems.append(both[:, -self.mem_len :].detach())
            both = self.norms[2 * i](both)
            q = self.q[i](both[:, m:]).view(b, t, len(bias), -1).transpose(1, 2)
            k, v = self.kv[i](both).view(b, m + t, 2, len(bias), -1).permute(2, 0, 3, 1, 4)
            weights = (q @ k.transpose(-1, -2) * q.size(-1) ** -0.5 + bias).softmax(dim=-1)
            x = x + self.o[i]((weights @ v).transpose(1, 2).flatten(2))
            x = x + feed(self.norms[2 * i + 1](x))
        return self.head(self.norms[-1](x)), new_mems


# UniLM: a prefix that sees itself whole, and a text after it that is written


class UniLM(nn.Module):
    """The first `prefix_lengths` [B] tokens of a row see one another; no loss for them, nor for padding, which is 0."""

    def __init__(self, vocab: int = 51, dim: int = 32, heads: int = 4, depth: int = 2, length: int = 40) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(vocab, dim), nn.Embedding(length, dim)
        self.blocks = nn.ModuleList([PreNorm(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        normal(self)

    def forward(self, input_ids: Tensor, prefix_lengths: Tensor | None = None) -> Tensor:
        t = input_ids.size(1)
        if prefix_lengths is None:
            prefix_lengths = input_ids.new_zeros(len(input_ids))
        place = torch.arange(t)
        in_prefix = place[None, None, :] < prefix_lengths[:, None, None]
        visible = (place[None, :] <= place[:, None]) | in_prefix
        x = self.embed(input_ids) + self.position(place)
        for block in self.blocks:
            x = block(x, visible[:, None])
        return F.linear(self.norm(x), self.embed.weight)

    def loss(self, input_ids: Tensor, prefix_lengths: Tensor) -> Tensor:
        logits, target = self(input_ids, prefix_lengths)[:, :-1], input_ids[:, 1:]
        written = torch.arange(1, input_ids.size(1)) >= prefix_lengths[:, None]
        target = target.masked_fill(~written | (target == 0), -100)
        return F.cross_entropy(logits.transpose(1, 2), target, ignore_index=-100)

    @torch.no_grad()
    def complete(self, prefix: Tensor, length: int) -> Tensor:
        """What is likeliest after a prefix [B, T], which it includes."""
        ids, prefix_lengths = prefix, torch.full((len(prefix),), prefix.size(1))
        for _ in range(length):
            ids = torch.cat([ids, self(ids, prefix_lengths)[:, -1:].argmax(dim=-1)], dim=1)
        return ids


MODELS: dict[str, Callable[[], Any]] = {
    "ModernBERT": partial(seeded, ModernBert),
    "BART": partial(seeded, Bart),
    "a small Marian": partial(seeded, SmallMarian),
    "entities": partial(seeded, EntityTagger),
    "a reward": partial(seeded, RewardModel),
    "retrieval": partial(seeded, DualEncoder),
    "BERT's two tasks": partial(seeded, BertForPreTraining),
    "time first": partial(seeded, TimeFirst),
    "steps": partial(seeded, LitSteps),
    "segments": partial(seeded, SegmentLM),
    "UniLM": partial(seeded, UniLM),
}
