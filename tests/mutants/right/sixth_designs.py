"""Decoders after BLOOM, OPT, Jamba, gpt-oss, SmolLM3, Granite, MEGABYTE and the Sparse Transformer."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from right._seeded import normal, seeded
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


@dataclass
class CausalOutput:
    logits: Tensor
    past_key_values: Any = None
    loss: Tensor | None = None


# BLOOM: distances as a bias of scores, a norm behind the embedding, keys that are kept turned over


def build_alibi(attention_mask: Tensor, n_head: int, dtype: torch.dtype) -> Tensor:
    """[B * H, 1, S]: a number for each key; the softmax takes off what a row of them has in common"""
    slopes = 2.0 ** (-8.0 / n_head * torch.arange(1, n_head + 1, dtype=dtype))
    place = (attention_mask.cumsum(dim=-1) - 1) * attention_mask
    return (slopes[None, :, None] * place[:, None, :]).flatten(0, 1)[:, None]


class BloomBlock(nn.Module):
    def __init__(self, hidden: int, n_head: int) -> None:
        super().__init__()
        self.n_head, self.head_dim = n_head, hidden // n_head
        self.input_layernorm, self.post_attention_layernorm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query_key_value, self.dense = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.dense_h_to_4h, self.dense_4h_to_h = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)

    def attend(
        self, x: Tensor, alibi: Tensor, hidden: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        b, t, _ = x.shape
        fused = self.query_key_value(x).view(b, t, self.n_head, 3, self.head_dim)
        q, k, v = (fused[..., i, :].transpose(1, 2).reshape(b * self.n_head, t, -1) for i in range(3))
        k = k.transpose(1, 2)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=1)
        scores = alibi.baddbmm(q, k, beta=1.0, alpha=1.0 / math.sqrt(self.head_dim))
        scores = scores.view(b, self.n_head, t, -1).masked_fill(hidden, torch.finfo(scores.dtype).min)
        context = torch.bmm(scores.softmax(dim=-1).flatten(0, 1), v)
        return self.dense(context.view(b, self.n_head, t, -1).transpose(1, 2).reshape(x.shape)), (k, v)

    def forward(
        self, x: Tensor, alibi: Tensor, hidden: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, present = self.attend(self.input_layernorm(x), alibi, hidden, past)
        x = x + y
        h = F.gelu(self.dense_h_to_4h(self.post_attention_layernorm(x)), approximate="tanh")
        return x + self.dense_4h_to_h(h), present


class BloomForCausalLM(nn.Module):
    """`labels` are the ids, moved inside; the mask covers the past too."""

    def __init__(self, vocab: int = 61, hidden: int = 32, n_head: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.n_head = n_head
        self.word_embeddings, self.word_embeddings_layernorm = nn.Embedding(vocab, hidden), nn.LayerNorm(hidden)
        self.h = nn.ModuleList([BloomBlock(hidden, n_head) for _ in range(depth)])
        self.ln_f, self.lm_head = nn.LayerNorm(hidden), nn.Linear(hidden, vocab, bias=False)
        normal(self)
        self.lm_head.weight = self.word_embeddings.weight

    def forward(
        self,
        input_ids: Tensor,
        past_key_values: tuple[tuple[Tensor, Tensor], ...] | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> CausalOutput:
        b, t = input_ids.shape
        past_length = 0 if past_key_values is None else past_key_values[0][0].size(2)
        if attention_mask is None:
            attention_mask = torch.ones(b, past_length + t, dtype=torch.long)
        x = self.word_embeddings_layernorm(self.word_embeddings(input_ids))
        alibi = build_alibi(attention_mask, self.n_head, x.dtype)
        order = torch.arange(past_length + t)
        hidden = (order > order[past_length:, None])[None, None] | (attention_mask[:, None, None, :] == 0)
        presents = []
        for i, block in enumerate(self.h):
            x, present = block(x, alibi, hidden, None if past_key_values is None else past_key_values[i])
            presents.append(present)
        logits = self.lm_head(self.ln_f(x))
        if labels is None:
            return CausalOutput(logits, tuple(presents))
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return CausalOutput(logits, tuple(presents), loss)


# OPT: learned positions that begin at two, narrow embeddings, writing after padding at the left


OPT_PAD, OPT_EOS = 1, 2


class OPTLearnedPositionalEmbedding(nn.Embedding):
    offset = 2

    def __init__(self, positions: int, dim: int) -> None:
        super().__init__(positions + self.offset, dim)

    def forward(self, attention_mask: Tensor, past_length: int) -> Tensor:  # type: ignore[override]
        mask = attention_mask.long()
        positions = mask.cumsum(dim=1) * mask - 1
        return super().forward(positions[:, past_length:] + self.offset)


class OPTDecoderLayer(nn.Module):
    def __init__(self, dim: int, num_heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.scaling, self.dropout = num_heads, (dim // num_heads) ** -0.5, dropout
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.fc1, self.fc2 = nn.Linear(dim, ffn_dim), nn.Linear(ffn_dim, dim)

    def shape(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.num_heads, -1).transpose(1, 2)

    def forward(
        self, x: Tensor, attention_mask: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        residual, x = x, self.self_attn_layer_norm(x)
        query, key, value = self.shape(self.q_proj(x) * self.scaling), self.shape(self.k_proj(x)), self.v_proj(x)
        value = self.shape(value)
        if past is not None:
            key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
        weights = query @ key.transpose(-1, -2) + attention_mask
        weights = weights.clamp(min=torch.finfo(weights.dtype).min).softmax(dim=-1)
        x = self.out_proj((weights @ value).transpose(1, 2).flatten(2))
        x = residual + F.dropout(x, p=self.dropout, training=self.training)
        residual = x
        x = self.fc2(F.relu(self.fc1(self.final_layer_norm(x))))
        return residual + F.dropout(x, p=self.dropout, training=self.training), (key, value)


class OPTForCausalLM(nn.Module):
    def __init__(
        self, vocab: int = 58, dim: int = 32, embed_dim: int = 24, num_heads: int = 4, depth: int = 2, length: int = 48
    ) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, embed_dim, padding_idx=OPT_PAD)
        self.embed_positions = OPTLearnedPositionalEmbedding(length, dim)
        self.project_in, self.project_out = (
            nn.Linear(embed_dim, dim, bias=False),
            nn.Linear(dim, embed_dim, bias=False),
        )
        self.layers = nn.ModuleList([OPTDecoderLayer(dim, num_heads, 4 * dim, 0.1) for _ in range(depth)])
        self.final_layer_norm = nn.LayerNorm(dim)
        self.lm_head = nn.Linear(embed_dim, vocab, bias=False)
        normal(self, 0.05)
        nn.init.zeros_(self.embed_tokens.weight[OPT_PAD].detach())
        self.lm_head.weight = self.embed_tokens.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: list[tuple[Tensor, Tensor]] | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Any]:
        b, t = input_ids.shape
        past_length = past_key_values[0][0].shape[2] if past_key_values is not None else 0
        if attention_mask is None:
            attention_mask = torch.ones(b, past_length + t, dtype=torch.long)
        x = self.project_in(self.embed_tokens(input_ids)) + self.embed_positions(attention_mask, past_length)
        lowest = torch.finfo(x.dtype).min
        causal = torch.full((t, past_length + t), lowest, dtype=x.dtype).triu(past_length + 1)
        padding = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * lowest
        additive = (causal + padding).clamp(min=lowest)
        presents = []
        for i, layer in enumerate(self.layers):
            x, present = layer(x, additive, None if past_key_values is None else past_key_values[i])
            presents.append(present)
        logits = self.lm_head(self.project_out(self.final_layer_norm(x)))
        out: dict[str, Any] = {"logits": logits, "past_key_values": presents}
        if labels is not None:
            out["loss"] = F.cross_entropy(logits[:, :-1].transpose(1, 2), labels[:, 1:])
        return out

    @torch.no_grad()
    def generate(self, input_ids: Tensor, max_new_tokens: int = 8, attention_mask: Tensor | None = None) -> Tensor:
        """The likeliest tokens after the prompts, which it returns too; a row has padding after its end."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        unfinished = torch.ones(len(input_ids), dtype=torch.long)
        past, step = None, input_ids
        for _ in range(max_new_tokens):
            out = self(step, mask, past)
            past = out["past_key_values"]
            token = out["logits"][:, -1].argmax(dim=-1) * unfinished + OPT_PAD * (1 - unfinished)
            unfinished = unfinished * (token != OPT_EOS).long()
            step = token[:, None]
            input_ids, mask = torch.cat([input_ids, step], dim=1), torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            if unfinished.max() == 0:
                break
        return input_ids


