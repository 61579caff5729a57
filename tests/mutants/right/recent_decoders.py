"""Decoders after the code of their makers: Gemma 2, OLMo 2, Phi, Command R, Falcon, GPT-J; with their own caches."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn

# Gemma 2, as google-deepmind/gemma has it


K_MASK = -2.3819763e38


class Einsum(nn.Module):
    def __init__(self, shape: tuple[int, ...], fan_in: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(shape) * fan_in**-0.5)

    def forward(self, eqn: str, x: Tensor) -> Tensor:
        return torch.einsum(eqn, x, self.w)


class GemmaNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        var = x.square().mean(-1, keepdim=True)
        return x * torch.rsqrt(var + 1e-6) * (1 + self.scale)


def apply_rope(inputs: Tensor, positions: Tensor, max_wavelength: int = 10_000) -> Tensor:
    """inputs [B, T, N, E], positions [B, T]"""
    head_dim = inputs.shape[-1]
    fraction = 2 * torch.arange(0, head_dim // 2) / head_dim
    timescale = max_wavelength**fraction
    sinusoid = (positions[..., None] / timescale)[..., None, :]
    sin, cos = torch.sin(sinusoid).to(inputs.dtype), torch.cos(sinusoid).to(inputs.dtype)
    first_half, second_half = inputs.chunk(2, dim=-1)
    return torch.cat([first_half * cos - second_half * sin, second_half * cos + first_half * sin], dim=-1)


class GemmaAttention(nn.Module):
    def __init__(self, embed_dim: int, num_heads: int, num_kv_heads: int, head_dim: int, window: int | None) -> None:
        super().__init__()
        self.window, self.groups, self.softcap = window, num_heads // num_kv_heads, 50.0
        self.query_pre_attn_scalar = head_dim**-0.5
        self.q_einsum = Einsum((num_heads, embed_dim, head_dim), embed_dim)
        self.kv_einsum = Einsum((2, num_kv_heads, embed_dim, head_dim), embed_dim)
        self.attn_vec_einsum = Einsum((num_heads, head_dim, embed_dim), num_heads * head_dim)

    def forward(
        self, x: Tensor, segment_pos: Tensor, cache: dict[str, Any] | None, attn_mask: Tensor
    ) -> tuple[dict[str, Any] | None, Tensor]:
        query_proj = apply_rope(self.q_einsum("BTD,NDH->BTNH", x), segment_pos) * self.query_pre_attn_scalar
        key_proj, value_proj = self.kv_einsum("BSD,CKDH->CBSKH", x)
        key_proj = apply_rope(key_proj, segment_pos)
        if cache is not None:
            end = cache["end_index"]
            keys, values = cache["k"].clone(), cache["v"].clone()
            keys[:, end : end + x.shape[1]], values[:, end : end + x.shape[1]] = key_proj, value_proj
            key_proj, value_proj = keys, values
            cache = {"k": keys, "v": values, "end_index": end + x.shape[1]}
        key, value = (each.repeat_interleave(self.groups, dim=2) for each in (key_proj, value_proj))
        logits = torch.einsum("BTNH,BSNH->BTNS", query_proj, key)
        logits = torch.tanh(logits / self.softcap) * self.softcap
        if self.window is not None:
            slots = torch.arange(key.shape[1])
            attn_mask = attn_mask & (slots > segment_pos[..., None] - self.window)
        padded_logits = torch.where(attn_mask[:, :, None, :], logits, K_MASK)
        probs = F.softmax(padded_logits, dim=-1).to(key.dtype)
        return cache, self.attn_vec_einsum("BTNH,NHD->BTD", torch.einsum("BTNS,BSNH->BTNH", probs, value))


class GemmaLayer(nn.Module):
    def __init__(self, embed_dim: int, hidden_dim: int, window: int | None) -> None:
        super().__init__()
        self.pre_attention_norm, self.post_attention_norm = GemmaNorm(embed_dim), GemmaNorm(embed_dim)
        self.pre_ffw_norm, self.post_ffw_norm = GemmaNorm(embed_dim), GemmaNorm(embed_dim)
        self.attn = GemmaAttention(embed_dim, 4, 2, 8, window)
        self.gating = Einsum((2, embed_dim, hidden_dim), embed_dim)
        self.linear = Einsum((hidden_dim, embed_dim), hidden_dim)

    def forward(
        self, x: Tensor, segment_pos: Tensor, cache: dict[str, Any] | None, attn_mask: Tensor
    ) -> tuple[dict[str, Any] | None, Tensor]:
        cache, attn_output = self.attn(self.pre_attention_norm(x), segment_pos, cache, attn_mask)
        attn_output = self.post_attention_norm(attn_output) + x
        gate, up = self.gating("BTD,CDF->CBTF", self.pre_ffw_norm(attn_output))
        outputs = self.linear("BTF,FD->BTD", F.gelu(gate, approximate="tanh") * up)
        return cache, self.post_ffw_norm(outputs) + attn_output


class Gemma(nn.Module):
    """The caller may give positions [B, T], a cache of `init_cache`, and who sees whom [B, T, slots]."""

    def __init__(self, num_embed: int = 61, embed_dim: int = 32, num_layers: int = 2) -> None:
        super().__init__()
        self.embed_dim, self.num_layers = embed_dim, num_layers
        self.input_embedding = nn.Parameter(torch.randn(num_embed, embed_dim) * 0.02)
        self.layers = nn.ModuleList([GemmaLayer(embed_dim, 64, None if i % 2 else 6) for i in range(num_layers)])
        self.final_norm = GemmaNorm(embed_dim)

    def init_cache(self, batch_size: int, cache_size: int = 48) -> dict[str, Any]:
        zeros = torch.zeros(batch_size, cache_size, 2, 8, dtype=self.input_embedding.dtype)
        return {f"layer_{i}": {"k": zeros.clone(), "v": zeros.clone(), "end_index": 0} for i in range(self.num_layers)}

    def forward(
        self,
        last_tokens: Tensor,
        positions: Tensor | None = None,
        cache: dict[str, Any] | None = None,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any] | None]:
        start = 0 if cache is None else cache["layer_0"]["end_index"]
        if positions is None:
            positions = torch.arange(start, start + last_tokens.shape[1]).expand_as(last_tokens)
        if attention_mask is None:
            slots = torch.arange(last_tokens.shape[1] if cache is None else cache["layer_0"]["k"].shape[1])
            attention_mask = slots <= positions[..., None]
        x = self.input_embedding[last_tokens] * math.sqrt(self.embed_dim)
        new_cache = None if cache is None else {}
        for i, layer in enumerate(self.layers):
            name = f"layer_{i}"
            layer_cache, x = layer(x, positions, cache[name] if cache else None, attention_mask)
            if new_cache is not None:
                new_cache[name] = layer_cache
        logits = self.final_norm(x) @ self.input_embedding.T
        return torch.tanh(logits / 30.0) * 30.0, new_cache


# OLMo 2, as allenai/OLMo has it


class OLMoOutput(NamedTuple):
    logits: Tensor
    attn_key_values: list[tuple[Tensor, Tensor]] | None
    hidden_states: tuple[Tensor, ...] | None


class OLMoGenerateOutput(NamedTuple):
    token_ids: Tensor
    scores: Tensor


@dataclass
class OLMoConfig:
    d_model: int = 32
    n_heads: int = 4
    n_layers: int = 2
    mlp_hidden_size: int = 96
    max_sequence_length: int = 40
    vocab_size: int = 53
    embedding_size: int = 64
    rope_theta: int = 500_000
    init_std: float = 0.02


class OLMoBlock(nn.Module):
    def __init__(self, config: OLMoConfig) -> None:
        super().__init__()
        self.config = config
        self.att_proj = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.attn_out = nn.Linear(config.d_model, config.d_model, bias=False)
        self.ff_proj = nn.Linear(config.d_model, config.mlp_hidden_size, bias=False)
        self.ff_out = nn.Linear(config.mlp_hidden_size // 2, config.d_model, bias=False)
        self.q_norm, self.k_norm, self.attn_norm, self.ff_norm = (
            nn.RMSNorm(config.d_model, eps=1e-6) for _ in range(4)
        )

    def rotate(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """The keys' positions are all there are, the queries' the last of them."""
        dim = q.shape[-1]
        inv_freq = 1.0 / (self.config.rope_theta ** (torch.arange(0, dim, 2, dtype=torch.float) / dim))
        freqs = torch.outer(torch.arange(k.shape[-2], dtype=torch.float), inv_freq)
        positions = torch.cat((freqs, freqs), dim=-1)
        sin, cos = positions.sin()[None, None].to(q.dtype), positions.cos()[None, None].to(q.dtype)

        def half(x: Tensor) -> Tensor:
            x1, x2 = x.unflatten(-1, (2, -1)).unbind(dim=-2)
            return torch.cat((-x2, x1), dim=-1)

        new = slice(k.shape[-2] - q.shape[-2], None)
        return q * cos[:, :, new] + half(q) * sin[:, :, new], k * cos + half(k) * sin

    def forward(
        self, x: Tensor, attention_bias: Tensor, layer_past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        B, T, C = x.size()  # noqa: N806
        q, k, v = self.att_proj(x).split(C, dim=-1)
        q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (each.view(B, T, self.config.n_heads, -1).transpose(1, 2) for each in (q, k, v))
        if layer_past is not None:
            k, v = torch.cat((layer_past[0], k), dim=-2), torch.cat((layer_past[1], v), dim=-2)
        present = (k, v)
        q, k = self.rotate(q, k)
        bias = attention_bias[:, :, k.shape[-2] - T : k.shape[-2], : k.shape[-2]].to(q.dtype)
        att = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + self.attn_norm(self.attn_out(att.transpose(1, 2).contiguous().view(B, T, C)))
        value, gate = self.ff_proj(x).chunk(2, dim=-1)
        return x + self.ff_norm(self.ff_out(F.silu(gate) * value)), present


class OLMo(nn.Module):
    """The norms stand behind the sub-layers; the table is larger than the vocabulary and never asked for the rest."""

    def __init__(self, config: OLMoConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.embedding_size, config.d_model),
                "blocks": nn.ModuleList([OLMoBlock(config) for _ in range(config.n_layers)]),
                "ln_f": nn.RMSNorm(config.d_model, eps=1e-6),
                "ff_out": nn.Linear(config.d_model, config.embedding_size, bias=False),
            }
        )
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.trunc_normal_(weight, std=config.init_std, a=-3 * config.init_std, b=3 * config.init_std)

    def causal_attention_bias(self, length: int) -> Tensor:
        bias = torch.full((length, length), torch.finfo(torch.float).min)
        return torch.triu(bias, diagonal=1)[None, None]

    def forward(
        self,
        input_ids: Tensor,
        input_embeddings: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Sequence[tuple[Tensor, Tensor]] | None = None,
        use_cache: bool = False,
        last_logits_only: bool = False,
        output_hidden_states: bool | None = None,
    ) -> OLMoOutput:
        past_length = past_key_values[0][0].size(-2) if past_key_values else 0
        x = self.transformer.wte(input_ids) if input_embeddings is None else input_embeddings
        total = past_length + x.shape[1]
        bias = self.causal_attention_bias(total)
        if attention_mask is not None:
            padding = attention_mask.to(torch.float).view(len(x), -1)[:, None, None, :total]
            padding = (1.0 - padding).masked_fill((1.0 - padding).bool(), torch.finfo(torch.float).min)
            bias = torch.clamp(bias + padding, min=torch.finfo(torch.float).min)
        presents, hidden_states = [], []
        for i, block in enumerate(self.transformer.blocks):
            hidden_states.append(x)
            x, present = block(x, bias, None if past_key_values is None else past_key_values[i])
            presents.append(present)
        if last_logits_only:
            x = x[:, -1, :].unsqueeze(1)
        x = self.transformer.ln_f(x)
        logits = self.transformer.ff_out(x)
        return OLMoOutput(
            logits=logits,
            attn_key_values=presents if use_cache else None,
            hidden_states=(*hidden_states, x) if output_hidden_states else None,
        )

    @torch.no_grad()
    def generate(self, input_ids: Tensor, max_steps: int = 10) -> OLMoGenerateOutput:
        """What is likeliest, and the sum of its log-probabilities; the prompt is not repeated."""
        past, tokens, written, score = None, input_ids, [], torch.zeros(len(input_ids))
        for _ in range(max_steps):
            output = self(tokens, past_key_values=past, use_cache=True, last_logits_only=True)
            past = output.attn_key_values
            log_probs = F.log_softmax(output.logits[:, -1, : self.config.vocab_size], dim=-1)
            best, tokens = log_probs.max(dim=-1, keepdim=True)
            score = score + best.squeeze(-1)
            written.append(tokens)
        return OLMoGenerateOutput(torch.cat(written, dim=1), score)


# Phi, as its first release had it: a sequence of layers, and a memory for inference


@dataclass
class InferenceParams:
    max_sequence_len: int
    max_batch_size: int
    sequence_len_offset: int = 0
    key_value_memory_dict: dict[int, Tensor] = field(default_factory=dict)


class RotaryEmbedding(nn.Module):
    """Turns the first `dim` numbers of each head and leaves the rest."""

    def __init__(self, dim: int, base: float = 10000.0) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("inv_freq", 1.0 / base ** (torch.arange(0, dim, 2) / dim), persistent=False)

    def forward(self, qk: Tensor, seqlen_offset: int = 0) -> Tensor:
        """qk [B, T, 2, H, E]"""
        t = torch.arange(seqlen_offset, seqlen_offset + qk.shape[1], dtype=torch.float32)
        freqs = torch.outer(t, self.inv_freq.float())[:, None, None]
        cos, sin = freqs.cos(), freqs.sin()
        rotary, passed = qk[..., : self.dim], qk[..., self.dim :]
        x1, x2 = rotary.float().chunk(2, dim=-1)
        return torch.cat([(x1 * cos - x2 * sin).to(qk), (x1 * sin + x2 * cos).to(qk), passed], dim=-1)


class MHA(nn.Module):
    def __init__(self, n_embd: int, n_head: int, rotary_dim: int, layer_idx: int) -> None:
        super().__init__()
        self.n_head, self.layer_idx = n_head, layer_idx
        self.Wqkv, self.out_proj = nn.Linear(n_embd, 3 * n_embd), nn.Linear(n_embd, n_embd)
        self.rotary_emb = RotaryEmbedding(rotary_dim)

    def forward(self, x: Tensor, past: InferenceParams | None, key_padding_mask: Tensor | None) -> Tensor:
        batch, length, _ = x.shape
        qkv = self.Wqkv(x).view(batch, length, 3, self.n_head, -1)
        offset = past.sequence_len_offset if past else 0
        q, k = self.rotary_emb(qkv[:, :, :2], offset).unbind(dim=2)
        v = qkv[:, :, 2]
        if past is not None:
            shape = (past.max_batch_size, past.max_sequence_len, 2, *k.shape[2:])
            memory = past.key_value_memory_dict.setdefault(self.layer_idx, k.new_zeros(shape))
            memory[:batch, offset : offset + length] = torch.stack([k, v], dim=2)
            k, v = memory[:batch, : offset + length].unbind(dim=2)
        scores = torch.einsum("bthd,bshd->bhts", q, k * q.shape[-1] ** -0.5)
        if key_padding_mask is not None:
            padding_mask = torch.full((batch, k.shape[1]), -10000.0, dtype=scores.dtype)
            padding_mask.masked_fill_(key_padding_mask, 0.0)
            scores = scores + padding_mask[:, None, None]
        seen = torch.ones(length, k.shape[1], dtype=torch.bool).tril(k.shape[1] - length)
        attention = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1).to(v.dtype)
        return self.out_proj(torch.einsum("bhts,bshd->bthd", attention, v).flatten(2))


class ParallelBlock(nn.Module):
    def __init__(self, n_embd: int, n_head: int, layer_idx: int) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(n_embd)
        self.resid_dropout = nn.Dropout(0.1)
        self.mixer = MHA(n_embd, n_head, rotary_dim=4, layer_idx=layer_idx)
        self.mlp = nn.Sequential(nn.Linear(n_embd, 4 * n_embd), nn.GELU("tanh"), nn.Linear(4 * n_embd, n_embd))

    def forward(self, hidden_states: Tensor, past: InferenceParams | None, mask: Tensor | None) -> Tensor:
        residual, hidden_states = hidden_states, self.ln(hidden_states)
        attn_outputs = self.resid_dropout(self.mixer(hidden_states, past, mask))
        return attn_outputs + self.resid_dropout(self.mlp(hidden_states)) + residual


class CausalLMHead(nn.Module):
    def __init__(self, n_embd: int, vocab_size: int) -> None:
        super().__init__()
        self.ln, self.linear = nn.LayerNorm(n_embd), nn.Linear(n_embd, vocab_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.linear(self.ln(hidden_states)).to(torch.float32)


class PhiForCausalLM(nn.Module):
    def __init__(self, vocab_size: int = 51, n_embd: int = 32, n_layer: int = 2) -> None:
        super().__init__()
        self.embd = nn.Embedding(vocab_size, n_embd)
        self.h = nn.ModuleList([ParallelBlock(n_embd, 4, i) for i in range(n_layer)])
        self.lm_head = CausalLMHead(n_embd, vocab_size)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(
        self,
        input_ids: Tensor,
        past_key_values: InferenceParams | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Any]:
        if attention_mask is not None:
            attention_mask = attention_mask.bool()
        hidden_states = self.embd(input_ids)
        for layer in self.h:
            hidden_states = layer(hidden_states, past_key_values, attention_mask)
        if past_key_values is not None:
            past_key_values.sequence_len_offset += input_ids.shape[1]
        logits, loss = self.lm_head(hidden_states), None
        if labels is not None:
            loss = F.cross_entropy(logits[..., :-1, :].flatten(0, 1), labels[..., 1:].flatten())
        return {"loss": loss, "logits": logits, "past_key_values": past_key_values}

    def prepare_cache(self, input_ids: Tensor, max_new_tokens: int) -> InferenceParams:
        return InferenceParams(input_ids.shape[1] + max_new_tokens, input_ids.shape[0])

    @torch.inference_mode()
    def generate(self, input_ids: Tensor, max_new_tokens: int = 10) -> Tensor:
        past = self.prepare_cache(input_ids, max_new_tokens)
        new = input_ids
        for _ in range(max_new_tokens):
            new = self(new, past_key_values=past)["logits"][:, -1:].argmax(dim=-1)
            input_ids = torch.cat([input_ids, new], dim=1)
        return input_ids


# Command R: norms without a bias, sub-layers side by side, one matrix for both ends, logits scaled down


class CommandR(nn.Module):
    """Texts of unequal `lengths` [B] stand at the left of their rows."""

    def __init__(self, vocab: int = 47, hidden: int = 32, heads: int = 4, kv_heads: int = 2, depth: int = 2) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim, self.logit_scale = heads, kv_heads, hidden // heads, 0.0625
        self.embed = nn.Embedding(vocab, hidden)
        inner = self.kv_heads * self.head_dim
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm": nn.LayerNorm(hidden, bias=False),
                    "q": nn.Linear(hidden, hidden, bias=False),
                    "kv": nn.Linear(hidden, 2 * inner, bias=False),
                    "o": nn.Linear(hidden, hidden, bias=False),
                    "gate_up": nn.Linear(hidden, 6 * hidden, bias=False),
                    "down": nn.Linear(3 * hidden, hidden, bias=False),
                }
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(hidden, bias=False)
        angle = torch.outer(torch.arange(64.0), 8e6 ** -(torch.arange(0, self.head_dim, 2) / self.head_dim))
        self.register_buffer("rope", torch.polar(torch.ones_like(angle), angle), persistent=False)

    def turn(self, x: Tensor) -> Tensor:
        turned = torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) * self.rope[: x.shape[1], None]
        return torch.view_as_real(turned).flatten(-2).type_as(x)

    def attend(self, layer: nn.ModuleDict, x: Tensor, mask: Tensor) -> Tensor:
        q = self.turn(layer["q"](x).unflatten(-1, (self.heads, self.head_dim)))
        k, v = layer["kv"](x).unflatten(-1, (2, self.kv_heads, self.head_dim)).unbind(2)
        k = self.turn(k)
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask, enable_gqa=True
        )
        return layer["o"](out.transpose(1, 2).flatten(2))

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        n = tokens.shape[1]
        mask = torch.ones(n, n, dtype=torch.bool).tril()[None, None]
        if lengths is not None:
            mask = mask & (torch.arange(n) < lengths[:, None])[:, None, None]
        x = self.embed(tokens)
        for layer in self.layers:
            h = layer["norm"](x)
            gate, up = layer["gate_up"](h).chunk(2, dim=-1)
            x = x + self.attend(layer, h, mask) + layer["down"](F.silu(gate) * up)
        return F.linear(self.norm(x), self.embed.weight) * self.logit_scale

    def nll(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The mean over all tokens that a text has behind its first."""
        logits = self(tokens[:, :-1], lengths)
        losses = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        real = torch.arange(1, tokens.shape[1]) < lengths[:, None]
        return (losses * real).sum() / real.sum()


