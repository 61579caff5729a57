"""Decoders with ways of their own to be called: caches, wrappers, steps of training, memories, prefixes, plain rows."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import normal, seeded
from torch import Tensor, nn


def heads(x: Tensor, number: int) -> Tensor:
    """[B, T, H E] to [B, H, T, E]"""
    return x.view(x.size(0), x.size(1), number, -1).transpose(1, 2)


def merge(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def rotate_half(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """x [B, H, T, E], positions [T]"""
    inv = base ** (-torch.arange(0, x.size(-1), 2, dtype=x.dtype) / x.size(-1))
    angle = positions.to(x.dtype)[:, None] * torch.cat([inv, inv])
    x1, x2 = x.chunk(2, dim=-1)
    return x * angle.cos() + torch.cat((-x2, x1), dim=-1) * angle.sin()


# Gemma 3: windows in most layers, two bases of rotation, caches that forget what no window reaches


@dataclass
class Gemma3Config:
    vocab_size: int = 68
    hidden_size: int = 32
    num_hidden_layers: int = 3
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    sliding_window: int = 5
    sliding_window_pattern: int = 3
    rope_local_base_freq: float = 10_000.0
    rope_theta: float = 1_000_000.0
    final_logit_softcapping: float = 30.0


class Gemma3Norm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + self.weight)


class Gemma3Layer(nn.Module):
    def __init__(self, config: Gemma3Config, layer: int) -> None:
        super().__init__()
        dim, self.config = config.hidden_size, config
        head_dim = dim // config.num_attention_heads
        is_global = (layer + 1) % config.sliding_window_pattern == 0
        self.window = None if is_global else config.sliding_window
        self.base = config.rope_theta if is_global else config.rope_local_base_freq
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj, self.v_proj = (nn.Linear(dim, config.num_key_value_heads * head_dim, bias=False) for _ in "kv")
        self.o_proj = nn.Linear(dim, dim, bias=False)
        self.q_norm, self.k_norm = Gemma3Norm(head_dim), Gemma3Norm(head_dim)
        self.pre, self.post, self.pre_ff, self.post_ff = (Gemma3Norm(dim) for _ in range(4))
        self.gate, self.up = nn.Linear(dim, 64, bias=False), nn.Linear(dim, 64, bias=False)
        self.down = nn.Linear(64, dim, bias=False)

    def attend(self, x: Tensor, seen: int, cache: dict[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        here = torch.arange(seen, seen + x.size(1))
        q = rotate_half(self.q_norm(heads(self.q_proj(x), self.config.num_attention_heads)), here, self.base)
        k = rotate_half(self.k_norm(heads(self.k_proj(x), self.config.num_key_value_heads)), here, self.base)
        v = heads(self.v_proj(x), self.config.num_key_value_heads)
        if cache is not None:
            k, v = torch.cat([cache["k"], k], dim=2), torch.cat([cache["v"], v], dim=2)
        there = torch.arange(seen + x.size(1) - k.size(2), seen + x.size(1))
        distance = here[:, None] - there[None, :]
        visible = distance >= 0
        if self.window is not None:
            visible = visible & (distance < self.window)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, enable_gqa=True)
        if self.window is not None:
            kept = self.window - 1
            k, v = k[:, :, -kept:], v[:, :, -kept:]
        return self.o_proj(merge(y)), {"k": k, "v": v}

    def forward(self, x: Tensor, seen: int, cache: dict[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        attended, cache = self.attend(self.pre(x), seen, cache)
        x = x + self.post(attended)
        h = self.pre_ff(x)
        return x + self.post_ff(self.down(F.gelu(self.gate(h), approximate="tanh") * self.up(h))), cache


class Gemma3(nn.Module):
    """Returns (logits, cache); the cache is a tuple of how many tokens it has seen and a dict for each layer."""

    def __init__(self, config: Gemma3Config) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([Gemma3Layer(config, i) for i in range(config.num_hidden_layers)])
        self.norm = Gemma3Norm(config.hidden_size)
        normal(self)

    def forward(
        self, input_ids: Tensor, cache: tuple[int, list[dict[str, Tensor]]] | None = None
    ) -> tuple[Tensor, tuple[int, list[dict[str, Tensor]]]]:
        seen = 0 if cache is None else cache[0]
        x, new = self.embed_tokens(input_ids) * self.config.hidden_size**0.5, []
        for i, layer in enumerate(self.layers):
            x, layer_cache = layer(x, seen, None if cache is None else cache[1][i])
            new.append(layer_cache)
        logits = F.linear(self.norm(x), self.embed_tokens.weight)
        cap = self.config.final_logit_softcapping
        logits = cap * torch.tanh(logits / cap)
        return logits, (seen + input_ids.size(1), new)


# MiniCPM 3: latent keys and values, of which the cache keeps the latents alone


def rotate_pairs(x: Tensor, start: int) -> Tensor:
    """x [B, T, H, E], neighbours are pairs"""
    inv = 10000.0 ** (-torch.arange(0, x.size(-1), 2, dtype=x.dtype) / x.size(-1))
    angle = torch.arange(start, start + x.size(1), dtype=x.dtype)[:, None, None] * inv
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.stack([even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()], dim=-1)
    return turned.flatten(-2)


class LatentBlock(nn.Module):
    def __init__(self, dim: int, n_heads: int, rank: int, nope: int, rope: int) -> None:
        super().__init__()
        self.n_heads, self.rank, self.nope, self.rope = n_heads, rank, nope, rope
        self.q_proj = nn.Linear(dim, n_heads * (nope + rope), bias=False)
        self.kv_a, self.kv_norm = nn.Linear(dim, rank + rope, bias=False), nn.RMSNorm(rank, eps=1e-6)
        self.kv_b, self.o_proj = nn.Linear(rank, n_heads * 2 * nope, bias=False), nn.Linear(n_heads * nope, dim)
        self.norm1, self.norm2 = nn.RMSNorm(dim, eps=1e-6), nn.RMSNorm(dim, eps=1e-6)
        self.gate_up, self.down = nn.Linear(dim, 128, bias=False), nn.Linear(64, dim, bias=False)

    def attend(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        b, t, _ = x.shape
        start = 0 if past is None else past[0].size(1)
        q = self.q_proj(x).view(b, t, self.n_heads, -1)
        q_nope, q_rope = q.split([self.nope, self.rope], dim=-1)
        latent, k_rope = self.kv_a(x).split([self.rank, self.rope], dim=-1)
        latent = self.kv_norm(latent)
        q_rope, k_rope = rotate_pairs(q_rope, start), rotate_pairs(k_rope[:, :, None], start)
        if past is not None:
            latent, k_rope = torch.cat([past[0], latent], dim=1), torch.cat([past[1], k_rope], dim=1)
        k_nope, v = self.kv_b(latent).view(b, latent.size(1), self.n_heads, -1).chunk(2, dim=-1)
        scores = torch.einsum("bthe,bshe->bhts", q_nope, k_nope) + torch.einsum(
            "bthe,bse->bhts", q_rope, k_rope[:, :, 0]
        )
        scores = scores * (self.nope + self.rope) ** -0.5
        later = torch.arange(latent.size(1)) > torch.arange(start, start + t)[:, None]
        weights = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
        return self.o_proj(torch.einsum("bhts,bshe->bthe", weights, v).flatten(2)), (latent, k_rope)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, past = self.attend(self.norm1(x), past)
        x = x + y
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up), past


class LatentLM(nn.Module):
    def __init__(self, vocab: int = 55, dim: int = 32, n_heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(vocab, dim), nn.Linear(dim, vocab, bias=False)
        self.blocks = nn.ModuleList([LatentBlock(dim, n_heads, 16, 8, 4) for _ in range(depth)])
        self.norm = nn.RMSNorm(dim, eps=1e-6)
        normal(self)

    def forward(
        self, input_ids: Tensor, past_key_values: list[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        x, new = self.embed(input_ids), []
        for i, block in enumerate(self.blocks):
            x, present = block(x, None if past_key_values is None else past_key_values[i])
            new.append(present)
        return self.head(self.norm(x)), new


# Adaptive input of Baevski and Auli: rarer tokens have narrower vectors, and the output shares the tables


class AdaptiveInputLM(nn.Module):
    def __init__(
        self, cutoffs: tuple[int, ...] = (16, 36, 64), dim: int = 32, n_heads: int = 4, depth: int = 2
    ) -> None:
        super().__init__()
        self.dim, self.n_heads, self.cutoffs = dim, n_heads, (0, *cutoffs)
        sizes = [high - low for low, high in zip(self.cutoffs[:-1], cutoffs, strict=True)]
        self.tables = nn.ModuleList([nn.Embedding(size, dim // 2**i) for i, size in enumerate(sizes)])
        self.projections = nn.ModuleList([nn.Linear(dim // 2**i, dim, bias=False) for i in range(len(sizes))])
        self.positions = nn.Parameter(torch.randn(48, dim) * 0.02)
        layer = partial(nn.TransformerEncoderLayer, dim, n_heads, 64, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.ModuleList([layer() for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        for table, projection in zip(self.tables, self.projections, strict=True):
            nn.init.normal_(table.weight, std=table.embedding_dim**-0.5)
            nn.init.normal_(projection.weight, std=0.02)

    def table(self) -> Tensor:
        """Vectors of all tokens [V, D]"""
        return torch.cat(
            [projection(table.weight) for table, projection in zip(self.tables, self.projections, strict=True)]
        )

    def forward(self, tokens: Tensor) -> Tensor:
        table = self.table()
        x = F.embedding(tokens, table) * math.sqrt(self.dim) + self.positions[: tokens.size(1)]
        future = torch.ones(tokens.size(1), tokens.size(1), dtype=torch.bool).triu(1)
        for layer in self.layers:
            x = layer(x, src_mask=future)
        return self.norm(x) @ table.T


# A game of chess as a row of moves: 0 is padding, 1 ends a game


PAD, END = 0, 1


@dataclass
class ChessConfig:
    n_moves: int = 80
    d_model: int = 32
    n_layer: int = 2
    n_head: int = 4
    block_size: int = 40
    dropout: float = 0.1
    tie_weights: bool = True


class ChessBlock(nn.Module):
    def __init__(self, config: ChessConfig) -> None:
        super().__init__()
        self.n_head, self.dropout = config.n_head, nn.Dropout(config.dropout)
        self.ln1, self.ln2 = nn.LayerNorm(config.d_model), nn.LayerNorm(config.d_model)
        self.qkv, self.out = nn.Linear(config.d_model, 3 * config.d_model), nn.Linear(config.d_model, config.d_model)
        self.fc1, self.fc2 = nn.Linear(config.d_model, 96), nn.Linear(96, config.d_model)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (heads(each, self.n_head) for each in self.qkv(self.ln1(x)).chunk(3, dim=-1))
        attention = (q @ k.transpose(-1, -2) / math.sqrt(k.size(-1)) + bias).softmax(dim=-1)
        x = x + self.dropout(self.out(merge(attention @ v)))
        return x + self.dropout(self.fc2(F.relu(self.fc1(self.ln2(x)))))


class ChessGPT(nn.Module):
    """`forward(moves)` gives logits; `loss(moves)` of rows that end with END and then PAD, which is not counted."""

    def __init__(self, config: ChessConfig) -> None:
        super().__init__()
        self.config = config
        self.move_emb = nn.Embedding(config.n_moves, config.d_model)
        self.ply_emb, self.colour_emb = nn.Embedding(config.block_size, config.d_model), nn.Embedding(2, config.d_model)
        self.blocks = nn.ModuleList([ChessBlock(config) for _ in range(config.n_layer)])
        self.ln = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.n_moves, bias=False)
        if config.tie_weights:
            self.head.weight = self.move_emb.weight
        normal(self)

    def forward(self, moves: Tensor) -> Tensor:
        ply = torch.arange(moves.size(1))
        x = self.move_emb(moves) + self.ply_emb(ply) + self.colour_emb(ply % 2)
        bias = torch.full((moves.size(1), moves.size(1)), -1e9, dtype=x.dtype).triu(1)
        for block in self.blocks:
            x = block(x, bias)
        return self.head(self.ln(x))

    def loss(self, moves: Tensor) -> Tensor:
        logits = self(moves[:, :-1])
        return F.cross_entropy(logits.transpose(1, 2), moves[:, 1:], ignore_index=PAD)

    @torch.no_grad()
    def play(self, moves: Tensor, legal: Tensor | None = None) -> Tensor:
        """The next move [B]; legal [B, V] says which are allowed."""
        logits = self(moves[:, -self.config.block_size :])[:, -1]
        if legal is not None:
            logits = logits.masked_fill(~legal, float("-inf"))
        return logits.argmax(dim=-1)


# Numbers of a series as tokens of bins


class SeriesGPT(nn.Module):
    """Bins are tokens; `forward(input_ids, labels)`: labels are what follows each token, PAD's loss is not counted."""

    def __init__(self, bins: int = 62, dim: int = 32, n_heads: int = 2, depth: int = 2, limit: float = 5.0) -> None:
        super().__init__()
        self.n_heads, self.limit, self.bins, self.p = n_heads, limit, bins, 0.1
        self.token, self.head = nn.Embedding(bins + 2, dim), nn.Linear(dim, bins + 2)
        self.qkv = nn.ModuleList([nn.Linear(dim, 3 * dim) for _ in range(depth)])
        self.out = nn.ModuleList([nn.Linear(dim, dim) for _ in range(depth)])
        self.mlp = nn.ModuleList(
            [nn.Sequential(nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, dim)) for _ in range(depth)]
        )
        self.ln = nn.ModuleList([nn.LayerNorm(dim) for _ in range(2 * depth + 1)])
        normal(self)

    def encode(self, context: Tensor) -> tuple[Tensor, Tensor]:
        scale = context.abs().mean(dim=-1, keepdim=True).clamp(min=1e-6)
        edges = torch.linspace(-self.limit, self.limit, self.bins - 1, dtype=context.dtype)
        return torch.bucketize(context / scale, edges) + 2, scale

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> tuple[Tensor | None, Tensor]:
        x, place = self.token(input_ids), torch.arange(input_ids.size(1))
        for i in range(len(self.qkv)):
            q, k, v = (heads(each, self.n_heads) for each in self.qkv[i](self.ln[2 * i](x)).chunk(3, dim=-1))
            q, k = rotate_half(q, place, 10000.0), rotate_half(k, place, 10000.0)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + F.dropout(self.out[i](merge(y)), self.p, self.training)
            x = x + F.dropout(self.mlp[i](self.ln[2 * i + 1](x)), self.p, self.training)
        logits = self.head(self.ln[-1](x))
        if labels is None:
            return None, logits
        labels = labels.masked_fill(labels == PAD, -100)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100), logits

    @torch.no_grad()
    def predict(self, context: Tensor, horizon: int) -> Tensor:
        """context [B, T] of numbers; their likeliest bins' centres [B, horizon]"""
        ids, scale = self.encode(context)
        for _ in range(horizon):
            step = self(ids)[1][:, -1, 2:].argmax(dim=-1, keepdim=True) + 2
            ids = torch.cat([ids, step], dim=1)
        width = 2 * self.limit / (self.bins - 2)
        return ((ids[:, -horizon:] - 2) * width - self.limit - width / 2) * scale