# Jamba: two layers with a selective state to one with attention, which has no positions; experts in every second


class MambaMixer(nn.Module):
    def __init__(self, dim: int, d_state: int = 4, d_conv: int = 4, dt_rank: int = 2) -> None:
        super().__init__()
        inner = 2 * dim
        self.d_state, self.dt_rank = d_state, dt_rank
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner, padding=d_conv - 1)
        self.x_proj, self.dt_proj = nn.Linear(inner, dt_rank + 2 * d_state, bias=False), nn.Linear(dt_rank, inner)
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        u, gate = self.in_proj(x).chunk(2, dim=-1)
        u = F.silu(self.conv1d(u.transpose(1, 2))[..., : x.size(1)].transpose(1, 2))
        dt, into, out_of = self.x_proj(u).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        dt = F.softplus(self.dt_proj(dt))[..., None]
        decay = torch.exp(dt * -self.A_log.exp())
        drive = dt * into[:, :, None, :] * u[..., None]
        state, outputs = torch.zeros_like(drive[:, 0]), []
        for t in range(x.size(1)):
            state = decay[:, t] * state + drive[:, t]
            outputs.append((state * out_of[:, t, None, :]).sum(dim=-1))
        y = torch.stack(outputs, dim=1) + u * self.D
        return self.out_proj(y * F.silu(gate))