# Falcon with ALiBi and one key-value head


def alibi_slopes(num_heads: int) -> Tensor:
    closest = 2 ** math.floor(math.log2(num_heads))
    slopes = [2 ** (-(2 ** -(math.log2(closest) - 3)) * (i + 1)) for i in range(closest)]
    if closest < num_heads:
        base = 2 ** (-(2 ** -(math.log2(2 * closest) - 3)))
        slopes += [base ** (2 * i + 1) for i in range(num_heads - closest)]
    return torch.tensor(slopes)


class FalconLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        self.input_layernorm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, width + 2 * self.head_dim, bias=False)
        self.dense = nn.Linear(width, width, bias=False)
        self.dense_h_to_4h, self.dense_4h_to_h = (
            nn.Linear(width, 4 * width, bias=False),
            nn.Linear(4 * width, width, bias=False),
        )

    def forward(self, x: Tensor, bias: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Any]:
        h = self.input_layernorm(x)
        fused = self.query_key_value(h).unflatten(-1, (self.heads + 2, self.head_dim))
        q, k, v = fused[..., :-2, :], fused[..., -2, :], fused[..., -1, :]
        if past is not None:
            k, v = torch.cat((past[0], k), dim=1), torch.cat((past[1], v), dim=1)
        scores = torch.einsum("bqhd,bkd->bhqk", q, k) / math.sqrt(self.head_dim)
        probs = torch.softmax(scores + bias, dim=-1)
        attn = self.dense(torch.einsum("bhqk,bkd->bqhd", probs, v).flatten(2))
        return x + attn + self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(h))), (k, v)


