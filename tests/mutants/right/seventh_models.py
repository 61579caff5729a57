"""Decoders after CTRL, InternLM 2, Griffin, Persimmon, MiniMind, OpenELM, HSTU and MusicGen."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import normal, seeded
from torch import Tensor, nn

KeysAndValues = tuple[Tensor, Tensor]


@dataclass
class CausalOutput:
    logits: Tensor
    past_key_values: Any = None
    loss: Tensor | None = None


# CTRL: sines in one half and cosines in the other, scaled embeddings, tuples, keys and values in one tensor


def positional_encoding(length: int, d_model: int) -> Tensor:
    angle = torch.arange(length)[:, None] / 10000 ** (2 * torch.arange(d_model // 2) / d_model)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class CTRLAttention(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.depth = num_heads, d_model // num_heads
        self.Wq, self.Wk, self.Wv, self.dense = (nn.Linear(d_model, d_model) for _ in range(4))

    def split_into_heads(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, self.num_heads, self.depth).permute(0, 2, 1, 3)

    def forward(self, x: Tensor, mask: Tensor, layer_past: Tensor | None) -> tuple[Tensor, Tensor]:
        q, k, v = (self.split_into_heads(w(x)) for w in (self.Wq, self.Wk, self.Wv))
        if layer_past is not None:
            k, v = torch.cat((layer_past[0], k), dim=-2), torch.cat((layer_past[1], v), dim=-2)
        scaled_attention_logits = torch.matmul(q, k.permute(0, 1, 3, 2)) / math.sqrt(self.depth) + mask * -1e4
        output = torch.matmul(scaled_attention_logits.softmax(dim=-1), v).permute(0, 2, 1, 3)
        return self.dense(output.reshape(x.shape)), torch.stack((k, v))


class CTRLLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, dff: int, rate: float) -> None:
        super().__init__()
        self.multi_head_attention = CTRLAttention(d_model, num_heads)
        self.ffn = nn.Sequential(nn.Linear(d_model, dff), nn.ReLU(), nn.Linear(dff, d_model))
        self.layernorm1, self.layernorm2 = nn.LayerNorm(d_model, eps=1e-6), nn.LayerNorm(d_model, eps=1e-6)
        self.dropout1, self.dropout2 = nn.Dropout(rate), nn.Dropout(rate)

    def forward(self, x: Tensor, mask: Tensor, layer_past: Tensor | None) -> tuple[Tensor, Tensor]:
        attn_output, present = self.multi_head_attention(self.layernorm1(x), mask, layer_past)
        out1 = x + self.dropout1(attn_output)
        return out1 + self.dropout2(self.ffn(self.layernorm2(out1))), present


class CTRLLMHeadModel(nn.Module):
    """(logits, presents), or (loss, logits, presents) of labels that are the ids; the mask covers the past too."""

    pos_encoding: Tensor

    def __init__(
        self, vocab: int = 67, n_embd: int = 32, n_head: int = 4, dff: int = 64, n_layer: int = 2, n_positions: int = 64
    ) -> None:
        super().__init__()
        self.d_model_size, self.w = n_embd, nn.Embedding(vocab, n_embd)
        self.register_buffer("pos_encoding", positional_encoding(n_positions, n_embd), persistent=False)
        self.dropout, self.layernorm = nn.Dropout(0.1), nn.LayerNorm(n_embd, eps=1e-6)
        self.h = nn.ModuleList([CTRLLayer(n_embd, n_head, dff, 0.1) for _ in range(n_layer)])
        self.lm_head = nn.Linear(n_embd, vocab)
        normal(self, 0.1)
        self.lm_head.weight = self.w.weight

    def forward(
        self,
        input_ids: Tensor,
        past_key_values: tuple[Tensor, ...] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> tuple[Any, ...]:
        b, t = input_ids.shape
        ns = t + (0 if past_key_values is None else past_key_values[0].size(-2))
        if attention_mask is None:
            attention_mask = torch.ones(b, ns, dtype=torch.long)
        if position_ids is None:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, ns - t :]
        x = self.w(input_ids) * math.sqrt(self.d_model_size)
        x = self.dropout(x + self.pos_encoding[position_ids])
        mask = torch.triu(torch.ones(ns, ns, dtype=x.dtype), 1)[None, None, ns - t :]
        mask = torch.maximum(mask, 1 - attention_mask[:, None, None].to(x.dtype))
        presents: tuple[Tensor, ...] = ()
        for i, layer in enumerate(self.h):
            x, present = layer(x, mask, None if past_key_values is None else past_key_values[i])
            presents = (*presents, present)
        lm_logits = self.lm_head(self.layernorm(x))
        if labels is None:
            return lm_logits, presents
        shift_logits, shift_labels = lm_logits[..., :-1, :].contiguous(), labels[..., 1:].contiguous()
        loss = F.cross_entropy(shift_logits.view(-1, shift_logits.size(-1)), shift_labels.view(-1))
        return loss, lm_logits, presents


# InternLM 2: one matrix for a group's queries, its key and its value, group by group


class Rotary(nn.Module):
    inv_freq: Tensor

    def __init__(self, dim: int, base: float = 10000.0) -> None:
        super().__init__()
        self.register_buffer("inv_freq", base ** (-torch.arange(0, dim, 2) / dim), persistent=False)

    def forward(self, position_ids: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """[B, 1, T, D] each"""
        freqs = position_ids[:, None, :, None].float() * self.inv_freq.float()
        emb = torch.cat((freqs, freqs), dim=-1)
        return emb.cos().to(dtype), emb.sin().to(dtype)


def rotate_half(x: Tensor) -> Tensor:
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((-x2, x1), dim=-1)


class InternLM2Layer(nn.Module):
    def __init__(self, dim: int, heads: int, kv_heads: int, hidden: int) -> None:
        super().__init__()
        self.kv_heads, self.groups, self.head_dim = kv_heads, heads // kv_heads, dim // heads
        self.wqkv = nn.Linear(dim, (heads + 2 * kv_heads) * self.head_dim, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)
        self.w1, self.w3 = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.attention_norm, self.ffn_norm = nn.RMSNorm(dim, eps=1e-5), nn.RMSNorm(dim, eps=1e-5)

    def attention(
        self, x: Tensor, cos: Tensor, sin: Tensor, visible: Tensor, past: KeysAndValues | None
    ) -> tuple[Tensor, KeysAndValues]:
        b, t, _ = x.shape
        qkv_states = self.wqkv(x).view(b, t, self.kv_heads, self.groups + 2, self.head_dim)
        query = qkv_states[..., : self.groups, :].flatten(2, 3).transpose(1, 2)
        key, value = qkv_states[..., -2, :].transpose(1, 2), qkv_states[..., -1, :].transpose(1, 2)
        query, key = query * cos + rotate_half(query) * sin, key * cos + rotate_half(key) * sin
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        keys, values = (s.repeat_interleave(self.groups, dim=1) for s in (key, value))
        weights = torch.matmul(query, keys.transpose(2, 3)) * self.head_dim**-0.5
        weights = weights.masked_fill(~visible, torch.finfo(x.dtype).min).softmax(dim=-1)
        return self.wo(torch.matmul(weights, values).transpose(1, 2).reshape(b, t, -1)), (key, value)

    def forward(self, x: Tensor, *rest: Any) -> tuple[Tensor, KeysAndValues]:
        h, present = self.attention(self.attention_norm(x), *rest)
        x = x + h
        h = self.ffn_norm(x)
        return x + self.w2(F.silu(self.w1(h)) * self.w3(h)), present


class InternLM2ForCausalLM(nn.Module):
    """Labels are the ids, -100 where there is none."""

    def __init__(
        self, vocab: int = 72, dim: int = 32, heads: int = 4, kv_heads: int = 2, hidden: int = 64, layers: int = 2
    ) -> None:
        super().__init__()
        self.tok_embeddings, self.rotary_emb = nn.Embedding(vocab, dim), Rotary(dim // heads, 1e6)
        self.layers = nn.ModuleList([InternLM2Layer(dim, heads, kv_heads, hidden) for _ in range(layers)])
        self.norm, self.output = nn.RMSNorm(dim, eps=1e-5), nn.Linear(dim, vocab, bias=False)
        normal(self, 0.08)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: list[KeysAndValues] | None = None,
        labels: Tensor | None = None,
    ) -> CausalOutput:
        b, t = input_ids.shape
        seen = past_key_values[0][0].shape[2] if past_key_values is not None else 0
        if attention_mask is None:
            attention_mask = torch.ones(b, seen + t, dtype=torch.bool)
        if position_ids is None:
            position_ids = (attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0)[:, seen:]
        h = self.tok_embeddings(input_ids)
        cos, sin = self.rotary_emb(position_ids, h.dtype)
        visible = torch.ones(t, seen + t, dtype=torch.bool).tril(seen) & attention_mask[:, None, None, :].bool()
        presents = []
        for layer, past in zip(self.layers, past_key_values or [None] * len(self.layers), strict=True):
            h, present = layer(h, cos, sin, visible, past)
            presents.append(present)
        logits = self.output(self.norm(h))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalOutput(logits, presents, loss)


# Griffin: two recurrent blocks to one with local attention of one key head; a cap on the logits


class RGLRU(nn.Module):
    """A gated linear recurrence; its decay is near one at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.input_gate, self.a_gate = nn.Linear(width, width), nn.Linear(width, width)
        decay = torch.linspace(0.9, 0.999, width)
        self.a_param = nn.Parameter(torch.log(torch.expm1(-decay.log() / 8.0 * 2)))

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        exact = torch.promote_types(x.dtype, torch.float32)
        log_a = -8.0 * self.a_gate(x).to(exact).sigmoid() * F.softplus(self.a_param.to(exact))
        gated = x * self.input_gate(x).sigmoid() * (-torch.expm1(2 * log_a)).sqrt()
        a, states = log_a.exp(), []
        for t in range(x.shape[1]):
            h = a[:, t] * h + gated[:, t]
            states.append(h)
        return torch.stack(states, dim=1).to(x.dtype), h


class RecurrentBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_y, self.linear_x, self.linear_out = (nn.Linear(width, width) for _ in range(3))
        self.conv_1d, self.rg_lru = nn.Conv1d(width, width, 4, groups=width), RGLRU(width)

    def forward(self, x: Tensor, cache: dict[str, Tensor], start: int) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: ARG002
        y, x = F.gelu(self.linear_y(x), approximate="tanh"), self.linear_x(x)
        before = cache["conv1d_state"] if cache else x.new_zeros(x.size(0), 3, x.size(2))
        x = torch.cat([before, x], dim=1)
        state = x[:, -3:]
        x = self.conv_1d(x.transpose(1, 2)).transpose(1, 2)
        x, h = self.rg_lru(x, cache["rg_lru_state"] if cache else torch.zeros_like(x[:, 0]))
        return self.linear_out(x * y), {"conv1d_state": state, "rg_lru_state": h}


class LocalAttentionBlock(nn.Module):
    def __init__(self, width: int, num_heads: int, window_size: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.window_size = num_heads, width // num_heads, window_size
        self.proj_q, self.proj_final = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.proj_k, self.proj_v = (nn.Linear(width, self.head_dim, bias=False) for _ in range(2))
        self.rope = Rotary(self.head_dim)

    def forward(self, x: Tensor, cache: dict[str, Tensor], start: int) -> tuple[Tensor, dict[str, Tensor]]:
        b, t, _ = x.shape
        q = self.proj_q(x).view(b, t, self.num_heads, -1).transpose(1, 2)
        k, v = self.proj_k(x)[:, None], self.proj_v(x)[:, None]
        cos, sin = self.rope(start + torch.arange(t)[None], x.dtype)
        q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
        if cache:
            k, v = torch.cat([cache["keys"], k], dim=2), torch.cat([cache["values"], v], dim=2)
        back = torch.arange(k.size(2) - t, k.size(2))[:, None] - torch.arange(k.size(2))
        visible = (back >= 0) & (back < self.window_size)
        logits = torch.einsum("bhtd,bsd->bhts", q * self.head_dim**-0.5, k[:, 0])
        probs = torch.where(visible, logits, torch.finfo(x.dtype).min).softmax(dim=-1)
        encoded = torch.einsum("bhts,bsd->bthd", probs, v[:, 0]).flatten(2)
        kept = {"keys": k[:, :, -self.window_size :], "values": v[:, :, -self.window_size :]}
        return self.proj_final(encoded), kept


class GriffinResidualBlock(nn.Module):
    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.temporal_pre_norm, self.channel_pre_norm = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.temporal = RecurrentBlock(width) if kind == "recurrent" else LocalAttentionBlock(width, 4, 8)
        self.ffw_up, self.ffw_down = nn.Linear(width, 4 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, cache: dict[str, Tensor], start: int) -> tuple[Tensor, dict[str, Tensor]]:
        y, cache = self.temporal(self.temporal_pre_norm(x), cache, start)
        x = x + y
        gate, value = self.ffw_up(self.channel_pre_norm(x)).chunk(2, dim=-1)
        return x + self.ffw_down(F.gelu(gate, approximate="tanh") * value), cache


class Griffin(nn.Module):
    """(logits, cache): the cache goes into the next call, whose tokens follow."""

    def __init__(
        self, vocab: int = 63, width: int = 32, kinds: tuple[str, ...] = ("recurrent", "recurrent", "attention")
    ) -> None:
        super().__init__()
        self.width, self.embedder = width, nn.Embedding(vocab, width)
        self.blocks = nn.ModuleList([GriffinResidualBlock(width, kind) for kind in kinds])
        self.final_norm = nn.RMSNorm(width, eps=1e-6)
        normal(self, 0.05)

    def forward(self, tokens: Tensor, cache: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Any]]:
        start = 0 if cache is None else cache["seen"]
        new_cache: dict[str, Any] = {"seen": start + tokens.shape[1]}
        x = self.embedder(tokens) * math.sqrt(self.width)
        for i, block in enumerate(self.blocks):
            x, new_cache[f"blocks.{i}"] = block(x, {} if cache is None else cache[f"blocks.{i}"], start)
        logits = F.linear(self.final_norm(x), self.embedder.weight)
        return torch.tanh(logits / 30.0) * 30.0, new_cache