# A wrapper that makes a network write


class SimpleTransformer(nn.Module):
    def __init__(
        self, num_tokens: int = 57, dim: int = 32, depth: int = 2, n_heads: int = 4, max_seq_len: int = 32
    ) -> None:
        super().__init__()
        self.max_seq_len, self.heads = max_seq_len, n_heads
        self.token_emb = nn.Embedding(num_tokens, dim)
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.LayerNorm(dim),
                    nn.Linear(dim, 3 * dim, bias=False),
                    nn.Linear(dim, dim, bias=False),
                    nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)),
                ]
            )
            for _ in range(depth)
        )
        self.to_logits = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, num_tokens, bias=False))
        normal(self)

    def forward(self, x: Tensor) -> Tensor:
        n = x.size(1)
        slopes = 2.0 ** (-8.0 * torch.arange(1, self.heads + 1) / self.heads)
        distance = torch.arange(n)[None, :] - torch.arange(n)[:, None]
        x = self.token_emb(x)
        alibi = (slopes[:, None, None] * distance).to(x.dtype).masked_fill(distance > 0, -torch.finfo(x.dtype).max)
        for norm, to_qkv, to_out, feed_forward in self.layers:
            q, k, v = (heads(each, self.heads) for each in to_qkv(norm(x)).chunk(3, dim=-1))
            similarity = torch.einsum("bhid,bhjd->bhij", q, k) * q.size(-1) ** -0.5 + alibi
            x = x + to_out(merge(torch.einsum("bhij,bhjd->bhid", similarity.softmax(dim=-1), v)))
            x = x + feed_forward(x)
        return self.to_logits(x)


