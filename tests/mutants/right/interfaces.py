"""Decoders whose interfaces are those of well-known repositories: torchtune, LitGPT, gpt-fast, Megatron-LM,
DeepSeek-V3, multi-token prediction, nanochat, Transformer-XL, fairseq, Lightning, Mixtral, Composer, picoGPT."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn

VOCAB, CONTEXT, WIDTH, HEADS, LAYERS = 43, 24, 32, 4, 2
HEAD = WIDTH // HEADS


# parts for the models below


def split(x: Tensor, heads: int = HEADS) -> Tensor:
    """[B, T, H * E] to [B, H, T, E]"""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def angles(width: int, length: int = CONTEXT, base: float = 10000.0) -> Tensor:
    return torch.outer(torch.arange(length).float(), base ** -(torch.arange(0, width, 2) / width))


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """In halves; cos and sin broadcast to x's halves."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def small(model: nn.Module, std: float = 0.02) -> None:
    for weight in model.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=std)


class GatedMLP(nn.Module):
    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.w1, self.w3 = nn.Linear(WIDTH, hidden, bias=False), nn.Linear(WIDTH, hidden, bias=False)
        self.w2 = nn.Linear(hidden, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))


# torchtune: keyword-only mask and positions, caches that are modules and are set up and reset by methods


class KVCache(nn.Module):
    def __init__(self, batch_size: int, max_seq_len: int, num_kv_heads: int) -> None:
        super().__init__()
        shape = (batch_size, num_kv_heads, max_seq_len, HEAD)
        self.register_buffer("k_cache", torch.zeros(shape), persistent=False)
        self.register_buffer("v_cache", torch.zeros(shape), persistent=False)
        self.register_buffer("cache_pos", torch.arange(max_seq_len), persistent=False)

    def reset(self) -> None:
        self.k_cache.zero_()
        self.v_cache.zero_()
        self.cache_pos -= int(self.cache_pos[0])

    def update(self, k_val: Tensor, v_val: Tensor) -> tuple[Tensor, Tensor]:
        seq_len = k_val.shape[2]
        self.k_cache[:, :, self.cache_pos[:seq_len]] = k_val
        self.v_cache[:, :, self.cache_pos[:seq_len]] = v_val
        self.cache_pos.add_(seq_len)
        return self.k_cache, self.v_cache


class TuneAttention(nn.Module):
    num_kv_heads = 2

    def __init__(self) -> None:
        super().__init__()
        kv = self.num_kv_heads * HEAD
        self.q_proj, self.output_proj = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.k_proj, self.v_proj = nn.Linear(WIDTH, kv, bias=False), nn.Linear(WIDTH, kv, bias=False)
        self.kv_cache: KVCache | None = None
        table = angles(HEAD)
        self.register_buffer("cache", torch.stack([table.cos(), table.sin()], dim=-1), persistent=False)

    def pos_embeddings(self, x: Tensor, input_pos: Tensor | None) -> Tensor:
        """x [B, T, H, E] in pairs of neighbours"""
        rope = self.cache[: x.size(1)] if input_pos is None else self.cache[input_pos]
        rope = rope.view(-1, x.size(1), 1, HEAD // 2, 2).to(x.dtype)
        a, b = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
        turned = [a * rope[..., 0] - b * rope[..., 1], b * rope[..., 0] + a * rope[..., 1]]
        return torch.stack(turned, dim=-1).flatten(3)

    def forward(self, x: Tensor, *, mask: Tensor | None, input_pos: Tensor | None) -> Tensor:
        q, k, v = (proj(x).unflatten(-1, (-1, HEAD)) for proj in (self.q_proj, self.k_proj, self.v_proj))
        q, k = self.pos_embeddings(q, input_pos), self.pos_embeddings(k, input_pos)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if self.kv_cache is not None:
            k, v = self.kv_cache.update(k, v)
        k, v = (part.repeat_interleave(HEADS // self.num_kv_heads, dim=1) for part in (k, v))
        mask = None if mask is None else mask[:, None, :, :]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.kv_cache is None and mask is None)
        return self.output_proj(merge(out))


class TuneLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp = TuneAttention(), GatedMLP()
        self.sa_norm, self.mlp_norm = nn.RMSNorm(WIDTH, eps=1e-5), nn.RMSNorm(WIDTH, eps=1e-5)

    def forward(self, x: Tensor, *, mask: Tensor | None = None, input_pos: Tensor | None = None) -> Tensor:
        h = self.attn(self.sa_norm(x), mask=mask, input_pos=input_pos) + x
        return h + self.mlp(self.mlp_norm(h))


class TransformerDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tok_embeddings, self.max_seq_len = nn.Embedding(VOCAB, WIDTH), CONTEXT
        self.layers = nn.ModuleList([TuneLayer() for _ in range(LAYERS)])
        self.norm, self.output = nn.RMSNorm(WIDTH, eps=1e-5), nn.Linear(WIDTH, VOCAB, bias=False)
        small(self)

    def setup_caches(self, batch_size: int, *, decoder_max_seq_len: int | None = None) -> None:
        for layer in self.layers:
            length = decoder_max_seq_len or self.max_seq_len
            layer.attn.kv_cache = KVCache(batch_size, length, layer.attn.num_kv_heads)

    def caches_are_enabled(self) -> bool:
        return self.layers[0].attn.kv_cache is not None

    def reset_caches(self) -> None:
        if not self.caches_are_enabled():
            raise RuntimeError("Key value caches are not setup. Call ``setup_caches()`` first.")
        for layer in self.layers:
            layer.attn.kv_cache.reset()

    def forward(self, tokens: Tensor, *, mask: Tensor | None = None, input_pos: Tensor | None = None) -> Tensor:
        seq_len = tokens.shape[1]
        if seq_len > self.max_seq_len:
            raise ValueError(f"seq_len ({seq_len}) of input tensor should be smaller than max_seq_len")
        if self.caches_are_enabled() and (mask is None or input_pos is None):
            raise ValueError("mask and input_pos must be provided for incremental decoding")
        h = self.tok_embeddings(tokens)
        for layer in self.layers:
            h = layer(h, mask=mask, input_pos=input_pos)
        return self.output(self.norm(h))


# LitGPT: a padded vocabulary, parallel residuals, part of each head rotated, caches by `set_kv_cache`


class LitBlock(nn.Module):
    rope_n_elem = 4

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attn, self.proj, self.mlp = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH), mlp()
        self.kv_cache: tuple[Tensor, Tensor] | None = None

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        return torch.cat((rotate(x[..., : self.rope_n_elem], cos, sin), x[..., self.rope_n_elem :]), dim=-1)

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, input_pos: Tensor | None) -> Tensor:
        q, k, v = self.attn(x).unflatten(-1, (HEADS, 3, HEAD)).permute(3, 0, 2, 1, 4)
        q, k = self.rope(q, cos, sin), self.rope(k, cos, sin)
        if input_pos is not None and self.kv_cache is not None:
            for kept, new in zip(self.kv_cache, (k, v), strict=True):
                kept[: len(x)].index_copy_(2, input_pos, new)
            k, v = (kept[: len(x)] for kept in self.kv_cache)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.proj(merge(y))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, input_pos: Tensor | None) -> Tensor:
        return x + self.attend(self.norm_1(x), cos, sin, mask, input_pos) + self.mlp(self.norm_2(x))


