"""Ways of fine-tuning: a tuned prefix, preferences, adapters and many labels; readers after NEZHA, MPNet, TAPAS and
ColBERT."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import normal, places, seeded
from torch import Tensor, nn

# Prefix-tuning: a GPT-2 that is not trained; a small network makes the keys and values that stand before the tokens


class GPT2Block(nn.Module):
    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head, self.ln_1, self.ln_2 = n_head, nn.LayerNorm(n_embd), nn.LayerNorm(n_embd)
        self.c_attn, self.c_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.dropout = nn.Dropout(0.1)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU("tanh"), nn.Linear(4 * n_embd, n_embd))

    def forward(self, x: Tensor, visible: Tensor, layer_past: Tensor) -> tuple[Tensor, Tensor]:
        """layer_past and what is returned for the next call: [2, B, H, T, D] of keys and values"""
        b, t, _ = x.shape
        qkv = self.c_attn(self.ln_1(x)).view(b, t, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        query, present = qkv[0], torch.cat([layer_past, qkv[1:]], dim=-2)
        key, value = present.unbind(0)
        w = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(value.size(-1))
        w = w.masked_fill(~visible, torch.finfo(w.dtype).min).softmax(dim=-1)
        a = torch.matmul(self.dropout(w), value).transpose(1, 2).reshape(b, t, -1)
        x = x + self.dropout(self.c_proj(a))
        return x + self.dropout(self.mlp(self.ln_2(x))), present


class GPT2LMHeadModel(nn.Module):
    def __init__(self, vocab: int, n_positions: int, n_embd: int, n_head: int, n_layer: int) -> None:
        super().__init__()
        self.wte, self.wpe, self.drop = nn.Embedding(vocab, n_embd), nn.Embedding(n_positions, n_embd), nn.Dropout(0.1)
        self.h = nn.ModuleList([GPT2Block(n_embd, n_head) for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(n_embd)
        normal(self, 0.08)

    def forward(
        self, input_ids: Tensor, past_key_values: tuple[Tensor, ...], attention_mask: Tensor
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        t, past_length = input_ids.size(1), past_key_values[0].size(-2)
        position_ids = places(attention_mask)[:, past_length:]
        hidden_states = self.drop(self.wte(input_ids) + self.wpe(position_ids))
        visible = torch.ones(t, past_length + t, dtype=torch.bool).tril(past_length)
        visible = visible & attention_mask[:, None, None, :].bool()
        presents: tuple[Tensor, ...] = ()
        for block, layer_past in zip(self.h, past_key_values, strict=True):
            hidden_states, present = block(hidden_states, visible, layer_past)
            presents = (*presents, present)
        return F.linear(self.ln_f(hidden_states), self.wte.weight), presents


@dataclass
class CausalLMOutputWithPast:
    loss: Tensor | None
    logits: Tensor
    past_key_values: tuple[Tensor, ...]


class PrefixTuning(nn.Module):
    """The mask is of tokens, those of the past too, and not of the prefix; labels are the ids, -100 where none."""

    def __init__(
        self,
        vocab: int = 68,
        n_positions: int = 64,
        n_embd: int = 32,
        n_head: int = 4,
        n_layer: int = 2,
        preseqlen: int = 5,
        mid_dim: int = 48,
    ) -> None:
        super().__init__()
        self.gpt2 = GPT2LMHeadModel(vocab, n_positions, n_embd, n_head, n_layer)
        for param in self.gpt2.parameters():
            param.requires_grad = False
        self.preseqlen, self.n_layer, self.n_head = preseqlen, n_layer, n_head
        self.wte, self.dropout = nn.Embedding(preseqlen, n_embd), nn.Dropout(0.1)
        self.control_trans = nn.Sequential(
            nn.Linear(n_embd, mid_dim), nn.Tanh(), nn.Linear(mid_dim, n_layer * 2 * n_embd)
        )

    def get_prompt(self, bsz: int) -> tuple[Tensor, ...]:
        input_tokens = torch.arange(self.preseqlen).expand(bsz, -1)
        past_key_values = self.control_trans(self.wte(input_tokens))
        past_key_values = past_key_values.view(bsz, self.preseqlen, self.n_layer * 2, self.n_head, -1)
        return self.dropout(past_key_values).permute(2, 0, 3, 1, 4).split(2)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: tuple[Tensor, ...] | None = None,
        labels: Tensor | None = None,
    ) -> CausalLMOutputWithPast:
        bsz, seqlen = input_ids.shape
        past = self.get_prompt(bsz) if past_key_values is None else past_key_values
        if attention_mask is None:
            attention_mask = torch.ones(bsz, past[0].size(-2) - self.preseqlen + seqlen, dtype=torch.long)
        prefix_mask = torch.ones(bsz, self.preseqlen, dtype=attention_mask.dtype)
        lm_logits, presents = self.gpt2(input_ids, past, torch.cat((prefix_mask, attention_mask), dim=1))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(lm_logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalLMOutputWithPast(loss, lm_logits, presents)

    @torch.no_grad()
    def generate(self, input_ids: Tensor, attention_mask: Tensor | None = None, max_new_tokens: int = 12) -> Tensor:
        """The prompts and the likeliest tokens behind them"""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        past, step = None, input_ids
        for _ in range(max_new_tokens):
            out = self(step, mask, past)
            past, step = out.past_key_values, out.logits[:, -1:].argmax(dim=-1)
            input_ids = torch.cat((input_ids, step), dim=1)
            mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
        return input_ids


# Preferences (DPO): a policy, and the same as it was at the start; of two answers one is preferred


class PolicyBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm_1, self.norm_2 = heads, nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        q, k, v = (s.unflatten(-1, (self.heads, -1)).transpose(1, 2) for s in self.qkv(self.norm_1(x)).chunk(3, dim=-1))
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v, attn_mask=visible).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class Policy(nn.Module):
    """Dropout is left out, as it must be where two models are compared."""

    def __init__(self, vocab: int = 65, dim: int = 32, heads: int = 4, depth: int = 2, length: int = 64) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(vocab, dim), nn.Embedding(length, dim)
        self.blocks = nn.ModuleList([PolicyBlock(dim, heads) for _ in range(depth)])
        self.norm, self.lm_head = nn.LayerNorm(dim), nn.Linear(dim, vocab, bias=False)
        normal(self, 0.05)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        real = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        t = input_ids.size(1)
        visible = torch.ones(t, t, dtype=torch.bool).tril() & real[:, None, None, :]
        visible = visible | torch.eye(t, dtype=torch.bool)  # padding sees itself
        x = self.embed(input_ids) + self.position(places(real))
        for block in self.blocks:
            x = block(x, visible)
        return self.lm_head(self.norm(x))


@dataclass
class PreferenceOutput:
    loss: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor
    chosen_logits: Tensor
    rejected_logits: Tensor


def get_batch_logps(logits: Tensor, labels: Tensor) -> Tensor:
    """[B]: the sums of the logarithms of the labels' probabilities; labels are the ids, -100 for prompt and padding"""
    labels, logits = labels[:, 1:].clone(), logits[:, :-1]
    loss_mask = labels != -100
    labels[labels == -100] = 0
    per_token_logps = logits.log_softmax(dim=-1).gather(2, labels.unsqueeze(2)).squeeze(2)
    return (per_token_logps * loss_mask).sum(dim=-1)