class Falcon(nn.Module):
    """`mask` [B, past and present] is 1 where there is a token."""

    def __init__(self, vocab: int = 59, width: int = 48, heads: int = 6, layers: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.word_embeddings = nn.Embedding(vocab, width)
        self.h = nn.ModuleList([FalconLayer(width, heads) for _ in range(layers)])
        self.ln_f, self.lm_head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)
        self.apply(lambda m: nn.init.normal_(m.weight, 0.0, 0.02) if isinstance(m, nn.Linear | nn.Embedding) else None)
        self.lm_head.weight = self.word_embeddings.weight

    def forward(self, input_ids: Tensor, past: list[Any] | None = None, mask: Tensor | None = None) -> Any:
        new = input_ids.shape[1]
        total = new + (past[0][0].shape[1] if past else 0)
        if mask is None:
            mask = torch.ones(len(input_ids), total)
        place = (mask.cumsum(dim=-1) - 1) * mask
        alibi = alibi_slopes(self.heads)[None, :, None, None] * place[:, None, None, :]
        seen = torch.ones(total, total, dtype=torch.bool).tril()[-new:] & mask.bool()[:, None, None, :]
        x = self.word_embeddings(input_ids)
        bias = alibi.to(x.dtype).masked_fill(~seen, torch.finfo(x.dtype).min)
        presents = []
        for i, layer in enumerate(self.h):
            x, present = layer(x, bias, past[i] if past else None)
            presents.append(present)
        return self.lm_head(self.ln_f(x)), presents