class JambaAttention(nn.Module):
    def __init__(self, dim: int, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self.num_heads, self.groups, self.head_dim = num_heads, num_heads // num_kv_heads, dim // num_heads
        self.q_proj, self.o_proj = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(dim, num_kv_heads * self.head_dim, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        query, key, value = (f(x).view(b, t, -1, self.head_dim) for f in (self.q_proj, self.k_proj, self.v_proj))
        query = query.view(b, t, -1, self.groups, self.head_dim)
        scores = torch.einsum("btgre,bsge->bgrts", query, key) / math.sqrt(self.head_dim)
        scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float("-inf"))
        return self.o_proj(torch.einsum("bgrts,bsge->btgre", scores.softmax(dim=-1), value).reshape(b, t, -1))


class JambaMLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class JambaExperts(nn.Module):
    def __init__(self, dim: int, hidden: int, num_experts: int = 4, top_k: int = 2) -> None:
        super().__init__()
        self.top_k, self.router = top_k, nn.Linear(dim, num_experts, bias=False)
        self.experts = nn.ModuleList([JambaMLP(dim, hidden) for _ in range(num_experts)])

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, 1)
        weights, chosen = self.router(flat).softmax(dim=-1).topk(self.top_k, dim=-1)
        mixed = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            token, rank = torch.where(chosen == number)
            mixed = mixed.index_add(0, token, expert(flat[token]) * weights[token, rank, None])
        return mixed.view_as(x)