class DPO(nn.Module):
    """Rewards [B] and the policy's logits; the loss is log 2 until the policy has moved from its reference."""

    def __init__(self, beta: float = 0.1, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.beta, self.label_smoothing, self.policy = beta, label_smoothing, Policy()
        self.reference = copy.deepcopy(self.policy).requires_grad_(False)

    def forward(
        self,
        chosen_input_ids: Tensor,
        rejected_input_ids: Tensor,
        chosen_labels: Tensor,
        rejected_labels: Tensor,
        chosen_attention_mask: Tensor | None = None,
        rejected_attention_mask: Tensor | None = None,
    ) -> PreferenceOutput:
        with torch.no_grad():
            chosen = self.reference(chosen_input_ids, chosen_attention_mask)
            rejected = self.reference(rejected_input_ids, rejected_attention_mask)
            reference_chosen = get_batch_logps(chosen, chosen_labels)
            reference_rejected = get_batch_logps(rejected, rejected_labels)
        chosen_logits = self.policy(chosen_input_ids, chosen_attention_mask)
        rejected_logits = self.policy(rejected_input_ids, rejected_attention_mask)
        policy_chosen = get_batch_logps(chosen_logits, chosen_labels)
        policy_rejected = get_batch_logps(rejected_logits, rejected_labels)
        logits = (policy_chosen - policy_rejected) - (reference_chosen - reference_rejected)
        losses = -F.logsigmoid(self.beta * logits) * (1 - self.label_smoothing)
        losses = losses - F.logsigmoid(-self.beta * logits) * self.label_smoothing
        return PreferenceOutput(
            losses.mean(),
            self.beta * (policy_chosen - reference_chosen).detach(),
            self.beta * (policy_rejected - reference_rejected).detach(),
            chosen_logits,
            rejected_logits,
        )


# NEZHA: sines of distances are added to keys and to values, and nothing else says where a token stands


class RelativePositionsEncoding(nn.Module):
    positions_encoding: Tensor

    def __init__(self, length: int, depth: int, max_relative_position: int) -> None:
        super().__init__()
        distance = (torch.arange(length)[None] - torch.arange(length)[:, None]).clamp(
            -max_relative_position, max_relative_position
        )
        angle = torch.arange(2 * max_relative_position + 1)[:, None] * 10000 ** (-torch.arange(0, depth, 2) / depth)
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)
        self.register_buffer("positions_encoding", table[distance + max_relative_position], persistent=False)

    def forward(self, length: int) -> Tensor:
        return self.positions_encoding[:length, :length]