class LitGPT(nn.Module):
    padded_vocab_size = 64

    def __init__(self) -> None:
        super().__init__()
        self.lm_head = nn.Linear(WIDTH, self.padded_vocab_size, bias=False)
        blocks = nn.ModuleList([LitBlock() for _ in range(LAYERS)])
        wte = nn.Embedding(self.padded_vocab_size, WIDTH)
        self.transformer = nn.ModuleDict({"wte": wte, "h": blocks, "ln_f": nn.LayerNorm(WIDTH)})
        self.max_seq_length, self.mask_cache = CONTEXT, None
        small(self)

    @property
    def max_seq_length(self) -> int:
        return self._max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self._max_seq_length = value
        table = angles(LitBlock.rope_n_elem, value)
        self.register_buffer("cos", table.cos(), persistent=False)
        self.register_buffer("sin", table.sin(), persistent=False)

    def set_kv_cache(self, batch_size: int) -> None:
        for block in self.transformer["h"]:
            block.kv_cache = tuple(torch.zeros(batch_size, HEADS, self.max_seq_length, HEAD) for _ in range(2))
        ones = torch.ones((self.max_seq_length, self.max_seq_length), dtype=torch.bool)
        self.mask_cache = torch.tril(ones)[None, None]

    def clear_kv_cache(self) -> None:
        self.mask_cache = None
        for block in self.transformer["h"]:
            block.kv_cache = None

    def forward(self, idx: Tensor, input_pos: Tensor | None = None) -> Tensor:
        T = idx.size(1)  # noqa: N806
        if self.max_seq_length < T:
            raise ValueError(f"Cannot forward sequence of length {T}, max seq length is only {self.max_seq_length}.")
        if input_pos is not None:
            if self.mask_cache is None:
                raise TypeError("You need to call `gpt.set_kv_cache()`")
            cos, sin = self.cos[input_pos], self.sin[input_pos]
            mask = self.mask_cache.index_select(2, input_pos)
        else:
            cos, sin, mask = self.cos[:T], self.sin[:T], None
        x = self.transformer["wte"](idx)
        for block in self.transformer["h"]:
            x = block(x, cos, sin, mask, input_pos)
        return self.lm_head(self.transformer["ln_f"](x))


# gpt-fast: positions must be given, keys and values are written where they say


class FastGPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tok_embeddings, self.output = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.wqkv = nn.ModuleList([nn.Linear(WIDTH, 3 * WIDTH, bias=False) for _ in range(LAYERS)])
        self.wo = nn.ModuleList([nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)])
        self.feed_forward = nn.ModuleList([GatedMLP() for _ in range(LAYERS)])
        self.norms = nn.ModuleList([nn.RMSNorm(WIDTH) for _ in range(2 * LAYERS + 1)])
        table = angles(HEAD)
        self.register_buffer("freqs_cis", torch.stack([table.cos(), table.sin()]), persistent=False)
        self.register_buffer("causal_mask", torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).tril(), persistent=False)
        self.kv: list[tuple[Tensor, Tensor]] | None = None
        small(self)

    def setup_caches(self, max_batch_size: int, max_seq_length: int) -> None:
        shape = (max_batch_size, HEADS, max_seq_length, HEAD)
        self.kv = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(LAYERS)]

    def forward(self, idx: Tensor, input_pos: Tensor) -> Tensor:
        mask = self.causal_mask[None, None, input_pos]
        cos, sin = self.freqs_cis[:, input_pos]
        mask = mask if self.kv is not None else mask[..., input_pos]
        x = self.tok_embeddings(idx)
        for i in range(LAYERS):
            q, k, v = (split(part) for part in self.wqkv[i](self.norms[2 * i](x)).chunk(3, dim=-1))
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
            if self.kv is not None:
                for kept, new in zip(self.kv[i], (k, v), strict=True):
                    kept[: len(idx), :, input_pos] = new
                k, v = (kept[: len(idx)] for kept in self.kv[i])
            x = x + self.wo[i](merge(F.scaled_dot_product_attention(q, k, v, attn_mask=mask)))
            x = x + self.feed_forward[i](self.norms[2 * i + 1](x))
        return self.output(self.norms[-1](x))


