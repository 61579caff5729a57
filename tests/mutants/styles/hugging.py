"""A causal language model as in Hugging Face's library: a config, rotary positions, grouped heads, past key values."""

import math
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from clearformer.checks.subject import Subject

Past = tuple[tuple[Tensor, Tensor], ...]
"""keys and values [B, G, S, E] of each layer"""


@dataclass
class MiniConfig:
    vocab_size: int = 23
    hidden_size: int = 32
    intermediate_size: int = 64
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    max_position_embeddings: int = 24
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-6
    attention_dropout: float = 0.1
    initializer_range: float = 0.02


@dataclass
class CausalLMOutput:
    logits: Tensor
    loss: Tensor | None = None
    past_key_values: Past | None = None


class MiniRMSNorm(nn.Module):
    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps = eps

    def forward(self, hidden_states: Tensor) -> Tensor:
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        return self.weight * hidden_states * torch.rsqrt(variance + self.eps)


class MiniRotaryEmbedding(nn.Module):
    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        head_dim = config.hidden_size // config.num_attention_heads
        inv_freq = 1.0 / config.rope_theta ** (torch.arange(0, head_dim, 2) / head_dim)
        self.register_buffer("inv_freq", inv_freq, persistent=False)

    def forward(self, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [B, 1, T, E] of every position's angles."""
        freqs = position_ids[:, None, :, None] * self.inv_freq
        angles = torch.cat((freqs, freqs), dim=-1)
        return angles.cos(), angles.sin()


def rotate_half(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return x * cos + rotate_half(x) * sin


class MiniAttention(nn.Module):
    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.num_key_value_heads = config.num_key_value_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.attention_dropout = config.attention_dropout
        self.q_proj = nn.Linear(config.hidden_size, self.num_heads * self.head_dim, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, self.num_key_value_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, self.num_key_value_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(self.num_heads * self.head_dim, config.hidden_size, bias=False)

    def forward(
        self, hidden_states: Tensor, mask: Tensor, cos: Tensor, sin: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        bsz, q_len, _ = hidden_states.shape
        query = self.q_proj(hidden_states).view(bsz, q_len, self.num_heads, self.head_dim).transpose(1, 2)
        key = self.k_proj(hidden_states).view(bsz, q_len, self.num_key_value_heads, self.head_dim).transpose(1, 2)
        value = self.v_proj(hidden_states).view(bsz, q_len, self.num_key_value_heads, self.head_dim).transpose(1, 2)
        query, key = apply_rotary(query, cos, sin), apply_rotary(key, cos, sin)
        if past is not None:
            key = torch.cat((past[0], key), dim=2)
            value = torch.cat((past[1], value), dim=2)
        present = (key, value)
        groups = self.num_heads // self.num_key_value_heads
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        scores = query @ key.transpose(2, 3) / math.sqrt(self.head_dim)
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = F.dropout(scores.softmax(dim=-1), self.attention_dropout, self.training)
        out = (weights @ value).transpose(1, 2).reshape(bsz, q_len, -1)
        return self.o_proj(out), present


class MiniMLP(nn.Module):
    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))


class MiniDecoderLayer(nn.Module):
    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.input_layernorm = MiniRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = MiniAttention(config)
        self.post_attention_layernorm = MiniRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MiniMLP(config)

    def forward(
        self, hidden_states: Tensor, mask: Tensor, cos: Tensor, sin: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        attended, present = self.self_attn(self.input_layernorm(hidden_states), mask, cos, sin, past)
        hidden_states = hidden_states + attended
        hidden_states = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return hidden_states, present


class MiniForCausalLM(nn.Module):
    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.rotary_emb = MiniRotaryEmbedding(config)
        self.layers = nn.ModuleList(MiniDecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = MiniRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=config.initializer_range)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Past | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
    ) -> CausalLMOutput:
        """`attention_mask` [B, S] is 1 for a real token, those of `past_key_values` included."""
        past_len = 0 if past_key_values is None else past_key_values[0][0].shape[2]
        total = past_len + input_ids.shape[1]
        if total > self.config.max_position_embeddings:
            raise ValueError(f"at most {self.config.max_position_embeddings} tokens were expected, found {total}")
        if attention_mask is None:
            attention_mask = torch.ones(input_ids.shape[0], total, dtype=torch.long)
        if position_ids is None:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, past_len:]
        causal = torch.arange(total)[None, :] <= torch.arange(past_len, total)[:, None]
        mask = causal & attention_mask[:, None, None, :].bool()
        cos, sin = self.rotary_emb(position_ids)
        hidden_states, presents = self.embed_tokens(input_ids), []
        for index, layer in enumerate(self.layers):
            past = None if past_key_values is None else past_key_values[index]
            hidden_states, present = layer(hidden_states, mask, cos, sin, past)
            presents.append(present)
        logits = self.lm_head(self.norm(hidden_states))
        loss = None if labels is None else causal_lm_loss(logits, labels)
        return CausalLMOutput(logits, loss, tuple(presents) if use_cache else None)


def causal_lm_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits of each token against the label of the next one."""
    shift_logits, shift_labels = logits[:, :-1], labels[:, 1:]
    return F.cross_entropy(shift_logits.flatten(0, 1), shift_labels.flatten(), ignore_index=-100)


def accumulate(model: MiniForCausalLM, batches: list[tuple[Tensor, Tensor]]) -> None:
    num_items = sum((labels[:, 1:] != -100).sum() for _, labels in batches)
    for input_ids, labels in batches:
        items = (labels[:, 1:] != -100).sum()
        loss = model(input_ids, labels=labels).loss * items / num_items
        loss.backward()


def prefill(model: MiniForCausalLM, tokens: Tensor, real: Tensor) -> tuple[Tensor, tuple[Past, Tensor]]:
    out = model(tokens, attention_mask=real.long(), use_cache=True)
    return out.logits, (out.past_key_values, real.long())


def step(
    model: MiniForCausalLM, tokens: Tensor, cache: tuple[Past, Tensor] | None
) -> tuple[Tensor, tuple[Past, Tensor]]:
    """The cache is the past key values, and the attention mask that goes with them."""
    mask = torch.ones_like(tokens)
    if cache is None:
        return prefill(model, tokens, mask)
    past, past_mask = cache
    mask = torch.cat((past_mask, mask), dim=1)
    out = model(tokens, attention_mask=mask, past_key_values=past, use_cache=True)
    return out.logits, (out.past_key_values, mask)


def subject() -> Subject:
    torch.manual_seed(0)
    config = MiniConfig()
    return Subject(
        MiniForCausalLM(config),
        call=lambda model, tokens: model(tokens),
        padded=lambda model, tokens, real: model(tokens, attention_mask=real.long()),
        sides=("left", "right"),
        vocab_size=config.vocab_size,
        context=config.max_position_embeddings,
        step=step,
        prefill=prefill,
        loss=lambda model, tokens, labels: model(tokens, labels=labels).loss,
        accumulate=accumulate,
        norm_order="pre",
        tied=False,
        name="Hugging Face-like",
    )