class NezhaSelfAttention(nn.Module):
    def __init__(self, hidden_size: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads, self.head_size, self.dropout = heads, hidden_size // heads, nn.Dropout(0.1)
        self.query, self.key, self.value = (nn.Linear(hidden_size, hidden_size) for _ in range(3))
        self.relative_positions_encoding = RelativePositionsEncoding(length, self.head_size, 16)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        b, t, _ = hidden_states.shape
        query, key, value = (
            w(hidden_states).view(b, t, self.heads, self.head_size).transpose(1, 2)
            for w in (self.query, self.key, self.value)
        )
        relations = self.relative_positions_encoding(t)
        query_r = query.permute(2, 0, 1, 3).reshape(t, b * self.heads, self.head_size)
        key_position_scores = torch.matmul(query_r, relations.transpose(1, 2))
        key_position_scores = key_position_scores.view(t, b, self.heads, t).permute(1, 2, 0, 3)
        scores = (torch.matmul(query, key.transpose(-1, -2)) + key_position_scores) / math.sqrt(self.head_size)
        probs = self.dropout((scores + attention_mask).softmax(dim=-1))
        probs_r = probs.permute(2, 0, 1, 3).reshape(t, b * self.heads, t)
        value_position = torch.matmul(probs_r, relations).view(t, b, self.heads, self.head_size).permute(1, 2, 0, 3)
        context = torch.matmul(probs, value) + value_position
        return context.permute(0, 2, 1, 3).reshape(b, t, -1)


class NezhaLayer(nn.Module):
    def __init__(self, hidden_size: int, heads: int, length: int) -> None:
        super().__init__()
        self.self, self.dense = NezhaSelfAttention(hidden_size, heads, length), nn.Linear(hidden_size, hidden_size)
        self.intermediate, self.output = nn.Linear(hidden_size, 96), nn.Linear(96, hidden_size)
        self.norm_1, self.norm_2 = nn.LayerNorm(hidden_size, eps=1e-12), nn.LayerNorm(hidden_size, eps=1e-12)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        x = self.norm_1(self.dropout(self.dense(self.self(x, attention_mask))) + x)
        return self.norm_2(self.dropout(self.output(F.gelu(self.intermediate(x)))) + x)


@dataclass
class MaskedLMOutput:
    loss: Tensor | None
    logits: Tensor


class NezhaForMaskedLM(nn.Module):
    """The mask is 1 for real tokens; labels are -100 where nothing is to be predicted."""

    def __init__(
        self, vocab: int = 71, hidden_size: int = 32, heads: int = 4, depth: int = 2, max_position_embeddings: int = 64
    ) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, hidden_size)
        self.token_type_embeddings = nn.Embedding(2, hidden_size)
        self.norm, self.dropout = nn.LayerNorm(hidden_size, eps=1e-12), nn.Dropout(0.1)
        self.layer = nn.ModuleList([NezhaLayer(hidden_size, heads, max_position_embeddings) for _ in range(depth)])
        self.transform = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.GELU(), nn.LayerNorm(hidden_size, 1e-12))
        self.decoder = nn.Linear(hidden_size, vocab)
        normal(self, 0.05)
        self.decoder.weight = self.word_embeddings.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> MaskedLMOutput:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(input_ids)
        x = self.dropout(self.norm(self.word_embeddings(input_ids) + self.token_type_embeddings(token_type_ids)))
        extended = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * (torch.finfo(x.dtype).min / 2)
        for layer in self.layer:
            x = layer(x, extended)
        prediction_scores = self.decoder(self.transform(x))
        if labels is None:
            return MaskedLMOutput(None, prediction_scores)
        loss = F.cross_entropy(prediction_scores.view(-1, prediction_scores.size(-1)), labels.reshape(-1))
        return MaskedLMOutput(loss, prediction_scores)