# Megatron-LM: activations [T, B, D], a mask whose True hides, a loss a token where labels are given


class ParallelTransformerLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query_key_value, self.dense, self.mlp = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH), mlp()
        self.attention_dropout, self.hidden_dropout = nn.Dropout(0.1), nn.Dropout(0.1)

    def core_attention(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        sq, b, _ = x.shape
        mixed = self.query_key_value(x).view(sq, b, HEADS, 3 * HEAD)
        q, k, v = (part.reshape(sq, b * HEADS, HEAD) for part in mixed.split(HEAD, dim=-1))
        empty = torch.empty(b * HEADS, sq, sq, dtype=x.dtype)
        scores = torch.baddbmm(empty, q.transpose(0, 1), k.permute(1, 2, 0), beta=0.0, alpha=HEAD**-0.5)
        scores = scores.view(b, HEADS, sq, sq).masked_fill(attention_mask, torch.finfo(x.dtype).min)
        probs = self.attention_dropout(scores.softmax(dim=-1)).view(b * HEADS, sq, sq)
        context = torch.bmm(probs, v.transpose(0, 1)).view(b, HEADS, sq, HEAD)
        return self.dense(context.permute(2, 0, 1, 3).reshape(sq, b, WIDTH))

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> Tensor:
        attended = self.core_attention(self.input_layernorm(hidden_states), attention_mask)
        hidden_states = hidden_states + self.hidden_dropout(attended)
        return hidden_states + self.hidden_dropout(self.mlp(self.post_attention_layernorm(hidden_states)))


class MegatronGPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings, self.position_embeddings = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList([ParallelTransformerLayer() for _ in range(LAYERS)])
        self.final_layernorm, self.embedding_dropout = nn.LayerNorm(WIDTH), nn.Dropout(0.1)
        small(self)

    def forward(
        self, input_ids: Tensor, position_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        x = self.word_embeddings(input_ids) + self.position_embeddings(position_ids)
        x = self.embedding_dropout(x.transpose(0, 1).contiguous())
        for layer in self.layers:
            x = layer(x, attention_mask)
        logits = torch.matmul(self.final_layernorm(x), self.word_embeddings.weight.t())
        if labels is None:
            return logits.transpose(0, 1).contiguous()
        losses = F.cross_entropy(logits.flatten(0, 1), labels.t().flatten(), reduction="none")
        return losses.view(labels.shape[1], labels.shape[0]).t()


# DeepSeek-V3: keys and values from a narrow latent, one rotated part for all heads, experts chosen by sigmoids, and a
# cache that is used outside training alone


class MLA(nn.Module):
    nope, turned, latent = 8, 4, 16

    def __init__(self) -> None:
        super().__init__()
        self.wq_a, self.q_norm = nn.Linear(WIDTH, 24, bias=False), nn.RMSNorm(24)
        self.wq_b = nn.Linear(24, HEADS * (self.nope + self.turned), bias=False)
        self.wkv_a, self.kv_norm = nn.Linear(WIDTH, self.latent + self.turned, bias=False), nn.RMSNorm(self.latent)
        self.wkv_b = nn.Linear(self.latent, HEADS * (self.nope + HEAD), bias=False)
        self.wo, self.softmax_scale = nn.Linear(WIDTH, WIDTH, bias=False), (self.nope + self.turned) ** -0.5
        self.register_buffer("kv_cache", torch.zeros(32, CONTEXT, self.latent), persistent=False)
        self.register_buffer("pe_cache", torch.zeros(32, CONTEXT, self.turned), persistent=False)

    def remember(self, kv: Tensor, k_pe: Tensor, start_pos: int) -> tuple[Tensor, Tensor]:
        B, end = len(kv), start_pos + kv.shape[1]  # noqa: N806
        self.kv_cache[:B, start_pos:end], self.pe_cache[:B, start_pos:end] = kv, k_pe
        return self.kv_cache[:B, :end].to(kv.dtype), self.pe_cache[:B, :end].to(kv.dtype)

    def forward(self, x: Tensor, start_pos: int, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        q = split(self.wq_b(self.q_norm(self.wq_a(x))))
        q_nope, q_pe = q.split([self.nope, self.turned], dim=-1)
        q_pe = rotate(q_pe, cos, sin)
        kv, k_pe = self.wkv_a(x).split([self.latent, self.turned], dim=-1)
        kv, k_pe = self.kv_norm(kv), rotate(k_pe, cos, sin)
        if not torch.is_grad_enabled():
            kv, k_pe = self.remember(kv, k_pe, start_pos)
        k_nope, v = split(self.wkv_b(kv)).split([self.nope, HEAD], dim=-1)
        scores = torch.einsum("bhte,bhse->bhts", q_nope, k_nope) + torch.einsum("bhte,bse->bhts", q_pe, k_pe)
        weights = (scores * self.softmax_scale + mask.to(scores.dtype)).softmax(dim=-1)
        return self.wo(merge(weights @ v))


class SigmoidExperts(nn.Module):
    """Two of four experts, chosen with a bias that no gradient moves and weighted without it; one expert for all."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.shared_experts = nn.Linear(WIDTH, 4, bias=False), GatedMLP(32)
        self.experts = nn.ModuleList([GatedMLP(32) for _ in range(4)])
        self.register_buffer("bias", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.view(-1, WIDTH)
        scores = self.gate(flat).sigmoid()
        indices = (scores + self.bias).topk(2, dim=-1)[1]
        weights = scores.gather(1, indices)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        y = torch.zeros_like(flat)
        for i, expert in enumerate(self.experts):
            idx, top = torch.where(indices == i)
            y[idx] += expert(flat[idx]) * weights[idx, top, None]
        return (y + self.shared_experts(flat)).view(x.size())


class DeepSeek(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.attn = nn.ModuleList([MLA() for _ in range(LAYERS)])
        self.ffn = nn.ModuleList([GatedMLP(), SigmoidExperts()])
        self.norms = nn.ModuleList([nn.RMSNorm(WIDTH) for _ in range(2 * LAYERS + 1)])
        self.register_buffer("freqs", angles(MLA.turned), persistent=False)
        small(self, std=0.05)

    def forward(self, tokens: Tensor, start_pos: int = 0) -> Tensor:
        T = tokens.size(1)  # noqa: N806
        freqs = self.freqs[start_pos : start_pos + T]
        mask = torch.full((T, start_pos + T), float("-inf")).triu(start_pos + 1)
        h = self.embed(tokens)
        for i in range(LAYERS):
            h = h + self.attn[i](self.norms[2 * i](h), start_pos, freqs.cos(), freqs.sin(), mask)
            h = h + self.ffn[i](self.norms[2 * i + 1](h))
        return self.head(self.norms[-1](h))


# a plain pre-norm block for the models that are odd elsewhere


class Block(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out, self.mlp = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH), mlp()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` is added to the scores; without one the block is causal."""
        q, k, v = (split(part) for part in self.qkv(self.ln_1(x)).chunk(3, dim=-1))
        if mask is None:
            mask = torch.full((x.shape[1], x.shape[1]), float("-inf"), dtype=x.dtype).triu(1)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(HEAD) + mask).softmax(dim=-1)
        x = x + self.dropout(self.out(merge(weights @ v)))
        return x + self.dropout(self.mlp(self.ln_2(x)))


class Stack(nn.Module):
    """Hidden states [B, T, D] of a GPT."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList([Block(dropout) for _ in range(LAYERS)])
        self.ln_f = nn.LayerNorm(WIDTH)
        small(self)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[-1]))
        for block in self.blocks:
            x = block(x)
        return self.ln_f(x)


class MultiToken(nn.Module):
    """Meta's multi-token prediction: a trunk, a block for each of the next tokens, logits [B, T, heads, V]."""

    n_future_tokens = 3

    def __init__(self) -> None:
        super().__init__()
        self.tok_embeddings, self.pos = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.extra_heads = nn.ModuleList([Block() for _ in range(self.n_future_tokens - 1)])
        self.norm, self.output = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        small(self)

    def forward(self, tokens: Tensor, return_all_heads: bool = False) -> Tensor:
        trunk = self.tok_embeddings(tokens) + self.pos(torch.arange(tokens.shape[1]))
        for layer in self.layers[:-1]:
            trunk = layer(trunk)
        heads = [self.layers[-1], *self.extra_heads] if return_all_heads else [self.layers[-1]]
        return self.output(self.norm(torch.stack([head(trunk) for head in heads], dim=-2)))


# nanochat: norms without weights, squared ReLU, a soft cap, a cache that is an object, `generate` that yields tokens


def norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.size(-1),))