# Persimmon: squared ReLU, norms of queries' and keys' heads, half of each head turned; it writes with a cache


PERSIMMON_EOS = 1


class PersimmonLayer(nn.Module):
    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, hidden_size // num_heads
        self.rotary_ndims = self.head_dim // 2
        self.query_key_value, self.dense = nn.Linear(hidden_size, 3 * hidden_size), nn.Linear(hidden_size, hidden_size)
        self.q_layernorm, self.k_layernorm = nn.LayerNorm(self.head_dim), nn.LayerNorm(self.head_dim)
        self.input_layernorm, self.post_attention_layernorm = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.dense_h_to_4h = nn.Linear(hidden_size, 4 * hidden_size)
        self.dense_4h_to_h = nn.Linear(4 * hidden_size, hidden_size)

    def turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rot, rest = x[..., : self.rotary_ndims], x[..., self.rotary_ndims :]
        return torch.cat((rot * cos + rotate_half(rot) * sin, rest), dim=-1)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, visible: Tensor, past: KeysAndValues | None
    ) -> tuple[Tensor, KeysAndValues]:
        b, t, _ = x.shape
        fused_qkv = self.query_key_value(self.input_layernorm(x)).view(b, t, self.num_heads, 3, self.head_dim)
        q, k, v = (fused_qkv[..., i, :].transpose(1, 2) for i in range(3))
        q, k = self.turn(self.q_layernorm(q), cos, sin), self.turn(self.k_layernorm(k), cos, sin)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        x = x + self.dense(attended.transpose(1, 2).reshape(b, t, -1))
        h = F.relu(self.dense_h_to_4h(self.post_attention_layernorm(x))).square()
        return x + self.dense_4h_to_h(h), (k, v)