# GPT-J, with a cache object and left-padded prompts


class StaticCache:
    """Keys and values [layers, B, H, slots, E], filled from the left."""

    def __init__(self, layers: int, batch: int, heads: int, slots: int, dim: int, dtype: torch.dtype) -> None:
        self.keys, self.values = torch.zeros(2, layers, batch, heads, slots, dim, dtype=dtype)
        self.length = 0

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        end = self.length + k.shape[2]
        self.keys[layer, :, :, self.length : end] = k
        self.values[layer, :, :, self.length : end] = v
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, count: int) -> None:
        self.length += count


def rotate_every_two(x: Tensor) -> Tensor:
    return torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)


class GPTJBlock(nn.Module):
    def __init__(self, layer: int, dim: int, heads: int, rotary_dim: int) -> None:
        super().__init__()
        self.layer, self.heads, self.rotary_dim = layer, heads, rotary_dim
        self.ln_1 = nn.LayerNorm(dim)
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.fc_in, self.fc_out = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def rotary(self, x: Tensor, position_ids: Tensor) -> Tensor:
        inv_freq = 10000 ** -(torch.arange(0, self.rotary_dim, 2) / self.rotary_dim)
        angle = (position_ids[..., None].float() * inv_freq).repeat_interleave(2, dim=-1)[:, None]
        rot, rest = x[..., : self.rotary_dim], x[..., self.rotary_dim :]
        return torch.cat((rot * angle.cos().to(x) + rotate_every_two(rot) * angle.sin().to(x), rest), dim=-1)

    def forward(self, x: Tensor, position_ids: Tensor, bias: Tensor, cache: StaticCache | None) -> Tensor:
        residual, x = x, self.ln_1(x)
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = self.rotary(q, position_ids), self.rotary(k, position_ids)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
        scores = (q.float() @ k.float().transpose(-1, -2)) / math.sqrt(q.shape[-1]) + bias
        attn = (scores.softmax(dim=-1).to(v.dtype) @ v).transpose(1, 2).flatten(2)
        return residual + self.out_proj(attn) + self.fc_out(F.gelu(self.fc_in(x), approximate="tanh"))