class ChatCache:
    def __init__(self, num_layers: int) -> None:
        self.kept: list[tuple[Tensor, Tensor] | None] = [None] * num_layers
        self.num_layers = num_layers

    def get_pos(self) -> int:
        return 0 if self.kept[-1] is None else self.kept[-1][0].size(2)

    def insert_kv(self, layer_idx: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        old = self.kept[layer_idx]
        new = (k, v) if old is None else (torch.cat((old[0], k), dim=2), torch.cat((old[1], v), dim=2))
        self.kept[layer_idx] = new
        return new


class ChatBlock(nn.Module):
    def __init__(self, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.c_q, self.c_k, self.c_v, self.c_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        self.c_fc, self.mlp_proj = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor, kv_cache: ChatCache | None) -> Tensor:
        q, k, v = split(self.c_q(x)), split(self.c_k(x)), split(self.c_v(x))
        q, k = norm(rotate(q, cos, sin)), norm(rotate(k, cos, sin))
        if kv_cache is not None:
            k, v = kv_cache.insert_kv(self.layer_idx, k, v)
        Tq, Tk = q.size(2), k.size(2)  # noqa: N806
        if kv_cache is None or Tq == Tk:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            mask = torch.ones(Tq, Tk, dtype=torch.bool).tril(Tk - Tq)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.c_proj(merge(y))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, kv_cache: ChatCache | None) -> Tensor:
        x = x + self.attend(norm(x), cos, sin, kv_cache)
        return x + self.mlp_proj(F.relu(self.c_fc(norm(x))).square())