class PersimmonForCausalLM(nn.Module):
    def __init__(self, vocab: int = 69, hidden_size: int = 32, num_heads: int = 4, num_layers: int = 2) -> None:
        super().__init__()
        self.embed_tokens, self.rotary_emb = nn.Embedding(vocab, hidden_size), Rotary(hidden_size // num_heads // 2)
        self.layers = nn.ModuleList([PersimmonLayer(hidden_size, num_heads) for _ in range(num_layers)])
        self.final_layernorm, self.lm_head = nn.LayerNorm(hidden_size), nn.Linear(hidden_size, vocab, bias=False)
        normal(self, 0.03)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: list[KeysAndValues] | None = None,
        labels: Tensor | None = None,
    ) -> CausalOutput:
        seq_length, past_length = input_ids.shape[1], past_key_values[0][0].shape[2] if past_key_values else 0
        total = past_length + seq_length
        mask = torch.ones(len(input_ids), total) if attention_mask is None else attention_mask
        position_ids = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, past_length:]
        x = self.embed_tokens(input_ids)
        cos, sin = self.rotary_emb(position_ids, x.dtype)
        order = torch.arange(total)
        causal = order <= order[past_length:, None]
        itself = order == order[past_length:, None]  # so that no row of scores is empty
        visible = causal & (mask[:, None, None, :].bool() | itself)
        presents = []
        for i, layer in enumerate(self.layers):
            x, present = layer(x, cos, sin, visible, past_key_values[i] if past_key_values else None)
            presents.append(present)
        logits = self.lm_head(self.final_layernorm(x))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1))
        return CausalOutput(logits, presents, loss)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        max_new_tokens: int = 10,
        do_sample: bool = False,
        temperature: float = 1.0,
        top_k: int | None = None,
    ) -> Tensor:
        """The prompts and what follows them; behind an end of text come more of them."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        past, ended, step = None, torch.zeros(len(input_ids), dtype=torch.bool), input_ids
        for _ in range(max_new_tokens):
            out = self(step, mask, past)
            past, scores = out.past_key_values, out.logits[:, -1] / temperature
            if top_k is not None:
                least = scores.topk(min(top_k, scores.size(-1))).values[:, -1:]
                scores = scores.masked_fill(scores < least, -math.inf)
            token = torch.multinomial(scores.softmax(-1), 1) if do_sample else scores.argmax(-1, keepdim=True)
            step = token.masked_fill(ended[:, None], PERSIMMON_EOS)
            input_ids, mask = torch.cat([input_ids, step], 1), torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
            ended = ended | (step[:, 0] == PERSIMMON_EOS)
            if ended.all():
                break
        return input_ids


# MiniMind: tables of angles for all positions, a generator of what was written so far, a penalty for repetitions


MINIMIND_EOS = 2


class MiniMindBlock(nn.Module):
    def __init__(self, dim: int, n_heads: int, n_kv_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_local_heads, self.n_local_kv_heads, self.head_dim = n_heads, n_kv_heads, dim // n_heads
        self.q_proj, self.o_proj = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(dim, n_kv_heads * self.head_dim, bias=False) for _ in range(2))
        self.input_layernorm, self.post_attention_layernorm = nn.RMSNorm(dim, 1e-5), nn.RMSNorm(dim, 1e-5)
        self.gate_proj, self.up_proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, 3 * dim, bias=False)
        self.down_proj, self.dropout = nn.Linear(3 * dim, dim, bias=False), nn.Dropout(dropout)

    def repeat_kv(self, x: Tensor) -> Tensor:
        bs, slen, n_kv, head_dim = x.shape
        n_rep = self.n_local_heads // n_kv
        return x[:, :, :, None, :].expand(bs, slen, n_kv, n_rep, head_dim).reshape(bs, slen, n_kv * n_rep, head_dim)

    def attn(
        self, x: Tensor, pos_cis: KeysAndValues, hidden: Tensor, past: KeysAndValues | None
    ) -> tuple[Tensor, KeysAndValues]:
        bsz, seq_len, _ = x.shape
        xq = self.q_proj(x).view(bsz, seq_len, self.n_local_heads, self.head_dim)
        xk = self.k_proj(x).view(bsz, seq_len, self.n_local_kv_heads, self.head_dim)
        xv = self.v_proj(x).view(bsz, seq_len, self.n_local_kv_heads, self.head_dim)
        cos, sin = (table[:, None].to(x.dtype) for table in pos_cis)
        xq, xk = xq * cos + rotate_half(xq) * sin, xk * cos + rotate_half(xk) * sin
        if past is not None:
            xk, xv = torch.cat([past[0], xk], dim=1), torch.cat([past[1], xv], dim=1)
        q, k, v = (s.transpose(1, 2) for s in (xq, self.repeat_kv(xk), self.repeat_kv(xv)))
        scores = (q @ k.transpose(-2, -1)) / math.sqrt(self.head_dim)
        probs = self.dropout(scores.masked_fill(hidden, torch.finfo(x.dtype).min).softmax(dim=-1))
        return self.dropout(self.o_proj((probs @ v).transpose(1, 2).reshape(bsz, seq_len, -1))), (xk, xv)

    def forward(self, x: Tensor, *rest: Any) -> tuple[Tensor, KeysAndValues]:
        h, present = self.attn(self.input_layernorm(x), *rest)
        x = x + h
        h = self.post_attention_layernorm(x)
        return x + self.dropout(self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))), present


class MiniMind(nn.Module):
    """Logits of all places, or of the last `logits_to_keep`; positions are counted from the cache."""

    freqs_cos: Tensor
    freqs_sin: Tensor

    def __init__(self, vocab: int = 64, dim: int = 32, n_heads: int = 4, n_layers: int = 2, length: int = 96) -> None:
        super().__init__()
        self.embed_tokens, self.dropout = nn.Embedding(vocab, dim), nn.Dropout(0.1)
        self.layers = nn.ModuleList([MiniMindBlock(dim, n_heads, 2, 0.1) for _ in range(n_layers)])
        self.norm, self.lm_head = nn.RMSNorm(dim, 1e-5), nn.Linear(dim, vocab, bias=False)
        normal(self)
        self.lm_head.weight = self.embed_tokens.weight
        cos, sin = Rotary(dim // n_heads, 1e6)(torch.arange(length)[None], torch.float32)
        self.register_buffer("freqs_cos", cos[0, 0], persistent=False)
        self.register_buffer("freqs_sin", sin[0, 0], persistent=False)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: list[KeysAndValues] | None = None,
        use_cache: bool = False,
        logits_to_keep: int = 0,
    ) -> CausalOutput:
        seq_len, start_pos = input_ids.shape[1], past_key_values[0][0].shape[1] if past_key_values else 0
        h = self.dropout(self.embed_tokens(input_ids))
        pos_cis = tuple(table[start_pos : start_pos + seq_len] for table in (self.freqs_cos, self.freqs_sin))
        hidden = torch.ones(seq_len, start_pos + seq_len, dtype=torch.bool).triu(start_pos + 1)[None, None]
        if attention_mask is not None:
            hidden = hidden | (attention_mask[:, None, None, :] == 0)
        presents = []
        for layer, past in zip(self.layers, past_key_values or [None] * len(self.layers), strict=True):
            h, present = layer(h, pos_cis, hidden, past)
            presents.append(present)
        logits = self.lm_head(self.norm(h)[:, -logits_to_keep:])
        return CausalOutput(logits, presents if use_cache else None)

    def stream(self, input_ids: Tensor, max_new_tokens: int, temperature: float, rp: float) -> Iterator[Tensor]:
        start, past, ended = input_ids.shape[1], None, torch.zeros(len(input_ids), 1, dtype=torch.bool)
        for _ in range(max_new_tokens):
            step = input_ids if past is None else input_ids[:, -1:]
            out = self(step, past_key_values=past, use_cache=True, logits_to_keep=1)
            logits, past = out.logits[:, -1], out.past_key_values
            seen = logits.gather(1, input_ids)
            logits = logits.scatter(1, input_ids, torch.where(seen > 0, seen / rp, seen * rp))
            if temperature == 0:
                token = logits.argmax(dim=-1, keepdim=True)
            else:
                token = torch.multinomial((logits / temperature).softmax(dim=-1), 1)
            input_ids = torch.cat((input_ids, token.masked_fill(ended, MINIMIND_EOS)), dim=1)
            yield input_ids[:, start:]
            ended = ended | (token == MINIMIND_EOS)
            if ended.all():
                break

    @torch.inference_mode()
    def generate(
        self, input_ids: Tensor, max_new_tokens: int = 16, temperature: float = 0.0, repetition_penalty: float = 1.0
    ) -> Tensor:
        """The prompts and what follows, up to an end of text, which is repeated where other rows go on."""
        written = input_ids[:, :0]
        for written in self.stream(input_ids, max_new_tokens, temperature, repetition_penalty):  # noqa: B007
            pass
        return torch.cat([input_ids, written], dim=1)


# OpenELM: each layer has its own number of heads and its own width


class OpenELMDecoderLayer(nn.Module):
    def __init__(self, model_dim: int, head_dim: int, num_q_heads: int, num_k_heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.num_q_heads, self.num_k_heads, self.head_dim = num_q_heads, num_k_heads, head_dim
        self.qkv_proj = nn.Linear(model_dim, (num_q_heads + 2 * num_k_heads) * head_dim, bias=False)
        self.out_proj = nn.Linear(num_q_heads * head_dim, model_dim, bias=False)
        self.q_norm, self.k_norm = nn.RMSNorm(head_dim, 1e-6), nn.RMSNorm(head_dim, 1e-6)
        self.attn_norm, self.ffn_norm = nn.RMSNorm(model_dim, 1e-6), nn.RMSNorm(model_dim, 1e-6)
        self.proj_1, self.proj_2 = (
            nn.Linear(model_dim, 2 * ffn_dim, bias=False),
            nn.Linear(ffn_dim, model_dim, bias=False),
        )
        self.pos_embedding = Rotary(head_dim)

    def forward(self, x: Tensor) -> Tensor:
        batch_size, seq_length, _ = x.shape
        qkv = self.qkv_proj(self.attn_norm(x)).reshape(batch_size, seq_length, -1, self.head_dim).transpose(1, 2)
        queries, keys, values = qkv.split([self.num_q_heads, self.num_k_heads, self.num_k_heads], dim=1)
        queries, keys = self.q_norm(queries), self.k_norm(keys)
        cos, sin = self.pos_embedding(torch.arange(seq_length)[None], x.dtype)
        queries, keys = queries * cos + rotate_half(queries) * sin, keys * cos + rotate_half(keys) * sin
        groups = self.num_q_heads // self.num_k_heads
        if groups != 1:
            keys, values = keys.repeat_interleave(groups, dim=1), values.repeat_interleave(groups, dim=1)
        attended = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + self.out_proj(attended.transpose(1, 2).contiguous().reshape(batch_size, seq_length, -1))
        y_1, y_2 = self.proj_1(self.ffn_norm(x)).chunk(2, dim=-1)
        return x + self.proj_2(F.silu(y_1) * y_2)


class OpenELM(nn.Module):
    """`forward(input_ids)`: a dict of logits and hidden states; the table is the output too."""

    def __init__(
        self, vocab: int = 76, model_dim: int = 32, heads: tuple[int, ...] = (2, 4, 6), ffn: tuple[int, ...] = (1, 2, 3)
    ) -> None:
        super().__init__()
        self.token_embeddings = nn.Embedding(vocab, model_dim)
        self.layers = nn.ModuleList(
            [OpenELMDecoderLayer(model_dim, 8, q, q // 2, m * model_dim) for q, m in zip(heads, ffn, strict=True)]
        )
        self.norm = nn.RMSNorm(model_dim, 1e-6)
        self.apply(self.reset_parameters)
        for layer in self.layers:
            layer.out_proj.weight.data.mul_(1 / math.sqrt(2 * len(heads)))
            layer.proj_2.weight.data.mul_(1 / math.sqrt(2 * len(heads)))

    @staticmethod
    def reset_parameters(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, input_ids: Tensor) -> dict[str, Any]:
        x = self.token_embeddings(input_ids)
        hidden_states = [x]
        for layer in self.layers:
            x = layer(x)
            hidden_states.append(x)
        return {"logits": F.linear(self.norm(x), self.token_embeddings.weight), "hidden_states": hidden_states}


# HSTU: what a person takes next; weights of attention without a softmax, from distances in places and in time


class HSTULayer(nn.Module):
    def __init__(self, dim: int, heads: int, length: int, buckets: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.length, self.dropout = heads, length, dropout
        self.uvqk, self.o = nn.Parameter(torch.randn(dim, 4 * dim) * dim**-0.5), nn.Linear(dim, dim)
        self.pos_w, self.ts_w = nn.Embedding(length, 1), nn.Embedding(buckets, 1)

    def bias(self, places: Tensor, timestamps: Tensor) -> Tensor:
        apart = (places[:, :, None] - places[:, None, :]).clamp(0, self.length - 1)
        ago = (timestamps[:, :, None] - timestamps[:, None, :]).abs().clamp(min=1)
        bucket = ago.float().log2().floor().long().clamp(max=self.ts_w.num_embeddings - 1)
        return (self.pos_w(apart) + self.ts_w(bucket))[..., 0][:, None]

    def forward(self, x: Tensor, visible: Tensor, places: Tensor, timestamps: Tensor) -> Tensor:
        normed = F.layer_norm(x, x.shape[-1:])
        u, *vqk = F.silu(normed @ self.uvqk).chunk(4, dim=-1)
        v, q, k = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in vqk)
        qk_attn = F.silu(q @ k.mT + self.bias(places, timestamps)) / self.length
        attended = ((qk_attn * visible) @ v).transpose(1, 2).flatten(2)
        o_input = F.dropout(u * F.layer_norm(attended, x.shape[-1:]), p=self.dropout, training=self.training)
        return x + self.o(o_input)


class HSTU(nn.Module):
    """Item 0 is padding, on either side. (logits, loss or None) with targets: the items that follow, 0 for none."""

    def __init__(self, num_items: int = 65, dim: int = 32, heads: int = 4, depth: int = 2, length: int = 50) -> None:
        super().__init__()
        self.item_emb = nn.Embedding(num_items + 1, dim, padding_idx=0)
        self.layers = nn.ModuleList([HSTULayer(dim, heads, length, 12, 0.2) for _ in range(depth)])
        normal(self, 0.05)
        nn.init.zeros_(self.item_emb.weight[0].detach())

    def forward(
        self, past_ids: Tensor, timestamps: Tensor | None = None, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        real = past_ids != 0
        places = (real.long().cumsum(dim=1) - 1).clamp(min=0)
        if timestamps is None:
            timestamps = torch.zeros_like(past_ids)
        t = past_ids.size(1)
        visible = (torch.ones(t, t, dtype=torch.bool).tril() & real[:, None, :])[:, None]
        x = F.dropout(self.item_emb(past_ids), p=0.2, training=self.training) * real[..., None]
        for layer in self.layers:
            x = layer(x, visible, places, timestamps) * real[..., None]
        logits = F.layer_norm(x, x.shape[-1:]) @ self.item_emb.weight.T
        if targets is None:
            return logits, None
        losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
        supervised = (targets != 0) & real
        return logits, (losses * supervised).sum() / supervised.sum().clamp(min=1)


# MusicGen: four streams of codes at once, each a step behind the one before


class MusicLM(nn.Module):
    """codes [B, K, T] to logits [B, K, T, V] of the codes that follow; code `card` stands where there is none."""

    def __init__(self, card: int = 60, dim: int = 32, num_heads: int = 4, num_layers: int = 2, n_q: int = 4) -> None:
        super().__init__()
        self.card, self.dim = card, dim
        self.emb = nn.ModuleList([nn.Embedding(card + 1, dim) for _ in range(n_q)])
        layer = nn.TransformerEncoderLayer(dim, num_heads, 3 * dim, 0.1, F.gelu, batch_first=True, norm_first=True)
        self.transformer = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.out_norm = nn.LayerNorm(dim)
        self.linears = nn.ModuleList([nn.Linear(dim, card, bias=False) for _ in range(n_q)])
        normal(self, 0.1)
        for emb in self.emb:
            nn.init.normal_(emb.weight, std=n_q**-0.5)

    def forward(self, codes: Tensor) -> Tensor:
        x = torch.stack([emb(codes[:, k]) for k, emb in enumerate(self.emb)]).sum(dim=0)
        t = codes.shape[-1]
        phase = torch.arange(t)[:, None] / 10000 ** (torch.arange(self.dim // 2) / (self.dim // 2 - 1))
        x = x + torch.cat([phase.cos(), phase.sin()], dim=-1).to(x.dtype)
        later = torch.ones(t, t, dtype=torch.bool).triu(1)
        out = self.out_norm(self.transformer(x, mask=later, is_causal=True))
        return torch.stack([linear(out) for linear in self.linears], dim=1)

    def delayed(self, codes: Tensor) -> Tensor:
        """[B, K, T + K]: a start, then stream k moved by k"""
        b, k, t = codes.shape
        pattern = codes.new_full((b, k, t + k), self.card)
        for q in range(k):
            pattern[:, q, q + 1 : q + 1 + t] = codes[:, q]
        return pattern

    def compute_predictions(self, codes: Tensor) -> Tensor:
        """Logits [B, K, T, V] of the codes themselves, from those that the pattern has before them."""
        logits, t = self(self.delayed(codes)), codes.shape[-1]
        return torch.stack([logits[:, q, q : q + t] for q in range(codes.shape[1])], dim=1)

    def loss(self, codes: Tensor) -> Tensor:
        """The mean over the streams"""
        logits = self.compute_predictions(codes)
        each = [F.cross_entropy(logits[:, q].flatten(0, 1), codes[:, q].flatten()) for q in range(codes.shape[1])]
        return torch.stack(each).mean()


MODELS: dict[str, Callable[[], Any]] = {
    "CTRL": partial(seeded, CTRLLMHeadModel),
    "InternLM 2": partial(seeded, InternLM2ForCausalLM),
    "Griffin": partial(seeded, Griffin),
    "Persimmon": partial(seeded, PersimmonForCausalLM),
    "MiniMind": partial(seeded, MiniMind),
    "OpenELM": partial(seeded, OpenELM),
    "HSTU": partial(seeded, HSTU),
    "MusicGen": partial(seeded, MusicLM),
}

KNOWN = {"CTRL": {"masks.scaled": "it adds -10,000, as its authors did, and scores of float32 can be larger"}}