# MPNet: T5's buckets of distances, one table for all layers, and positions from where the padding token is not


MPNET_PAD = 1


def create_position_ids_from_input_ids(input_ids: Tensor) -> Tensor:
    """Padding has its own place, and real tokens are counted from the one behind it."""
    real = input_ids.ne(MPNET_PAD).long()
    return real.cumsum(dim=1) * real + MPNET_PAD


def relative_position_bucket(relative_position: Tensor, num_buckets: int = 16, max_distance: int = 32) -> Tensor:
    """Half of the buckets are for keys behind the query; near distances have a bucket each."""
    half, n = num_buckets // 2, relative_position.abs()
    exact = half // 2
    share = (n.clamp(min=exact) / exact).log() / math.log(max_distance / exact)
    large = (exact + (share * (half - exact)).long()).clamp(max=half - 1)
    return (relative_position > 0).long() * half + torch.where(n < exact, n, large)


class MPNetLayer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.q, self.k, self.v, self.o = heads, *(nn.Linear(dim, dim) for _ in range(4))
        self.intermediate, self.output = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.attention_norm, self.output_norm, self.dropout = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.Dropout(0.1)

    def forward(self, x: Tensor, attention_mask: Tensor, position_bias: Tensor) -> Tensor:
        q, k, v = (w(x).unflatten(-1, (self.heads, -1)).permute(0, 2, 1, 3) for w in (self.q, self.k, self.v))
        attention_scores = q @ k.mT / math.sqrt(q.size(-1))
        attention_probs = (attention_scores + position_bias + attention_mask).softmax(dim=-1)
        c = (self.dropout(attention_probs) @ v).permute(0, 2, 1, 3).flatten(2)
        x = self.attention_norm(self.dropout(self.o(c)) + x)
        return self.output_norm(self.dropout(self.output(F.gelu(self.intermediate(x)))) + x)


@dataclass
class TokenClassifierOutput:
    logits: Tensor
    loss: Tensor | None = None