class NanoChat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte, self.lm_head = nn.Embedding(64, WIDTH), nn.Linear(WIDTH, 64, bias=False)
        self.h = nn.ModuleList([ChatBlock(i) for i in range(LAYERS)])
        self.resid_lambdas, self.x0_lambdas = nn.Parameter(torch.ones(LAYERS)), nn.Parameter(torch.zeros(LAYERS))
        self.register_buffer("cos", angles(HEAD).cos(), persistent=False)
        self.register_buffer("sin", angles(HEAD).sin(), persistent=False)
        nn.init.zeros_(self.lm_head.weight)
        for block in self.h:
            nn.init.zeros_(block.c_proj.weight)
            nn.init.zeros_(block.mlp_proj.weight)

    def get_device(self) -> torch.device:
        return self.wte.weight.device

    def setup_optimizers(self, matrix_lr: float = 0.02) -> list[torch.optim.Optimizer]:
        matrices = [weight for weight in self.h.parameters() if weight.dim() == 2]
        others = [self.wte.weight, self.lm_head.weight, self.resid_lambdas, self.x0_lambdas]
        return [torch.optim.AdamW(others, lr=1e-3), torch.optim.SGD(matrices, lr=matrix_lr, momentum=0.9)]

    def forward(
        self,
        idx: Tensor,
        targets: Tensor | None = None,
        kv_cache: ChatCache | None = None,
        loss_reduction: str = "mean",
    ) -> Tensor:
        T0, T = 0 if kv_cache is None else kv_cache.get_pos(), idx.size(1)  # noqa: N806
        assert self.cos.size(0) >= T0 + T, f"Sequence length grew beyond the rotary embeddings cache: {T0 + T}"
        x = x0 = norm(self.wte(idx))
        for i, block in enumerate(self.h):
            x = self.resid_lambdas[i] * x + self.x0_lambdas[i] * x0
            x = block(x, self.cos[T0 : T0 + T], self.sin[T0 : T0 + T], kv_cache)
        logits = 15 * torch.tanh(self.lm_head(norm(x))[..., :VOCAB] / 15)
        if targets is None:
            return logits
        return F.cross_entropy(logits.view(-1, VOCAB), targets.view(-1), ignore_index=-1, reduction=loss_reduction)

    @torch.inference_mode()
    def generate(
        self, tokens: list[int], max_tokens: int, temperature: float = 1.0, top_k: int | None = None, seed: int = 42
    ) -> Iterator[int]:
        rng = torch.Generator().manual_seed(seed)
        ids = torch.tensor([tokens], dtype=torch.long)
        for _ in range(max_tokens):
            logits = self.forward(ids)[:, -1, :]
            if top_k is not None:
                v, _ = torch.topk(logits, min(top_k, logits.size(-1)))
                logits[logits < v[:, [-1]]] = -float("Inf")
            if temperature > 0:
                next_ids = torch.multinomial(F.softmax(logits / temperature, dim=-1), num_samples=1, generator=rng)
            else:
                next_ids = torch.argmax(logits, dim=-1, keepdim=True)
            ids = torch.cat((ids, next_ids), dim=1)
            yield int(next_ids)


# Transformer-XL: the hidden states of what went before come back with the logits; positions are distances


class XLBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q_net, self.kv_net = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 2 * WIDTH, bias=False)
        self.r_net, self.o_net = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.layer_norm, self.ff_norm, self.core = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH), mlp()

    def forward(self, w: Tensor, r: Tensor, r_w_bias: Tensor, r_r_bias: Tensor, mem: Tensor | None) -> Tensor:
        """w [B, T, D] after mem [B, M, D]; r [M + T, D], by distance"""
        both = w if mem is None else torch.cat([mem, w], dim=1)
        q = split(self.q_net(w))
        k, v = (split(part) for part in self.kv_net(both).chunk(2, dim=-1))
        T, S = q.shape[2], k.shape[2]  # noqa: N806
        distance = torch.arange(S - T, S)[:, None] - torch.arange(S)
        table = self.r_net(r).view(S, HEADS, HEAD)[distance.clamp(min=0)]
        content = (q + r_w_bias[:, None]) @ k.transpose(-1, -2)
        place = torch.einsum("bhte,tshe->bhts", q + r_r_bias[:, None], table)
        scores = ((content + place) / HEAD**0.5).masked_fill(distance < 0, float("-inf"))
        w = self.layer_norm(w + self.o_net(merge(scores.softmax(dim=-1) @ v)))
        return self.ff_norm(w + self.core(w))