class Writer(nn.Module):
    """`forward(x)` is the loss of a row of tokens for itself; -100 in `labels` is not counted."""

    def __init__(self, net: SimpleTransformer | None = None, ignore_index: int = -100) -> None:
        super().__init__()
        self.net, self.ignore_index = SimpleTransformer() if net is None else net, ignore_index

    @torch.no_grad()
    def generate(
        self,
        prompts: Tensor,
        seq_len: int,
        eos_token: int | None = None,
        temperature: float = 1.0,
        top_k: int = 10,
    ) -> Tensor:
        """Returns the new tokens [B, up to seq_len] alone."""
        was_training = self.net.training
        self.net.eval()
        out = prompts
        for _ in range(seq_len):
            logits = self.net(out[:, -self.net.max_seq_len :])[:, -1]
            values, indices = logits.topk(top_k, dim=-1)
            kept = torch.full_like(logits, float("-inf")).scatter(1, indices, values)
            sample = torch.multinomial((kept / temperature).softmax(dim=-1), 1)
            out = torch.cat((out, sample), dim=-1)
            if eos_token is not None:
                new = out[:, prompts.size(1) :]
                ended = F.pad((new == eos_token).cumsum(dim=-1), (1, -1)) > 0
                new.masked_fill_(ended, eos_token)
                if bool((new == eos_token).any(dim=-1).all()):
                    break
        self.net.train(was_training)
        return out[:, prompts.size(1) :]

    def forward(
        self, x: Tensor, labels: Tensor | None = None, return_logits: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        inputs, target = x[:, :-1], (x if labels is None else labels)[:, 1:]
        logits = self.net(inputs)
        loss = F.cross_entropy(logits.transpose(1, 2), target, ignore_index=self.ignore_index)
        return (loss, logits) if return_logits else loss


# Equinox: modules take a row without a batch, and the batch is mapped over


class RowAttention(nn.Module):
    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D]"""
        t = x.size(0)
        q, k, v = (f(x).view(t, self.n_heads, -1).transpose(0, 1) for f in (self.query, self.key, self.value))
        logits = torch.einsum("hte,hse->hts", q, k) / math.sqrt(q.size(-1))
        logits = torch.where(torch.ones(t, t, dtype=torch.bool).tril(), logits, -torch.inf)
        return self.output(torch.einsum("hts,hse->the", logits.softmax(dim=-1), v).reshape(t, -1))


class EquinoxLM(nn.Module):
    def __init__(self, vocab: int = 46, dim: int = 32, n_heads: int = 4, depth: int = 2, length: int = 32) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocab, dim), nn.Embedding(length, dim)
        self.attentions = nn.ModuleList([RowAttention(dim, n_heads) for _ in range(depth)])
        self.mlps = nn.ModuleList(
            [nn.Sequential(nn.Linear(dim, 96), nn.GELU(), nn.Linear(96, dim)) for _ in range(depth)]
        )
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(2 * depth + 1)])
        self.unembed = nn.Linear(dim, vocab, bias=False)
        normal(self)

    def row(self, tokens: Tensor) -> Tensor:
        """tokens [T]; logits [T, V]"""
        x = self.embedding(tokens) + self.position.weight[: tokens.size(0)]
        for i, (attention, mlp) in enumerate(zip(self.attentions, self.mlps, strict=True)):
            x = x + attention(self.norms[2 * i](x))
            x = x + mlp(self.norms[2 * i + 1](x))
        return self.unembed(self.norms[-1](x))

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.vmap(self.row)(tokens)


MODELS: dict[str, Callable[[], Any]] = {
    "Gemma 3": partial(seeded, Gemma3, Gemma3Config()),
    "MiniCPM 3": partial(seeded, LatentLM),
    "adaptive input": partial(seeded, AdaptiveInputLM),
    "chess": partial(seeded, ChessGPT, ChessConfig()),
    "a series of numbers": partial(seeded, SeriesGPT),
    "a wrapper that writes": partial(seeded, Writer),
    "Equinox": partial(seeded, EquinoxLM),
}
