"""Decoders as further repositories write them: speedruns, TinyStories, torchtitan, NeoX, StarCoder, experts."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn

# A later speedrun: value embeddings, skips as in a U-net, a cap on the logits


def rms(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.size(-1),))


class CastedLinear(nn.Linear):
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def reset_parameters(self) -> None:
        bound = 3**0.5 * 0.5 * self.in_features**-0.5
        nn.init.uniform_(self.weight, -bound, bound)


class HalfRotary(nn.Module):
    """Half of the pairs do not turn."""

    cos: Tensor
    sin: Tensor

    def __init__(self, dim: int, max_seq_len: int) -> None:
        super().__init__()
        freq = (1 / 1024) ** torch.linspace(0, 1, steps=dim // 4)
        theta = torch.outer(torch.arange(max_seq_len).float(), torch.cat([freq, freq.new_zeros(dim // 4)]))
        self.register_buffer("cos", theta.cos(), persistent=False)
        self.register_buffer("sin", theta.sin(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        cos, sin = self.cos[None, : x.size(1), None], self.sin[None, : x.size(1), None]
        x1, x2 = x.chunk(2, dim=-1)
        return torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1)


class SpeedrunBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int, max_seq_len: int) -> None:
        super().__init__()
        self.num_heads, self.rotary = num_heads, HalfRotary(dim // num_heads, max_seq_len)
        self.qkv, self.c_proj = CastedLinear(dim, 3 * dim), CastedLinear(dim, dim)
        self.c_fc, self.c_out = CastedLinear(dim, 4 * dim), CastedLinear(4 * dim, dim)
        self.v_lambdas = nn.Parameter(torch.tensor([0.5, 0.5]))
        self.lambdas = nn.Parameter(torch.tensor([1.0, 0.1]))
        nn.init.zeros_(self.c_proj.weight)
        nn.init.zeros_(self.c_out.weight)

    def attend(self, x: Tensor, ve: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = self.qkv(x).view(b, t, 3 * self.num_heads, -1).chunk(3, dim=-2)
        q, k = self.rotary(rms(q)), self.rotary(rms(k))
        v = self.v_lambdas[0] * v + self.v_lambdas[1] * ve.view_as(v)
        y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(b, t, -1))

    def forward(self, x: Tensor, ve: Tensor, x0: Tensor) -> Tensor:
        x = self.lambdas[0] * x + self.lambdas[1] * x0
        x = x + self.attend(rms(x), ve)
        return x + self.c_out(F.relu(self.c_fc(rms(x))).square())


class SkippingGPT(nn.Module):
    """`forward(input_seq, target_seq)` returns the loss, and logits without targets, which come already moved."""

    def __init__(
        self, vocab_size: int = 59, num_layers: int = 4, num_heads: int = 2, dim: int = 32, context: int = 48
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, dim)
        self.value_embeds = nn.ModuleList([nn.Embedding(vocab_size, dim) for _ in range(2)])
        self.blocks = nn.ModuleList([SpeedrunBlock(dim, num_heads, context) for _ in range(num_layers)])
        self.half = num_layers // 2
        self.skip_weights = nn.Parameter(torch.ones(self.half))
        self.lm_head = CastedLinear(dim, vocab_size)
        nn.init.normal_(self.lm_head.weight, std=0.02)

    def forward(self, input_seq: Tensor, target_seq: Tensor | None = None) -> Tensor:
        x = x0 = rms(self.embed(input_seq))
        ve = [table(input_seq) for table in self.value_embeds]
        skips: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            if i >= self.half:
                x = x + self.skip_weights[i - self.half] * skips.pop()
            x = block(x, ve[i % len(ve)], x0)
            if i < self.half:
                skips.append(x)
        logits = self.lm_head(rms(x))
        logits = 15 * torch.tanh(logits / 15)
        if target_seq is None:
            return logits
        return F.cross_entropy(logits.view(-1, logits.size(-1)), target_seq.reshape(-1))


# A Llama for small stories, with a cache that is a class, and grouped keys and values


class KVCache:
    def __init__(self, n_layers: int) -> None:
        self.keys: list[Tensor | None] = [None] * n_layers
        self.values: list[Tensor | None] = [None] * n_layers

    @property
    def length(self) -> int:
        return 0 if self.keys[0] is None else self.keys[0].size(2)

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        old_k, old_v = self.keys[layer], self.values[layer]
        if old_k is not None and old_v is not None:
            k, v = torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)
        self.keys[layer], self.values[layer] = k, v
        return k, v


@dataclass
class StoriesConfig:
    vocab_size: int = 64
    dim: int = 32
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: int = 2
    max_seq_len: int = 48
    norm_eps: float = 1e-5


def turn(x: Tensor, start: int) -> Tensor:
    """x [B, H, T, E], of tokens from position `start`"""
    half = x.size(-1) // 2
    inv = 10000.0 ** (-torch.arange(half, dtype=x.dtype) / half)
    angle = torch.arange(start, start + x.size(2), dtype=x.dtype)[:, None] * inv
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)


class StoriesBlock(nn.Module):
    def __init__(self, config: StoriesConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.n_heads, self.n_kv = layer, config.n_heads, config.n_kv_heads
        self.head_dim = config.dim // config.n_heads
        self.wq = nn.Linear(config.dim, config.dim, bias=False)
        self.wkv = nn.Linear(config.dim, 2 * self.n_kv * self.head_dim, bias=False)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)
        self.w1, self.w3 = nn.Linear(config.dim, 88, bias=False), nn.Linear(config.dim, 88, bias=False)
        self.w2 = nn.Linear(88, config.dim, bias=False)
        self.norm1, self.norm2 = (nn.RMSNorm(config.dim, eps=config.norm_eps) for _ in range(2))

    def attention(self, x: Tensor, cache: KVCache | None, start: int) -> Tensor:
        b, t, d = x.shape
        q = self.wq(x).view(b, t, self.n_heads, self.head_dim).transpose(1, 2)
        k, v = self.wkv(x).view(b, t, 2, self.n_kv, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k = turn(q, start), turn(k, start)
        if cache is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        else:
            k, v = cache.update(self.layer, k, v)
            k = k.repeat_interleave(self.n_heads // self.n_kv, dim=1)
            v = v.repeat_interleave(self.n_heads // self.n_kv, dim=1)
            later = torch.arange(k.size(2)) > start + torch.arange(t)[:, None]
            scores = (q @ k.transpose(-2, -1) / math.sqrt(self.head_dim)).masked_fill(later, float("-inf"))
            y = scores.softmax(dim=-1) @ v
        return self.wo(y.transpose(1, 2).reshape(b, t, d))

    def forward(self, x: Tensor, cache: KVCache | None, start: int) -> Tensor:
        x = x + self.attention(self.norm1(x), cache, start)
        h = self.norm2(x)
        return x + self.w2(F.silu(self.w1(h)) * self.w3(h))


class StoriesLM(nn.Module):
    def __init__(self, config: StoriesConfig) -> None:
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList([StoriesBlock(config, i) for i in range(config.n_layers)])
        self.norm = nn.RMSNorm(config.dim, eps=config.norm_eps)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)

    def forward(self, idx: Tensor, cache: KVCache | None = None) -> Tensor:
        start = 0 if cache is None else cache.length
        x = self.tok_embeddings(idx)
        for layer in self.layers:
            x = layer(x, cache, start)
        return F.linear(self.norm(x), self.tok_embeddings.weight)

    @torch.inference_mode()
    def generate(
        self,
        idx: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        eos_id: int | None = None,
    ) -> Tensor:
        """A temperature of 0 takes the likeliest; it ends where every row has written `eos_id`."""
        cache, tokens = KVCache(self.config.n_layers), idx
        ended = torch.zeros(idx.size(0), 1, dtype=torch.bool)
        for _ in range(max_new_tokens):
            logits = self(tokens, cache)[:, -1]
            if top_k is not None:
                kth = torch.topk(logits, min(top_k, logits.size(-1))).values[:, [-1]]
                logits = logits.masked_fill(logits < kth, float("-inf"))
            if temperature == 0:
                tokens = logits.argmax(dim=-1, keepdim=True)
            else:
                tokens = torch.multinomial((logits / temperature).softmax(dim=-1), 1)
            if eos_id is not None:
                tokens = tokens.masked_fill(ended, eos_id)
                ended = ended | (tokens == eos_id)
            idx = torch.cat([idx, tokens], dim=1)
            if eos_id is not None and bool(ended.all()):
                break
        return idx


# As torchtitan has Llama: arguments in a dataclass, complex numbers for positions, the loss elsewhere


@dataclass
class TitanArgs:
    dim: int = 32
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: int | None = 2
    vocab_size: int = 70
    multiple_of: int = 16
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    max_seq_len: int = 40


def precompute_freqs_cis(dim: int, end: int, theta: float) -> Tensor:
    freqs = 1.0 / (theta ** (torch.arange(0, dim, 2)[: dim // 2].float() / dim))
    freqs = torch.outer(torch.arange(end).float(), freqs)
    return torch.polar(torch.ones_like(freqs), freqs)


def apply_rotary_emb(x: Tensor, freqs_cis: Tensor) -> Tensor:
    """x [B, T, H, E], freqs_cis [T, E / 2]"""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * freqs_cis[None, :, None, :]).flatten(3).type_as(x)


class TitanBlock(nn.Module):
    def __init__(self, layer_id: int, args: TitanArgs) -> None:
        super().__init__()
        self.n_heads, self.head_dim = args.n_heads, args.dim // args.n_heads
        self.n_kv_heads = args.n_heads if args.n_kv_heads is None else args.n_kv_heads
        self.wq = nn.Linear(args.dim, args.dim, bias=False)
        self.wk = nn.Linear(args.dim, self.n_kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(args.dim, self.n_kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(args.dim, args.dim, bias=False)
        hidden = args.multiple_of * math.ceil(8 * args.dim / 3 / args.multiple_of)
        self.w1, self.w3 = nn.Linear(args.dim, hidden, bias=False), nn.Linear(args.dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, args.dim, bias=False)
        self.attention_norm = nn.RMSNorm(args.dim, eps=args.norm_eps)
        self.ffn_norm = nn.RMSNorm(args.dim, eps=args.norm_eps)
        self.weight_init_std = 0.02 / (2 * (layer_id + 1)) ** 0.5

    def init_weights(self) -> None:
        for linear in (self.wq, self.wk, self.wv, self.w1):
            nn.init.trunc_normal_(linear.weight, std=0.02)
        for linear in (self.wo, self.w2, self.w3):
            nn.init.trunc_normal_(linear.weight, std=self.weight_init_std)

    def forward(self, x: Tensor, freqs_cis: Tensor) -> Tensor:
        bs, seqlen, _ = x.shape
        h = self.attention_norm(x)
        xq, xk, xv = (w(h).view(bs, seqlen, -1, self.head_dim) for w in (self.wq, self.wk, self.wv))
        xq, xk = apply_rotary_emb(xq, freqs_cis), apply_rotary_emb(xk, freqs_cis)
        xk, xv = (y.repeat_interleave(self.n_heads // self.n_kv_heads, dim=2) for y in (xk, xv))
        xq, xk, xv = xq.transpose(1, 2), xk.transpose(1, 2), xv.transpose(1, 2)
        y = F.scaled_dot_product_attention(xq, xk, xv, is_causal=True)
        x = x + self.wo(y.transpose(1, 2).reshape(bs, seqlen, -1))
        h = self.ffn_norm(x)
        return x + self.w2(F.silu(self.w1(h)) * self.w3(h))


class TitanTransformer(nn.Module):
    freqs_cis: Tensor

    def __init__(self, args: TitanArgs) -> None:
        super().__init__()
        self.args = args
        self.tok_embeddings = nn.Embedding(args.vocab_size, args.dim)
        freqs = precompute_freqs_cis(args.dim // args.n_heads, args.max_seq_len, args.rope_theta)
        self.register_buffer("freqs_cis", freqs, persistent=False)
        self.layers = nn.ModuleDict({str(i): TitanBlock(i, args) for i in range(args.n_layers)})
        self.norm = nn.RMSNorm(args.dim, eps=args.norm_eps)
        self.output = nn.Linear(args.dim, args.vocab_size, bias=False)
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.normal_(self.tok_embeddings.weight)
        for layer in self.layers.values():
            layer.init_weights()
        std = self.args.dim**-0.5
        nn.init.trunc_normal_(self.output.weight, std=std, a=-3 * std, b=3 * std)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.tok_embeddings(tokens)
        for layer in self.layers.values():
            h = layer(h, self.freqs_cis[: tokens.shape[1]])
        return self.output(self.norm(h))


# GPT-NeoX: sub-layers side by side, a quarter of each head turned, the fused projection a head at a time


@dataclass
class NeoXOutput:
    logits: Tensor
    past_key_values: tuple[tuple[Tensor, Tensor], ...]
    loss: Tensor | None = None


class NeoXLayer(nn.Module):
    def __init__(self, hidden: int, heads: int, rotary_pct: float) -> None:
        super().__init__()
        self.heads, self.ndims = heads, int(hidden // heads * rotary_pct)
        self.input_layernorm, self.post_attention_layernorm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.query_key_value, self.dense = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.h_to_4h, self.four_h_to_h = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)

    def rotate(self, x: Tensor, position_ids: Tensor) -> Tensor:
        inv_freq = 1.0 / (10000 ** (torch.arange(0, self.ndims, 2, dtype=x.dtype) / self.ndims))
        freqs = position_ids[:, None, :, None].to(x.dtype) * inv_freq
        cos, sin = torch.cat((freqs, freqs), dim=-1).cos(), torch.cat((freqs, freqs), dim=-1).sin()
        rot, rest = x[..., : self.ndims], x[..., self.ndims :]
        x1, x2 = rot.chunk(2, dim=-1)
        return torch.cat((rot * cos + torch.cat((-x2, x1), dim=-1) * sin, rest), dim=-1)

    def attend(
        self, x: Tensor, hidden: Tensor, position_ids: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        qkv = self.query_key_value(x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
        q, k, v = qkv.chunk(3, dim=-1)
        q, k = self.rotate(q, position_ids), self.rotate(k, position_ids)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=-2), torch.cat((past[1], v), dim=-2)
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.size(-1))
        weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(dim=-1)
        return self.dense(torch.matmul(weights, v).transpose(1, 2).flatten(2)), (k, v)

    def forward(
        self, x: Tensor, hidden: Tensor, position_ids: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        attn, present = self.attend(self.input_layernorm(x), hidden, position_ids, past)
        mlp = self.four_h_to_h(F.gelu(self.h_to_4h(self.post_attention_layernorm(x))))
        return mlp + attn + x, present


class NeoXForCausalLM(nn.Module):
    """`labels` are the ids themselves, moved inside; -100 is ignored. The mask covers the past too."""

    def __init__(self, vocab: int = 66, hidden: int = 64, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.embed_in, self.embed_out = nn.Embedding(vocab, hidden), nn.Linear(hidden, vocab, bias=False)
        self.layers = nn.ModuleList([NeoXLayer(hidden, heads, 0.25) for _ in range(depth)])
        self.final_layer_norm = nn.LayerNorm(hidden)
        self.apply(self._init_weights)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.data.normal_(mean=0.0, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias.data.zero_()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: tuple[tuple[Tensor, Tensor], ...] | None = None,
        labels: Tensor | None = None,
    ) -> NeoXOutput:
        bsz, new = input_ids.shape
        offset = past_key_values[0][0].size(-2) if past_key_values is not None else 0
        if attention_mask is None:
            attention_mask = torch.ones(bsz, offset + new, dtype=torch.long)
        position_ids = (attention_mask.long().cumsum(dim=-1) - 1).clamp(min=0)[:, offset:]
        order = torch.arange(offset + new)
        hidden = (order[None, :] > order[offset:, None])[None] | (attention_mask == 0)[:, None]
        x, presents = self.embed_in(input_ids), []
        for i, layer in enumerate(self.layers):
            past = None if past_key_values is None else past_key_values[i]
            x, present = layer(x, hidden[:, None], position_ids, past)
            presents.append(present)
        logits = self.embed_out(self.final_layer_norm(x))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return NeoXOutput(logits, tuple(presents), loss)


# StarCoder: one key and value for all heads, learned positions, the past one tensor a layer


class BigCodeBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.dim, self.heads, self.head_dim = dim, heads, dim // heads
        self.ln_1, self.ln_2 = nn.LayerNorm(dim, eps=1e-5), nn.LayerNorm(dim, eps=1e-5)
        self.c_attn, self.c_proj = nn.Linear(dim, dim + 2 * self.head_dim), nn.Linear(dim, dim)
        self.c_fc, self.c_out = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, visible: Tensor, layer_past: Tensor | None) -> tuple[Tensor, Tensor]:
        b, t, _ = x.shape
        query, key_value = self.c_attn(self.ln_1(x)).split((self.dim, 2 * self.head_dim), dim=2)
        if layer_past is not None:
            key_value = torch.cat((layer_past, key_value), dim=1)
        key, value = key_value.split((self.head_dim, self.head_dim), dim=-1)
        scores = query.reshape(b, t * self.heads, self.head_dim) @ key.transpose(1, 2) * self.head_dim**-0.5
        scores = scores.view(b, t, self.heads, -1)
        scores = torch.where(visible[:, :, None], scores, torch.finfo(scores.dtype).min)
        weights = F.softmax(scores, dim=-1)
        y = (weights.view(b, t * self.heads, -1) @ value).view(b, t, self.dim)
        x = x + self.c_proj(y)
        return x + self.c_out(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")), key_value


class BigCode(nn.Module):
    """Returns (logits, past); padding may stand at either side when `attention_mask` says where."""

    def __init__(self, vocab: int = 72, dim: int = 32, heads: int = 4, depth: int = 2, positions: int = 48) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, dim), nn.Embedding(positions, dim)
        self.h = nn.ModuleList([BigCodeBlock(dim, heads) for _ in range(depth)])
        self.ln_f = nn.LayerNorm(dim, eps=1e-5)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: list[Tensor] | None = None,
        position_ids: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        past_length = 0 if past_key_values is None else past_key_values[0].size(1)
        total = past_length + input_ids.size(1)
        if attention_mask is None:
            attention_mask = torch.ones(input_ids.size(0), total, dtype=torch.long)
        if position_ids is None:
            position_ids = attention_mask.long().cumsum(-1) - 1
            position_ids = position_ids.masked_fill(attention_mask == 0, 0)[:, past_length:]
        causal = torch.ones(total, total, dtype=torch.bool).tril()[past_length:]
        visible = causal[None] & attention_mask[:, None].bool()
        x, presents = self.wte(input_ids) + self.wpe(position_ids), []
        for i, block in enumerate(self.h):
            x, present = block(x, visible, None if past_key_values is None else past_key_values[i])
            presents.append(present)
        return F.linear(self.ln_f(x), self.wte.weight), presents


# OLMoE and Qwen's: two of six experts and one that all tokens share


@dataclass
class ExpertsConfig:
    vocab_size: int = 50
    hidden_size: int = 32
    num_experts: int = 6
    num_experts_per_tok: int = 2
    norm_topk_prob: bool = True
    router_aux_loss_coef: float = 0.01
    num_hidden_layers: int = 2
    num_attention_heads: int = 4


class ExpertMLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class SparseBlock(nn.Module):
    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.config = config
        self.gate = nn.Linear(config.hidden_size, config.num_experts, bias=False)
        self.experts = nn.ModuleList([ExpertMLP(config.hidden_size, 24) for _ in range(config.num_experts)])
        self.shared_expert = ExpertMLP(config.hidden_size, 24)
        self.shared_expert_gate = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        flat = hidden_states.view(-1, hidden_states.size(-1))
        routing = F.softmax(self.gate(flat), dim=1)
        weights, selected = torch.topk(routing, self.config.num_experts_per_tok, dim=-1)
        if self.config.norm_topk_prob:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        out = torch.zeros_like(flat)
        for number in range(self.config.num_experts):
            token, slot = torch.where(selected == number)
            out = out.index_add(0, token, self.experts[number](flat[token]) * weights[token, slot, None])
        out = out + torch.sigmoid(self.shared_expert_gate(flat)) * self.shared_expert(flat)
        share = F.one_hot(selected, self.config.num_experts).sum(dim=1).to(routing.dtype).mean(dim=0)
        return out.view_as(hidden_states), self.config.num_experts * (share * routing.mean(dim=0)).sum()


class ExpertsLM(nn.Module):
    """Returns a dict; the loss of balance is added to `loss` where there are labels, which are moved inside."""

    def __init__(self, config: ExpertsConfig) -> None:
        super().__init__()
        self.config = config
        dim, depth = config.hidden_size, config.num_hidden_layers
        self.embed_tokens, self.lm_head = nn.Embedding(config.vocab_size, dim), nn.Linear(dim, config.vocab_size)
        self.embed_positions = nn.Embedding(40, dim)
        self.qkv_proj = nn.ModuleList([nn.Linear(dim, 3 * dim, bias=False) for _ in range(depth)])
        self.o_proj = nn.ModuleList([nn.Linear(dim, dim, bias=False) for _ in range(depth)])
        self.mlp = nn.ModuleList([SparseBlock(config) for _ in range(depth)])
        self.norms = nn.ModuleList([nn.RMSNorm(dim, eps=1e-6) for _ in range(2 * depth + 1)])
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        b, t = input_ids.shape
        x = self.embed_tokens(input_ids) + self.embed_positions(torch.arange(t))
        aux = x.new_zeros(())
        for i, mlp in enumerate(self.mlp):
            qkv = self.qkv_proj[i](self.norms[2 * i](x))
            q, k, v = qkv.view(b, t, 3, self.config.num_attention_heads, -1).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.o_proj[i](y.transpose(1, 2).reshape(b, t, -1))
            mixed, balance = mlp(self.norms[2 * i + 1](x))
            x, aux = x + mixed, aux + balance / len(self.mlp)
        out = {"logits": self.lm_head(self.norms[-1](x)), "aux_loss": aux}
        if labels is not None:
            loss = F.cross_entropy(out["logits"][:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            out["loss"] = loss + self.config.router_aux_loss_coef * aux
        return out


MODELS: dict[str, Callable[[], Any]] = {
    "a speedrun with skips": partial(seeded, SkippingGPT),
    "TinyStories": partial(seeded, StoriesLM, StoriesConfig()),
    "torchtitan": partial(seeded, TitanTransformer, TitanArgs()),
    "GPT-NeoX": partial(seeded, NeoXForCausalLM),
    "StarCoder": partial(seeded, BigCode),
    "OLMoE": partial(seeded, ExpertsLM, ExpertsConfig()),
}