class MemTransformerLM(nn.Module):
    def __init__(self, mem_len: int = 64) -> None:
        super().__init__()
        self.mem_len, self.word_emb, self.emb_scale = mem_len, nn.Embedding(VOCAB, WIDTH), WIDTH**0.5
        self.layers = nn.ModuleList([XLBlock() for _ in range(LAYERS)])
        self.r_w_bias, self.r_r_bias = (nn.Parameter(torch.zeros(HEADS, HEAD)) for _ in range(2))
        self.out = nn.Linear(WIDTH, VOCAB)
        small(self)
        self.register_buffer("inv_freq", 1 / (10000 ** (torch.arange(0.0, WIDTH, 2.0) / WIDTH)))

    def _update_mems(self, hids: list[Tensor], mems: list[Tensor] | None) -> list[Tensor]:
        both = hids if mems is None else [torch.cat(pair, dim=1) for pair in zip(mems, hids, strict=True)]
        return [each[:, -self.mem_len :].detach() for each in both]

    def forward(self, dec_inp: Tensor, mems: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        core, hids = self.word_emb(dec_inp) * self.emb_scale, []
        total = dec_inp.shape[1] + (0 if mems is None else mems[0].shape[1])
        sinusoid = torch.outer(torch.arange(total).to(core.dtype), self.inv_freq.to(core.dtype))
        r = torch.cat([sinusoid.sin(), sinusoid.cos()], dim=-1)
        for i, layer in enumerate(self.layers):
            hids.append(core)
            core = layer(core, r, self.r_w_bias, self.r_r_bias, None if mems is None else mems[i])
        return self.out(core), self._update_mems(hids, mems)


class AdaptiveSoftmaxLM(nn.Module):
    """Rare tokens in clusters of their own; log-probabilities, and a loss that does not compute them all."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = Stack(0.1)
        self.adaptive_softmax = nn.AdaptiveLogSoftmaxWithLoss(WIDTH, VOCAB, cutoffs=[10, 25], div_value=2.0)

    def forward(self, src_tokens: Tensor) -> Tensor:
        hidden = self.decoder(src_tokens)
        return self.adaptive_softmax.log_prob(hidden.flatten(0, 1)).view(*src_tokens.shape, VOCAB)

    def criterion(self, src_tokens: Tensor, target: Tensor) -> Tensor:
        return self.adaptive_softmax(self.decoder(src_tokens).flatten(0, 1), target.flatten()).loss


# differential attention in blocks that are gated and rotated; an output that is a dict and has attributes


class ModelOutput(OrderedDict[str, Tensor]):
    def __getattr__(self, name: str) -> Tensor:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


class DifferentialAttention(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.lambda_init = 0.8 - 0.6 * math.exp(-0.3 * depth)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        half = HEAD // 2
        names = ("lambda_q1", "lambda_k1", "lambda_q2", "lambda_k2")
        self.lambdas = nn.ParameterDict({name: nn.Parameter(torch.randn(half) * 0.1) for name in names})
        self.subln = nn.RMSNorm(HEAD, eps=1e-5, elementwise_affine=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k = (rotate(split(proj(x), 2 * HEADS), cos, sin) for proj in (self.q_proj, self.k_proj))
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        scores = (q @ k.transpose(-1, -2) * (HEAD // 2) ** -0.5).masked_fill(future, float("-inf"))
        first, second = scores.softmax(dim=-1).unflatten(1, (HEADS, 2)).unbind(2)
        own = self.lambdas
        lambda_full = (
            (own["lambda_q1"] * own["lambda_k1"]).sum().exp() - (own["lambda_q2"] * own["lambda_k2"]).sum().exp()
        ) + self.lambda_init
        attended = self.subln((first - lambda_full * second) @ split(self.v_proj(x)))
        return self.out_proj(merge(attended * (1 - self.lambda_init)))


class DiffTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB, WIDTH)
        self.attentions = nn.ModuleList([DifferentialAttention(depth) for depth in range(LAYERS)])
        self.mlps = nn.ModuleList([GatedMLP() for _ in range(LAYERS)])
        self.norms = nn.ModuleList([nn.RMSNorm(WIDTH) for _ in range(2 * LAYERS + 1)])
        self.register_buffer("freqs", angles(HEAD // 2), persistent=False)
        small(self)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> ModelOutput:
        freqs, x = self.freqs[: input_ids.shape[1]], self.embed_tokens(input_ids)
        for i in range(LAYERS):
            x = x + self.attentions[i](self.norms[2 * i](x), freqs.cos(), freqs.sin())
            x = x + self.mlps[i](self.norms[2 * i + 1](x))
        logits = F.linear(self.norms[-1](x), self.embed_tokens.weight)
        if labels is None:
            return ModelOutput(logits=logits)
        loss = F.cross_entropy(logits[..., :-1, :].reshape(-1, VOCAB), labels[..., 1:].reshape(-1))
        return ModelOutput(loss=loss, logits=logits)


# Lightning: steps take a batch and its index; ReZero instead of norms


class LitTransformer(nn.Module):
    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.lr, self.logged = lr, {}
        self.embedding, self.pos = nn.Embedding(VOCAB, WIDTH), nn.Parameter(torch.randn(1, CONTEXT, WIDTH) * 0.1)
        self.attentions = nn.ModuleList(
            [nn.MultiheadAttention(WIDTH, HEADS, dropout=0.1, batch_first=True) for _ in range(LAYERS)]
        )
        self.ffs = nn.ModuleList([mlp() for _ in range(LAYERS)])
        self.resweights, self.fc = nn.Parameter(torch.zeros(2 * LAYERS)), nn.Linear(WIDTH, VOCAB)
        nn.init.normal_(self.embedding.weight, std=0.1)

    def log(self, name: str, value: Tensor) -> None:
        self.logged[name] = value.detach()

    def forward(self, x: Tensor) -> Tensor:
        future = nn.Transformer.generate_square_subsequent_mask(x.shape[1]).bool()
        x = self.embedding(x) + self.pos[:, : x.shape[1]]
        for i, (attention, ff) in enumerate(zip(self.attentions, self.ffs, strict=True)):
            x = x + self.resweights[2 * i] * attention(x, x, x, attn_mask=future, need_weights=False)[0]
            x = x + self.resweights[2 * i + 1] * ff(x)
        return self.fc(x)

    def _shared_step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self(x).transpose(1, 2), y)
        self.log(f"{stage}_loss", loss)
        return loss

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        return self._shared_step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:  # noqa: ARG002
        self._shared_step(batch, "val")

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.lr)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 10)}


# fairseq's language model: given an incremental state it reads the last token alone and keeps keys and values in it


class FairseqLM(nn.Module):
    padding_idx = 1

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB, WIDTH, padding_idx=self.padding_idx)
        self.embed_positions = nn.Embedding(CONTEXT + 2, WIDTH, padding_idx=self.padding_idx)
        self.layers = nn.ModuleList([Block(0.1) for _ in range(LAYERS)])
        self.layer_norm = nn.LayerNorm(WIDTH)
        small(self)
        for table in (self.embed_tokens, self.embed_positions):
            nn.init.zeros_(table.weight.data[self.padding_idx])

    def make_positions(self, tokens: Tensor) -> Tensor:
        mask = tokens.ne(self.padding_idx).int()
        return (torch.cumsum(mask, dim=1).type_as(mask) * mask).long() + self.padding_idx

    def self_attn(self, layer: Block, x: Tensor, hidden: Tensor, state: dict[str, Tensor] | None) -> Tensor:
        q, k, v = (split(part) for part in layer.qkv(x).chunk(3, dim=-1))
        if state is not None:
            if "prev_key" in state:
                k, v = torch.cat([state["prev_key"], k], dim=2), torch.cat([state["prev_value"], v], dim=2)
            state.update(prev_key=k, prev_value=v)
        scores = (q @ k.transpose(-1, -2) * HEAD**-0.5).masked_fill(hidden, torch.finfo(x.dtype).min)
        return layer.out(merge(scores.softmax(dim=-1) @ v))

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,  # noqa: ARG002
        incremental_state: dict[str, Any] | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        positions, padding = self.make_positions(src_tokens), src_tokens.eq(self.padding_idx)[:, None, None]
        T = src_tokens.shape[1]  # noqa: N806
        hidden = padding | torch.ones(T, T, dtype=torch.bool).triu(1)
        if incremental_state is not None:
            src_tokens, positions, hidden = src_tokens[:, -1:], positions[:, -1:], hidden[:, :, -1:]
        x = self.embed_tokens(src_tokens) + self.embed_positions(positions)
        for i, layer in enumerate(self.layers):
            state = None if incremental_state is None else incremental_state.setdefault(f"layer.{i}", {})
            x = x + layer.dropout(self.self_attn(layer, layer.ln_1(x), hidden, state))
            x = x + layer.dropout(layer.mlp(layer.ln_2(x)))
        return F.linear(self.layer_norm(x), self.embed_tokens.weight), {"attn": [None], "inner_states": None}


class PositionsInEveryLayer(nn.Module):
    """DETR's habit: positions are added in each layer, to queries and keys and not to values; gated heads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.query_pos = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.self_attn = nn.ModuleList([nn.MultiheadAttention(WIDTH, HEADS, batch_first=True) for _ in range(LAYERS)])
        self.gates = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)])
        self.linears = nn.ModuleList([mlp() for _ in range(LAYERS)])
        self.norms, self.head = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2 * LAYERS)]), nn.Linear(WIDTH, VOCAB)

    @staticmethod
    def with_pos_embed(tensor: Tensor, pos: Tensor | None) -> Tensor:
        return tensor if pos is None else tensor + pos

    def forward(self, src: Tensor) -> Tensor:
        T = src.shape[1]  # noqa: N806
        pos, future = self.query_pos(torch.arange(T)), torch.ones(T, T, dtype=torch.bool).triu(1)
        src = self.embed(src)
        for i, attention in enumerate(self.self_attn):
            q = k = self.with_pos_embed(src, pos)
            attended = attention(q, k, src, attn_mask=future, need_weights=False)[0]
            src = self.norms[2 * i](src + torch.sigmoid(self.gates[i](src)) * attended)
            src = self.norms[2 * i + 1](src + self.linears[i](src))
        return self.head(src)