class MPNetForTokenClassification(nn.Module):
    """Token 1 is padding, which is not seen, with a mask or without; labels are -100 where there is none."""

    def __init__(
        self, vocab: int = 70, dim: int = 32, heads: int = 4, depth: int = 2, length: int = 66, num_labels: int = 7
    ) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, dim, padding_idx=MPNET_PAD)
        self.position_embeddings = nn.Embedding(length, dim, padding_idx=MPNET_PAD)
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(0.1)
        self.layer = nn.ModuleList([MPNetLayer(dim, heads) for _ in range(depth)])
        self.relative_attention_bias, self.classifier = nn.Embedding(16, heads), nn.Linear(dim, num_labels)
        normal(self, 0.05)
        for table in (self.word_embeddings, self.position_embeddings):
            nn.init.zeros_(table.weight[MPNET_PAD].detach())

    def compute_position_bias(self, length: int) -> Tensor:
        place = torch.arange(length)
        return self.relative_attention_bias(relative_position_bucket(place - place[:, None])).permute(2, 0, 1)[None]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> TokenClassifierOutput:
        if attention_mask is None:
            attention_mask = input_ids != MPNET_PAD
        if position_ids is None:
            position_ids = create_position_ids_from_input_ids(input_ids)
        x = self.dropout(self.norm(self.word_embeddings(input_ids) + self.position_embeddings(position_ids)))
        extended = (1 - attention_mask[:, None, None].to(x.dtype)) * (torch.finfo(x.dtype).min / 2)
        position_bias = self.compute_position_bias(input_ids.size(1))
        for layer in self.layer:
            x = layer(x, extended, position_bias)
        logits = self.classifier(self.dropout(x))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return TokenClassifierOutput(logits, loss)


# BERT's body, for the three that follow