class Jamba(nn.Module):
    """Returns (logits,), or (loss, logits) with labels, which are the ids themselves."""

    def __init__(self, vocab: int = 57, dim: int = 32, pattern: str = "mam", num_heads: int = 4) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab, dim)
        self.mixers = nn.ModuleList(
            [MambaMixer(dim) if p == "m" else JambaAttention(dim, num_heads, 2) for p in pattern]
        )
        self.feeds = nn.ModuleList([JambaExperts(dim, 48) if i % 2 else JambaMLP(dim, 64) for i in range(len(pattern))])
        self.norms = nn.ModuleList([nn.RMSNorm(dim, eps=1e-6) for _ in range(2 * len(pattern) + 1)])
        self.lm_head = nn.Linear(dim, vocab, bias=False)
        normal(self)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        x = self.embed_tokens(input_ids)
        for i, (mixer, feed) in enumerate(zip(self.mixers, self.feeds, strict=True)):
            x = x + mixer(self.norms[2 * i](x))
            x = x + feed(self.norms[2 * i + 1](x))
        logits = self.lm_head(self.norms[-1](x))
        if labels is None:
            return (logits,)
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()), logits


# gpt-oss: a learned sink for each head, a window in every second layer, experts as stacks of matrices


@dataclass
class OssConfig:
    vocab_size: int = 64
    hidden_size: int = 32
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 8
    num_experts: int = 4
    experts_per_token: int = 2
    intermediate_size: int = 32
    sliding_window: int = 8
    swiglu_limit: float = 7.0
    rope_theta: float = 150000.0