# Mixtral as Hugging Face has it: tokens are sent to their experts, a loss for the balance where it is asked for


@dataclass
class MoeCausalLMOutput:
    loss: Tensor | None = None
    aux_loss: Tensor | None = None
    logits: Tensor | None = None
    router_logits: tuple[Tensor, ...] | None = None


class SparseMoe(nn.Module):
    num_experts, top_k = 4, 2

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, self.num_experts, bias=False)
        self.experts = nn.ModuleList([GatedMLP(48) for _ in range(self.num_experts)])

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        flat = hidden_states.view(-1, WIDTH)
        router_logits = self.gate(flat)
        routing, selected = torch.topk(F.softmax(router_logits, dim=1), self.top_k, dim=-1)
        routing = routing / routing.sum(dim=-1, keepdim=True)
        final, expert_mask = torch.zeros_like(flat), F.one_hot(selected, self.num_experts).permute(2, 1, 0)
        for i, expert in enumerate(self.experts):
            idx, top_x = torch.where(expert_mask[i])
            final.index_add_(0, top_x, expert(flat[top_x]) * routing[top_x, idx, None])
        return final.view(hidden_states.shape), router_logits

    @classmethod
    def load_balancing(cls, gate_logits: tuple[Tensor, ...]) -> Tensor:
        weights = F.softmax(torch.cat(gate_logits, dim=0), dim=-1)
        chosen = F.one_hot(weights.topk(cls.top_k, dim=-1)[1], cls.num_experts).to(weights.dtype)
        return (chosen.mean(dim=0) * weights.mean(dim=0)).sum() * cls.num_experts


class MixtralForCausalLM(nn.Module):
    router_aux_loss_coef = 0.02

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens, self.lm_head = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.layers = nn.ModuleList([TuneLayer() for _ in range(LAYERS)])
        for layer in self.layers:
            layer.mlp = SparseMoe()
        self.norm = nn.RMSNorm(WIDTH)
        small(self)

    def forward(
        self, input_ids: Tensor, labels: Tensor | None = None, output_router_logits: bool | None = None
    ) -> MoeCausalLMOutput:
        hidden, router_logits = self.embed_tokens(input_ids), ()
        for layer in self.layers:
            hidden = hidden + layer.attn(layer.sa_norm(hidden), mask=None, input_pos=None)
            routed, gate_logits = layer.mlp(layer.mlp_norm(hidden))
            hidden, router_logits = hidden + routed, (*router_logits, gate_logits)
        logits = self.lm_head(self.norm(hidden))
        loss = aux_loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].reshape(-1, VOCAB), labels[:, 1:].reshape(-1), ignore_index=-100)
        if output_router_logits:
            aux_loss = SparseMoe.load_balancing(router_logits)
            loss = None if loss is None else loss + self.router_aux_loss_coef * aux_loss
        return MoeCausalLMOutput(loss, aux_loss, logits, router_logits if output_router_logits else None)