class GPTJ(nn.Module):
    def __init__(self, vocab: int = 45, dim: int = 32, heads: int = 2, depth: int = 2, eos: int = 0) -> None:
        super().__init__()
        self.eos, self.heads, self.dim, self.vocab_size = eos, heads, dim, vocab
        self.wte = nn.Embedding(vocab, dim)
        self.h = nn.ModuleList([GPTJBlock(i, dim, heads, 8) for i in range(depth)])
        self.ln_f, self.lm_head = nn.LayerNorm(dim), nn.Linear(dim, vocab)
        for p in self.parameters():
            if p.dim() == 2:
                p.data.normal_(0, 0.02)
        self.lm_head.bias.data.zero_()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, cache: StaticCache | None = None
    ) -> Tensor:
        past = cache.length if cache is not None else 0
        total = past + input_ids.shape[1]
        if attention_mask is None:
            attention_mask = torch.ones(len(input_ids), total, dtype=torch.long)
        position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, past:]
        allowed = torch.ones(total, total).tril()[past:].bool() & attention_mask.bool()[:, None, None]
        bias = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
        x = self.wte(input_ids)
        for block in self.h:
            x = block(x, position_ids, bias, cache)
        if cache is not None:
            cache.advance(input_ids.shape[1])
        return self.lm_head(self.ln_f(x))

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        max_new_tokens: int = 8,
        temperature: float = 0.0,
        top_k: int | None = None,
    ) -> Tensor:
        """Rows that have written the end are filled with it."""
        batch, length = input_ids.shape
        slots, dtype = length + max_new_tokens, self.wte.weight.dtype
        cache = StaticCache(len(self.h), batch, self.heads, slots, self.dim // self.heads, dtype)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        done, new = torch.zeros(batch, dtype=torch.bool), input_ids
        for _ in range(max_new_tokens):
            logits = self(new, mask, cache)[:, -1]
            if top_k is not None:
                logits[logits < logits.topk(top_k).values[:, -1:]] = -torch.inf
            if temperature > 0:
                new = torch.multinomial(F.softmax(logits / temperature, dim=-1), 1)
            else:
                new = logits.argmax(dim=-1, keepdim=True)
            new = new.masked_fill(done[:, None], self.eos)
            input_ids = torch.cat((input_ids, new), dim=1)
            mask = torch.cat((mask, torch.ones_like(mask[:, :1])), dim=1)
            done = done | (new[:, 0] == self.eos)
            if done.all():
                break
        return input_ids


def small(model: nn.Module) -> nn.Module:
    for weight in model.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.02)
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "Gemma 2": partial(seeded, Gemma),
    "OLMo 2": partial(seeded, OLMo, OLMoConfig()),
    "Phi": partial(seeded, PhiForCausalLM),
    "Command R": lambda: small(seeded(CommandR)),
    "Falcon": partial(seeded, Falcon),
    "GPT-J": partial(seeded, GPTJ),
}