class OssAttention(nn.Module):
    def __init__(self, config: OssConfig, layer: int) -> None:
        super().__init__()
        self.config, self.window = config, config.sliding_window if layer % 2 == 0 else 0
        wide, narrow = config.num_attention_heads, config.num_key_value_heads
        self.norm = nn.RMSNorm(config.hidden_size, eps=1e-5)
        self.qkv = nn.Linear(config.hidden_size, (wide + 2 * narrow) * config.head_dim)
        self.out = nn.Linear(wide * config.head_dim, config.hidden_size)
        self.sinks = nn.Parameter(torch.randn(wide) * 0.02)

    def rope(self, x: Tensor) -> Tensor:
        """x [B, T, G, E]"""
        half = x.size(-1) // 2
        inv = self.config.rope_theta ** (-torch.arange(half, dtype=x.dtype) / half)
        angle = (torch.arange(x.size(1), dtype=x.dtype)[:, None] * inv)[:, None]
        x1, x2 = x.chunk(2, dim=-1)
        return torch.cat((x1 * angle.cos() - x2 * angle.sin(), x2 * angle.cos() + x1 * angle.sin()), dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        c = self.config
        sizes = [c.num_attention_heads, c.num_key_value_heads, c.num_key_value_heads]
        q, k, v = self.qkv(self.norm(x)).view(b, t, -1, c.head_dim).split(sizes, dim=2)
        groups = c.num_attention_heads // c.num_key_value_heads
        q = self.rope(q).unflatten(2, (c.num_key_value_heads, groups))
        qk = torch.einsum("bqhmd,bkhd->bhmqk", q, self.rope(k)) / math.sqrt(c.head_dim)
        hidden = torch.ones(t, t, dtype=torch.bool).triu(1)
        if self.window > 0:
            hidden = hidden | torch.ones(t, t, dtype=torch.bool).tril(-self.window)
        qk = qk.masked_fill(hidden, float("-inf"))
        sink = self.sinks.view(1, c.num_key_value_heads, groups, 1, 1).expand(b, -1, -1, t, -1)
        w = torch.cat([qk, sink], dim=-1).softmax(dim=-1)[..., :-1]
        return x + self.out(torch.einsum("bhmqk,bkhd->bqhmd", w, v).flatten(2))


class OssExperts(nn.Module):
    def __init__(self, config: OssConfig) -> None:
        super().__init__()
        self.config, width, hidden = config, config.hidden_size, config.intermediate_size
        self.norm, self.gate = nn.RMSNorm(width, eps=1e-5), nn.Linear(width, config.num_experts)
        self.mlp1_weight = nn.Parameter(torch.randn(config.num_experts, 2 * hidden, width) * 0.02)
        self.mlp1_bias = nn.Parameter(torch.zeros(config.num_experts, 2 * hidden))
        self.mlp2_weight = nn.Parameter(torch.randn(config.num_experts, width, hidden) * 0.02)
        self.mlp2_bias = nn.Parameter(torch.zeros(config.num_experts, width))

    def swiglu(self, x: Tensor) -> Tensor:
        glu, linear = x[..., ::2], x[..., 1::2]
        glu = glu.clamp(max=self.config.swiglu_limit)
        linear = linear.clamp(min=-self.config.swiglu_limit, max=self.config.swiglu_limit)
        return glu * torch.sigmoid(1.702 * glu) * (linear + 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        best = self.gate(h).topk(self.config.experts_per_token, dim=-1)
        weights, chosen = best.values.softmax(dim=-1), best.indices
        h = torch.einsum("btefd,btd->btef", self.mlp1_weight[chosen], h) + self.mlp1_bias[chosen]
        h = torch.einsum("btedf,btef->bted", self.mlp2_weight[chosen], self.swiglu(h)) + self.mlp2_bias[chosen]
        return x + torch.einsum("bted,bte->btd", h, weights)


class GptOss(nn.Module):
    def __init__(self, config: OssConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.block = nn.ModuleList(
            [nn.Sequential(OssAttention(config, i), OssExperts(config)) for i in range(config.num_hidden_layers)]
        )
        self.norm = nn.RMSNorm(config.hidden_size, eps=1e-5)
        self.unembedding = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        normal(self)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for block in self.block:
            x = block(x)
        return self.unembedding(self.norm(x))


# SmolLM3: every second layer has no positions; a cache of a fixed length, written in at given places


class StaticCache:
    def __init__(self, batch: int, depth: int, n_kv: int, length: int, head_dim: int, dtype: torch.dtype) -> None:
        self.key_cache = [torch.zeros(batch, n_kv, length, head_dim, dtype=dtype) for _ in range(depth)]
        self.value_cache = [torch.zeros_like(keys) for keys in self.key_cache]
        self.seen = 0

    def update(self, layer: int, key: Tensor, value: Tensor, cache_position: Tensor) -> tuple[Tensor, Tensor]:
        self.key_cache[layer] = self.key_cache[layer].index_copy(2, cache_position, key)
        self.value_cache[layer] = self.value_cache[layer].index_copy(2, cache_position, value)
        self.seen = int(cache_position[-1]) + 1
        return self.key_cache[layer], self.value_cache[layer]


class SmolLayer(nn.Module):
    def __init__(self, dim: int, n_heads: int, n_kv: int, layer: int) -> None:
        super().__init__()
        self.n_kv, self.head_dim, self.layer, self.use_rope = n_kv, dim // n_heads, layer, layer % 2 == 0
        self.q_proj, self.o_proj = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(dim, n_kv * self.head_dim, bias=False) for _ in range(2))
        self.gate_up, self.down = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(2 * dim, dim, bias=False)
        self.norm1, self.norm2 = nn.RMSNorm(dim, eps=1e-6), nn.RMSNorm(dim, eps=1e-6)

    def rotate(self, x: Tensor, position: Tensor) -> Tensor:
        inv = 10000.0 ** (-torch.arange(0, self.head_dim, 2, dtype=x.dtype) / self.head_dim)
        angle = torch.outer(position.to(x.dtype), torch.cat([inv, inv]))
        x1, x2 = x.chunk(2, dim=-1)
        return x * angle.cos() + torch.cat([-x2, x1], dim=-1) * angle.sin()

    def forward(self, x: Tensor, visible: Tensor, cache_position: Tensor, cache: StaticCache | None) -> Tensor:
        b, t, _ = x.shape
        h = self.norm1(x)
        q, k, v = (f(h).view(b, t, -1, self.head_dim).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        if self.use_rope:
            q, k = self.rotate(q, cache_position), self.rotate(k, cache_position)
        if cache is not None:
            k, v = cache.update(self.layer, k, v, cache_position)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, enable_gqa=True)
        x = x + self.o_proj(y.transpose(1, 2).reshape(b, t, -1))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class SmolLM(nn.Module):
    def __init__(
        self, vocab: int = 60, dim: int = 32, n_heads: int = 4, n_kv: int = 2, depth: int = 2, length: int = 48
    ) -> None:
        super().__init__()
        self.n_kv, self.head_dim, self.length = n_kv, dim // n_heads, length
        self.embed_tokens, self.norm = nn.Embedding(vocab, dim), nn.RMSNorm(dim, eps=1e-6)
        self.layers = nn.ModuleList([SmolLayer(dim, n_heads, n_kv, i) for i in range(depth)])
        normal(self)

    def forward(
        self,
        input_ids: Tensor,
        past_key_values: StaticCache | None = None,
        cache_position: Tensor | None = None,
        use_cache: bool = False,
    ) -> CausalOutput:
        b, t = input_ids.shape
        x = self.embed_tokens(input_ids)
        if use_cache and past_key_values is None:
            past_key_values = StaticCache(b, len(self.layers), self.n_kv, self.length, self.head_dim, x.dtype)
        start = 0 if past_key_values is None else past_key_values.seen
        if cache_position is None:
            cache_position = torch.arange(start, start + t)
        keys = t if past_key_values is None else self.length
        visible = torch.arange(keys) <= cache_position[:, None]
        for layer in self.layers:
            x = layer(x, visible, cache_position, past_key_values)
        return CausalOutput(F.linear(self.norm(x), self.embed_tokens.weight), past_key_values)

    @torch.no_grad()
    def generate(self, input_ids: Tensor, max_new_tokens: int, temperature: float = 0.0, top_p: float = 1.0) -> Tensor:
        """A temperature of 0 takes the likeliest; top_p leaves the fewest tokens that have this much together."""
        cache, step = None, input_ids
        for _ in range(max_new_tokens):
            out = self(step, cache, use_cache=True)
            cache, logits = out.past_key_values, out.logits[:, -1]
            if temperature == 0.0:
                step = logits.argmax(dim=-1, keepdim=True)
            else:
                probs, order = (logits / temperature).softmax(dim=-1).sort(dim=-1, descending=True)
                probs = probs.masked_fill(probs.cumsum(dim=-1) - probs >= top_p, 0.0)
                step = order.gather(1, torch.multinomial(probs, 1))
            input_ids = torch.cat([input_ids, step], dim=1)
        return input_ids


# Granite: multipliers that carry settings from narrow models to wide ones; scores divided by the width of a head


@dataclass
class GraniteConfig:
    vocab_size: int = 62
    n_embd: int = 32
    n_head: int = 4
    n_layer: int = 2
    base_width: int = 16
    embedding_multiplier: float = 10.0
    residual_multiplier: float = 0.7
    logits_scaling: float = 2.0


class GraniteBlock(nn.Module):
    def __init__(self, config: GraniteConfig) -> None:
        super().__init__()
        self.n_head, self.multiplier, dim = config.n_head, config.residual_multiplier, config.n_embd
        self.attn_norm, self.ffn_norm = nn.RMSNorm(dim, eps=1e-5), nn.RMSNorm(dim, eps=1e-5)
        self.wqkv, self.wo = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.w1, self.w2 = nn.Linear(dim, 6 * dim, bias=False), nn.Linear(3 * dim, dim, bias=False)

    def rotate(self, x: Tensor) -> Tensor:
        """x [B, H, T, E], pairs that stand beside each other"""
        e = x.size(-1)
        freq = 10000.0 ** (-torch.arange(0, e, 2, dtype=x.dtype) / e)
        angle = torch.arange(x.size(2), dtype=x.dtype)[:, None] * freq
        even, odd = x[..., 0::2], x[..., 1::2]
        turned = (even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos())
        return torch.stack(turned, dim=-1).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = (y.view(b, t, self.n_head, -1).transpose(1, 2) for y in self.wqkv(self.attn_norm(x)).split(d, dim=2))
        q, k = self.rotate(q), self.rotate(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0 / q.size(-1))
        x = x + self.multiplier * self.wo(y.transpose(1, 2).reshape(b, t, d))
        gate, up = self.w1(self.ffn_norm(x)).chunk(2, dim=-1)
        return x + self.multiplier * self.w2(F.silu(gate) * up)


class Granite(nn.Module):
    """Targets come moved, and -1 is not counted; matrices learn slower the wider they are."""

    def __init__(self, config: GraniteConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.blocks = nn.ModuleList([GraniteBlock(config) for _ in range(config.n_layer)])
        self.norm = nn.RMSNorm(config.n_embd, eps=1e-5)
        nn.init.normal_(self.wte.weight, std=0.1)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        x = self.wte(idx) * self.config.embedding_multiplier
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.wte.weight) / self.config.logits_scaling
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-1)

    def configure_optimizers(self, learning_rate: float = 1e-2, weight_decay: float = 0.1) -> torch.optim.AdamW:
        scale = self.config.base_width / self.config.n_embd
        matrices = [p for p in self.blocks.parameters() if p.dim() == 2]
        others = [self.wte.weight, *(p for p in self.parameters() if p.dim() < 2)]
        groups = [
            {"params": matrices, "lr": learning_rate * scale, "weight_decay": weight_decay / scale},
            {"params": others, "lr": learning_rate, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, betas=(0.9, 0.95))


# MEGABYTE: a wide network for patches, and a narrow one for the bytes of each


class ByteAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(dim)
        self.to_qkv, self.to_out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.to_qkv(self.norm(x)), "b n (three h d) -> three b h n d", three=3, h=self.heads)
        sim = torch.einsum("bhid,bhjd->bhij", q * q.shape[-1] ** -0.5, k)
        i, j = sim.shape[-2:]
        sim = sim.masked_fill(torch.ones((i, j), dtype=torch.bool).triu(j - i + 1), -torch.finfo(sim.dtype).max)
        out = torch.einsum("bhij,bhjd->bhid", sim.softmax(dim=-1), v)
        return self.to_out(rearrange(out, "b h n d -> b n (h d)"))


def byte_layers(dim: int, heads: int, depth: int) -> nn.ModuleList:
    feed = lambda: nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))  # noqa: E731
    return nn.ModuleList([nn.ModuleList([ByteAttention(dim, heads), feed()]) for _ in range(depth)])