# picoGPT: plain functions over NumPy's float64 weights, and one sequence [T] at a time


def layer_norm(x: Tensor, g: Tensor, b: Tensor, eps: float = 1e-5) -> Tensor:
    return g * (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, correction=0) + eps) + b


def linear(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return x @ w + b


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    return torch.softmax(q @ k.T / math.sqrt(q.shape[-1]) + mask, dim=-1) @ v


def mha(x: Tensor, c_attn: dict[str, Tensor], c_proj: dict[str, Tensor], n_head: int) -> Tensor:
    qkv_heads = [part.chunk(n_head, dim=-1) for part in linear(x, **c_attn).chunk(3, dim=-1)]
    causal_mask = (1 - torch.tril(torch.ones(len(x), len(x), dtype=x.dtype))) * -1e10
    return linear(torch.cat([attention(*qkv, causal_mask) for qkv in zip(*qkv_heads, strict=True)], dim=-1), **c_proj)


def transformer_block(x: Tensor, p: Any, n_head: int) -> Tensor:
    x = x + mha(layer_norm(x, **p["ln_1"]), p["c_attn"], p["c_proj"], n_head)
    h = F.gelu(linear(layer_norm(x, **p["ln_2"]), **p["c_fc"]), approximate="tanh")
    return x + linear(h, **p["mlp_proj"])


class PicoGPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)

        def matrix(rows: int, columns: int) -> nn.Parameter:
            return nn.Parameter(torch.from_numpy(rng.normal(0.0, 0.02, (rows, columns))))

        def affine(rows: int, columns: int) -> nn.ParameterDict:
            bias = nn.Parameter(torch.from_numpy(np.zeros(columns)))
            return nn.ParameterDict({"w": matrix(rows, columns), "b": bias})

        def gains() -> nn.ParameterDict:
            return nn.ParameterDict({name: nn.Parameter(torch.from_numpy(fill(WIDTH))) for name, fill in NORM.items()})

        self.wte, self.wpe, self.ln_f = matrix(VOCAB, WIDTH), matrix(CONTEXT, WIDTH), gains()
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    **{"ln_1": gains(), "c_attn": affine(WIDTH, 3 * WIDTH), "c_proj": affine(WIDTH, WIDTH)},
                    **{"ln_2": gains(), "c_fc": affine(WIDTH, 64), "mlp_proj": affine(64, WIDTH)},
                }
            )
            for _ in range(LAYERS)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        x = self.wte[inputs] + self.wpe[range(len(inputs))]
        for block in self.blocks:
            x = transformer_block(x, block, HEADS)
        return layer_norm(x, **self.ln_f) @ self.wte.T


NORM: dict[str, Callable[[int], Any]] = {"g": np.ones, "b": np.zeros}


# Composer: `forward(batch)`, and a loss of the outputs and the batch, whose labels it moves by one; ALiBi


class ComposerMPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte, self.norm_f = nn.Embedding(VOCAB, WIDTH), nn.LayerNorm(WIDTH)
        self.blocks = nn.ModuleList([Block(0.1) for _ in range(LAYERS)])
        small(self)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        ids = batch["input_ids"]
        S, x = ids.shape[1], self.wte(ids)  # noqa: N806
        slopes = 2.0 ** -(8 * torch.arange(1, HEADS + 1) / HEADS)
        bias = (slopes[:, None, None] * torch.arange(1 - S, 1)).to(x.dtype)
        least, future = torch.finfo(x.dtype).min, torch.ones(S, S, dtype=torch.bool).triu(1)
        hidden = future[None] | ~batch["attention_mask"].bool()[:, None, :]
        mask = bias.expand(len(ids), HEADS, S, S).masked_fill(hidden[:, None], least)
        for block in self.blocks:
            x = block(x, mask)
        return F.linear(self.norm_f(x), self.wte.weight)

    def loss(self, outputs: Tensor, batch: dict[str, Tensor]) -> Tensor:
        targets = torch.roll(batch["labels"], shifts=-1)
        targets[:, -1] = -100
        return F.cross_entropy(outputs.view(-1, outputs.size(-1)), targets.view(-1), ignore_index=-100)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "torchtune": partial(seeded, TransformerDecoder),
    "LitGPT": partial(seeded, LitGPT),
    "gpt-fast": partial(seeded, FastGPT),
    "Megatron-LM": partial(seeded, MegatronGPT),
    "DeepSeek-V3": partial(seeded, DeepSeek),
    "multi-token prediction": partial(seeded, MultiToken),
    "nanochat": partial(seeded, NanoChat),
    "Transformer-XL": partial(seeded, MemTransformerLM),
    "adaptive softmax": partial(seeded, AdaptiveSoftmaxLM),
    "differential attention": partial(seeded, DiffTransformer),
    "Lightning, ReZero": partial(seeded, LitTransformer),
    "fairseq's language model": partial(seeded, FairseqLM),
    "positions in every layer": partial(seeded, PositionsInEveryLayer),
    "Mixtral": partial(seeded, MixtralForCausalLM),
    "picoGPT": partial(seeded, PicoGPT),
    "Composer": partial(seeded, ComposerMPT),
}