class BertLayer(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads, self.query, self.key, self.value = heads, *(nn.Linear(dim, dim) for _ in range(3))
        self.attention_output = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(dropout))
        self.intermediate = nn.Sequential(nn.Linear(dim, 3 * dim), nn.GELU())
        self.output = nn.Sequential(nn.Linear(3 * dim, dim), nn.Dropout(dropout))
        self.attention_norm, self.output_norm, self.dropout = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.Dropout(dropout)

    def forward(self, x: Tensor, extended: Tensor) -> Tensor:
        q, k, v = (w(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for w in (self.query, self.key, self.value))
        probs = (torch.matmul(q, k.transpose(2, 3)) / math.sqrt(q.size(-1)) + extended).softmax(dim=-1)
        context = torch.matmul(self.dropout(probs), v).transpose(1, 2).flatten(2)
        x = self.attention_norm(x + self.attention_output(context))
        return self.output_norm(x + self.output(self.intermediate(x)))


def extended_mask(real: Tensor, dtype: torch.dtype) -> Tensor:
    return (1.0 - real[:, None, None, :].to(dtype)) * (torch.finfo(dtype).min / 2)


class BertModel(nn.Module):
    def __init__(self, vocab: int, dim: int, heads: int, depth: int, length: int, types: int) -> None:
        super().__init__()
        self.word_embeddings, self.position_embeddings = nn.Embedding(vocab, dim), nn.Embedding(length, dim)
        self.token_type_embeddings = nn.Embedding(types, dim) if types else None
        self.embeddings_norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(0.1)
        self.layer = nn.ModuleList([BertLayer(dim, heads) for _ in range(depth)])

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        x = self.word_embeddings(input_ids) + self.position_embeddings(places(attention_mask))
        if self.token_type_embeddings is not None:
            types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            x = x + self.token_type_embeddings(types)
        x, extended = self.dropout(self.embeddings_norm(x)), extended_mask(attention_mask, x.dtype)
        for layer in self.layer:
            x = layer(x, extended)
        return x


# TAPAS: seven kinds of token types say where in a table a token stands; positions begin anew in every cell


TYPE_VOCAB_SIZES = (3, 8, 16, 2, 8, 8, 4)
"""segment, column, row, whether it was an answer before, rank, rank from the end, relation to the question"""


def cells_of(token_type_ids: Tensor) -> Tensor:
    """[B, T]: a number for each pair of row and column; 0 is the question's"""
    return token_type_ids[:, :, 2] * TYPE_VOCAB_SIZES[1] + token_type_ids[:, :, 1]


class TapasEmbeddings(nn.Module):
    def __init__(self, vocab: int, dim: int, length: int) -> None:
        super().__init__()
        self.word_embeddings, self.position_embeddings = nn.Embedding(vocab, dim), nn.Embedding(length, dim)
        for i, size in enumerate(TYPE_VOCAB_SIZES):
            self.add_module(f"token_type_embeddings_{i}", nn.Embedding(size, dim))
        self.norm, self.dropout, self.length = nn.LayerNorm(dim, eps=1e-12), nn.Dropout(0.1), length

    def position_in_cell(self, real: Tensor, token_type_ids: Tensor) -> Tensor:
        position, cells = places(real), cells_of(token_type_ids)
        far = torch.iinfo(position.dtype).max
        first = position.new_full((len(position), TYPE_VOCAB_SIZES[1] * TYPE_VOCAB_SIZES[2]), far)
        first = first.scatter_reduce(1, cells, position.masked_fill(~real, far), "amin")
        return (position - first.gather(1, cells)).clamp(0, self.length - 1)

    def forward(self, input_ids: Tensor, real: Tensor, token_type_ids: Tensor) -> Tensor:
        embeddings = self.word_embeddings(input_ids)
        embeddings = embeddings + self.position_embeddings(self.position_in_cell(real, token_type_ids))
        for i in range(len(TYPE_VOCAB_SIZES)):
            embeddings = embeddings + getattr(self, f"token_type_embeddings_{i}")(token_type_ids[:, :, i])
        return self.dropout(self.norm(embeddings))


@dataclass
class TableQuestionAnsweringOutput:
    loss: Tensor | None
    logits: Tensor


class TapasForQuestionAnswering(nn.Module):
    """Logits [B, T] of a token's cell being an answer; token types are [B, T, 7], and labels [B, T] are 1 or 0."""

    def __init__(
        self,
        vocab: int = 78,
        dim: int = 32,
        heads: int = 4,
        depth: int = 2,
        length: int = 48,
        positive_label_weight: float = 10.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.positive_label_weight, self.temperature = positive_label_weight, temperature
        self.embeddings, self.dropout = TapasEmbeddings(vocab, dim, length), nn.Dropout(0.1)
        self.layer = nn.ModuleList([BertLayer(dim, heads) for _ in range(depth)])
        self.output_weights, self.output_bias = nn.Parameter(torch.empty(dim)), nn.Parameter(torch.zeros([]))
        normal(self, 0.05)
        nn.init.normal_(self.output_weights, std=0.02)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> TableQuestionAnsweringOutput:
        real = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        if token_type_ids is None:
            token_type_ids = input_ids.new_zeros(*input_ids.shape, len(TYPE_VOCAB_SIZES))
        x = self.embeddings(input_ids, real, token_type_ids)
        extended = extended_mask(real, x.dtype)
        for layer in self.layer:
            x = layer(x, extended)
        logits = (torch.einsum("bsj,j->bs", self.dropout(x), self.output_weights) + self.output_bias) / self.temperature
        if labels is None:
            return TableQuestionAnsweringOutput(None, logits)
        weight = torch.where(labels == 0, 1.0, self.positive_label_weight).to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), weight=weight, reduction="none")
        input_mask_float = real.to(logits.dtype)
        selection_loss = (losses * input_mask_float).sum(dim=1) / input_mask_float.sum(dim=1).clamp(min=1)
        return TableQuestionAnsweringOutput(selection_loss.mean(), logits)

    @torch.no_grad()
    def select(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, threshold: float = 0.5
    ) -> list[list[tuple[int, int]]]:
        """The cells (row, column), counted from 0, whose tokens' mean probability is above the threshold"""
        probs, cells = self(input_ids, attention_mask, token_type_ids).logits.sigmoid(), cells_of(token_type_ids)
        in_table = attention_mask.bool() & (token_type_ids[:, :, 1] > 0) & (token_type_ids[:, :, 2] > 0)
        answers = []
        for prob, cell, on in zip(probs, cells, in_table, strict=True):
            chosen = [c for c in cell[on].unique().tolist() if prob[on & (cell == c)].mean() > threshold]
            answers.append([(c // TYPE_VOCAB_SIZES[1] - 1, c % TYPE_VOCAB_SIZES[1] - 1) for c in chosen])
        return answers


# ColBERT: a vector for each token; a query's tokens each look for the nearest of a document's


def ids_and_mask(tokens: Any) -> tuple[Tensor, Tensor]:
    if isinstance(tokens, Tensor):
        return tokens, tokens != 0
    input_ids, attention_mask = tokens
    return input_ids, attention_mask


class ColBERT(nn.Module):
    """Q and D are ids, 0 for padding, or pairs of ids and mask; scores [B]. A document's punctuation is left out."""

    def __init__(
        self,
        vocab: int = 74,
        hidden_size: int = 32,
        heads: int = 4,
        depth: int = 2,
        dim: int = 16,
        skiplist: tuple[int, ...] = (4, 5, 6, 7),
    ) -> None:
        super().__init__()
        self.skiplist, self.bert = skiplist, BertModel(vocab, hidden_size, heads, depth, 64, 0)
        self.linear = nn.Linear(hidden_size, dim, bias=False)
        normal(self, 0.08)

    def forward(self, Q: Any, D: Any) -> Tensor:  # noqa: N803
        return self.score(self.query(*ids_and_mask(Q)), *self.doc(*ids_and_mask(D)))

    def encode(self, input_ids: Tensor, attention_mask: Tensor, kept: Tensor) -> Tensor:
        vectors = F.normalize(self.linear(self.bert(input_ids, attention_mask)), p=2, dim=2)
        return vectors * kept.unsqueeze(2)

    def query(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[B, T, dim], noughts for padding"""
        return self.encode(input_ids, attention_mask, self.mask(input_ids, attention_mask, ()))

    def doc(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and which tokens count"""
        kept = self.mask(input_ids, attention_mask, self.skiplist)
        return self.encode(input_ids, attention_mask, kept), kept

    @staticmethod
    def mask(input_ids: Tensor, attention_mask: Tensor, skiplist: tuple[int, ...]) -> Tensor:
        skipped = torch.isin(input_ids, torch.tensor(skiplist, dtype=input_ids.dtype))
        return attention_mask.bool() & (input_ids != 0) & ~skipped

    @staticmethod
    def score(Q: Tensor, D: Tensor, D_mask: Tensor) -> Tensor:  # noqa: N803
        """MaxSim; Q, D and D_mask may have more dimensions before their last ones, as long as they fit."""
        scores = (Q @ D.transpose(-1, -2)).masked_fill(~D_mask.unsqueeze(-2), -9999)
        return scores.max(dim=-1).values.sum(dim=-1)

    def loss(self, Q: Any, D: Any) -> Tensor:  # noqa: N803
        """The documents of the other queries are the negatives."""
        queries, (docs, docs_mask) = self.query(*ids_and_mask(Q)), self.doc(*ids_and_mask(D))
        scores = self.score(queries[:, None], docs[None], docs_mask[None])
        return F.cross_entropy(scores, torch.arange(len(scores)))


# Adapters: a BERT that is not trained but for its norms; bottlenecks behind both halves of each layer are


class Adapter(nn.Module):
    def __init__(self, dim: int, adapter_size: int, init_scale: float = 1e-3) -> None:
        super().__init__()
        self.down_project, self.up_project = nn.Linear(dim, adapter_size), nn.Linear(adapter_size, dim)
        for project in (self.down_project, self.up_project):
            nn.init.trunc_normal_(project.weight, std=init_scale, a=-2 * init_scale, b=2 * init_scale)
            nn.init.zeros_(project.bias)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return hidden_states + self.up_project(F.gelu(self.down_project(hidden_states)))


class AdapterBertForSequenceClassification(nn.Module):
    """Logits [B, num_labels] of what the first token says, or with labels [B] the loss; padding stands behind."""

    def __init__(
        self, vocab: int = 66, dim: int = 32, heads: int = 4, depth: int = 2, num_labels: int = 3, adapter_size: int = 8
    ) -> None:
        super().__init__()
        self.num_labels, self.bert = num_labels, BertModel(vocab, dim, heads, depth, 64, 2)
        self.pooler, self.dropout, self.classifier = nn.Linear(dim, dim), nn.Dropout(0.1), nn.Linear(dim, num_labels)
        normal(self, 0.08)
        for layer in self.bert.layer:
            layer.attention_output.add_module("adapter", Adapter(dim, adapter_size))
            layer.output.add_module("adapter", Adapter(dim, adapter_size))
        for name, param in self.named_parameters():
            param.requires_grad = any(part in name for part in ("adapter", "norm", "classifier"))

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        sequence_output = self.bert(input_ids, attention_mask, token_type_ids)
        pooled_output = torch.tanh(self.pooler(sequence_output[:, 0]))
        logits = self.classifier(self.dropout(pooled_output))
        if labels is not None:
            return F.cross_entropy(logits.view(-1, self.num_labels), labels.view(-1))
        return logits


# Several labels at once: the mean of the real tokens' states, and a yes or no for each label


class MultiLabelTagger(nn.Module):
    """(loss, logits [B, n_classes]) with labels [B, n_classes] of 1 and 0, and 0 for the loss without."""

    def __init__(
        self, vocab: int = 77, dim: int = 32, heads: int = 4, depth: int = 2, n_classes: int = 6, length: int = 64
    ) -> None:
        super().__init__()
        self.embedding, self.positions, self.drop = nn.Embedding(vocab, dim), nn.Embedding(length, dim), nn.Dropout(0.2)
        sizes: dict[str, Any] = {"dim_feedforward": 3 * dim, "dropout": 0.1, "activation": "gelu"}
        self.encoder = nn.ModuleList(
            [nn.TransformerEncoderLayer(dim, heads, batch_first=True, norm_first=True, **sizes) for _ in range(depth)]
        )
        self.norm, self.classifier = nn.LayerNorm(dim), nn.Linear(dim, n_classes)
        self.criterion = nn.BCEWithLogitsLoss()
        normal(self, 0.05)

    def mean_pooling(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        input_mask_expanded = attention_mask.unsqueeze(-1).expand(states.size()).to(states.dtype)
        return (states * input_mask_expanded).sum(dim=1) / input_mask_expanded.sum(dim=1).clamp(min=1)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> tuple[Tensor | int, Tensor]:
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        hidden = ~mask & mask.any(dim=1, keepdim=True)  # a row of padding sees itself
        x = self.embedding(input_ids) + self.positions(places(mask))
        for layer in self.encoder:
            x = layer(x, src_key_padding_mask=hidden)
        logits = self.classifier(self.drop(self.mean_pooling(self.norm(x), mask)))
        loss: Tensor | int = 0
        if labels is not None:
            loss = self.criterion(logits, labels.to(logits.dtype))
        return loss, logits


MODELS: dict[str, Callable[[], Any]] = {
    "prefix-tuning": partial(seeded, PrefixTuning),
    "preferences": partial(seeded, DPO),
    "NEZHA": partial(seeded, NezhaForMaskedLM),
    "MPNet": partial(seeded, MPNetForTokenClassification),
    "TAPAS": partial(seeded, TapasForQuestionAnswering),
    "ColBERT": partial(seeded, ColBERT),
    "adapters": partial(seeded, AdapterBertForSequenceClassification),
    "several labels": partial(seeded, MultiLabelTagger),
}