class Megabyte(nn.Module):
    """logits[:, t] is for the byte after t; the loss takes in the first byte as well, and leaves out padding, 0."""

    def __init__(self, num_tokens: int = 65, dim: int = 32, local: int = 24, patch: int = 4, length: int = 48) -> None:
        super().__init__()
        self.patch = patch
        self.global_emb, self.local_emb = nn.Embedding(num_tokens, dim // 4), nn.Embedding(num_tokens, local)
        self.to_patch = nn.Sequential(nn.Linear(patch * (dim // 4), dim), nn.LayerNorm(dim))
        self.patch_pos, self.local_pos = nn.Embedding(length // patch + 1, dim), nn.Embedding(patch, local)
        self.global_start, self.local_start = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(local))
        self.global_layers, self.local_layers = byte_layers(dim, 4, 2), byte_layers(local, 3, 1)
        self.to_local = nn.Linear(dim, patch * local)
        self.final, self.to_logits = nn.LayerNorm(local), nn.Linear(local, num_tokens)
        normal(self)

    def predict(self, ids: Tensor) -> Tensor:
        """Logits [B, T + 1, V] for each byte from those before it, and for the one after all."""
        b, n = ids.shape
        patches = n // self.patch + 1
        ids = rearrange(F.pad(ids, (0, patches * self.patch - n)), "b (k p) -> b k p", p=self.patch)
        x = self.to_patch(rearrange(self.global_emb(ids), "b k p d -> b k (p d)"))[:, :-1]
        x = torch.cat([self.global_start.expand(b, 1, -1), x], dim=1) + self.patch_pos.weight[:patches]
        for attn, feed in self.global_layers:
            x = x + attn(x)
            x = x + feed(x)
        y = self.local_emb(rearrange(ids, "b k p -> (b k) p"))[:, :-1]
        y = torch.cat([self.local_start.expand(len(y), 1, -1), y], dim=1) + self.local_pos.weight
        y = y + rearrange(self.to_local(x), "b k (p d) -> (b k) p d", p=self.patch)
        for attn, feed in self.local_layers:
            y = y + attn(y)
            y = y + feed(y)
        return rearrange(self.to_logits(self.final(y)), "(b k) p v -> b (k p) v", b=b)[:, : n + 1]

    def forward(self, ids: Tensor, return_loss: bool = False) -> Tensor:
        logits = self.predict(ids)
        if return_loss:
            return F.cross_entropy(rearrange(logits[:, :-1], "b n v -> b v n"), ids, ignore_index=0)
        return logits[:, 1:]


# A Sparse Transformer for pixels: half of the heads see the last ones, half of them those above


class SparseBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.ln_1, self.ln_2 = heads, nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn_in, self.attn_out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, allowed: Tensor) -> Tensor:
        q, k, v = self.attn_in(self.ln_1(x)).chunk(3, dim=-1)
        q, k, v = (each.unflatten(-1, (self.heads, -1)).transpose(1, 2) for each in (q, k, v))
        scores = torch.where(allowed, q @ k.mT / q.size(-1) ** 0.5, float("-inf"))
        x = x + self.attn_out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))


class SparsePixels(nn.Module):
    """logits[:, t] is for pixel t and sees those before it alone: a start is put in front, the last one left out."""

    def __init__(
        self, colours: int = 48, dim: int = 32, heads: int = 4, depth: int = 2, side: int = 6, saving: bool = True
    ) -> None:
        super().__init__()
        self.side, self.heads, self.saving = side, heads, saving
        self.colour, self.start = nn.Embedding(colours, dim), nn.Parameter(torch.randn(dim) * 0.02)
        self.row, self.column = nn.Embedding(side, dim), nn.Embedding(side, dim)
        self.blocks = nn.ModuleList([SparseBlock(dim, heads) for _ in range(depth)])
        self.ln_f, self.head = nn.LayerNorm(dim), nn.Linear(dim, colours, bias=False)
        normal(self)

    def allowed(self, t: int) -> Tensor:
        """[H, T, T]: pixels of the last `side` places for the first heads, those of the same column for the others."""
        place = torch.arange(t)
        back = place[:, None] - place
        near, above = (back >= 0) & (back < self.side), (back >= 0) & (back % self.side == 0)
        return torch.stack([near] * (self.heads // 2) + [above] * (self.heads - self.heads // 2))

    def forward(self, pixels: Tensor) -> Tensor:
        b, t = pixels.shape
        x = torch.cat([self.start.expand(b, 1, -1), self.colour(pixels[:, :-1])], dim=1)
        place = torch.arange(t)
        x = x + self.row(place // self.side) + self.column(place % self.side)
        allowed = self.allowed(t)
        for block in self.blocks:
            if self.saving and self.training:
                x = checkpoint(block, x, allowed, use_reentrant=False)
            else:
                x = block(x, allowed)
        return self.head(self.ln_f(x))

    def loss(self, pixels: Tensor) -> Tensor:
        return F.cross_entropy(self(pixels).transpose(1, 2), pixels)

    @torch.no_grad()
    def paint(self, begun: Tensor, length: int) -> Tensor:
        """The likeliest pixels [B, length] after those that are begun [B, T], which it returns too."""
        while begun.size(1) < length:
            logits = self(F.pad(begun, (0, 1)))[:, -1]
            begun = torch.cat([begun, logits.argmax(dim=-1, keepdim=True)], dim=1)
        return begun


MODELS: dict[str, Callable[[], Any]] = {
    "BLOOM": partial(seeded, BloomForCausalLM),
    "OPT": partial(seeded, OPTForCausalLM),
    "Jamba": partial(seeded, Jamba),
    "gpt-oss": partial(seeded, GptOss, OssConfig()),
    "SmolLM3": partial(seeded, SmolLM),
    "Granite": partial(seeded, Granite, GraniteConfig()),
    "MEGABYTE": partial(seeded, Megabyte),
    "Sparse Transformer": partial(seeded, SparsePixels),
}
