"""Further designs: experts, a state in place of a cache, items of a shop, a rolling window, a stream of tokens, layers
that are called again, learned prompts, relative positions that are skewed, several tasks, a denoiser, compiled code."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn


def init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def heads(x: Tensor, n: int) -> Tensor:
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


# two of four experts, by index


@dataclass
class MoeOutput:
    logits: Tensor
    loss: Tensor | None
    balance: Tensor


class TopTwo(nn.Module):
    def __init__(self, dim: int, experts: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, dim, 2 * dim) * dim**-0.5)
        self.down = nn.Parameter(torch.randn(experts, 2 * dim, dim) * (2 * dim) ** -0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.flatten(0, 1)
        probabilities = self.gate(flat).softmax(-1)
        weights, chosen = probabilities.topk(2, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        out = torch.zeros_like(flat)
        for e in range(len(self.up)):
            rows, slots = (chosen == e).nonzero(as_tuple=True)
            hidden = F.silu(flat[rows] @ self.up[e]) @ self.down[e]
            out = out.index_add(0, rows, hidden * weights[rows, slots, None])
        share = F.one_hot(chosen, len(self.up)).sum(1).float().mean(0) / 2
        return out.view_as(x), len(self.up) * (share * probabilities.mean(0)).sum()


class MoeLM(nn.Module):
    """The loss of `labels`, which it shifts itself, has a hundredth of the balance in training."""

    def __init__(self, vocab: int = 46, dim: int = 32) -> None:
        super().__init__()
        self.embed, self.pos = nn.Embedding(vocab, dim), nn.Embedding(32, dim)
        self.norms = nn.ModuleList([nn.RMSNorm(dim) for _ in range(5)])
        self.qkv = nn.ModuleList([nn.Linear(dim, 3 * dim, bias=False) for _ in range(2)])
        self.out = nn.ModuleList([nn.Linear(dim, dim, bias=False) for _ in range(2)])
        self.experts = nn.ModuleList([TopTwo(dim, 4) for _ in range(2)])
        self.head = nn.Linear(dim, vocab, bias=False)
        self.apply(init)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> MoeOutput:
        x = self.embed(input_ids) + self.pos.weight[: input_ids.shape[1]]
        balance = x.new_zeros(())
        for i, experts in enumerate(self.experts):
            q, k, v = (heads(t, 4) for t in self.qkv[i](self.norms[2 * i](x)).chunk(3, dim=-1))
            x = x + self.out[i](F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
            y, one = experts(self.norms[2 * i + 1](x))
            x, balance = x + y, balance + one
        logits, loss = self.head(self.norms[-1](x)), None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
            if self.training:
                loss = loss + 0.01 * balance
        return MoeOutput(logits, loss, balance)


# linear attention: sums over the past, kept from call to call


class LinearAttentionLM(nn.Module):
    """`forward(tokens)` for all at once, `recurrent(token [B], state)` for one after the other."""

    def __init__(self, vocab: int = 39, dim: int = 32, n_heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.n_heads, self.dim = n_heads, dim
        self.tok = nn.Embedding(vocab, dim)
        self.pos = nn.Embedding(40, dim)
        self.ln = nn.ModuleList([nn.LayerNorm(dim) for _ in range(2 * depth + 1)])
        self.qkv = nn.ModuleList([nn.Linear(dim, 3 * dim) for _ in range(depth)])
        self.ff = nn.ModuleList(
            [nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim)) for _ in range(depth)]
        )
        self.head = nn.Linear(dim, vocab)
        self.apply(init)

    def features(self, i: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)) for t in self.qkv[i](self.ln[2 * i](x)).chunk(3, dim=-1))
        return F.elu(q) + 1, F.elu(k) + 1, v

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tok(tokens) + self.pos(torch.arange(tokens.shape[1]))
        for i, ff in enumerate(self.ff):
            q, k, v = self.features(i, x)
            above = torch.einsum("bthe,bthf->bthef", k, v).cumsum(1)
            below = torch.einsum("bthe,bthe->bth", q, k.cumsum(1))
            x = x + (torch.einsum("bthe,bthef->bthf", q, above) / below[..., None]).flatten(2)
            x = x + ff(self.ln[2 * i + 1](x))
        return self.head(self.ln[-1](x))

    def init_state(self, batch_size: int) -> dict[str, Any]:
        e = self.dim // self.n_heads
        like = self.tok.weight
        sums = [
            (like.new_zeros(batch_size, self.n_heads, e, e), like.new_zeros(batch_size, self.n_heads, e))
            for _ in self.ff
        ]
        return {"sums": sums, "t": 0}

    def recurrent(self, token: Tensor, state: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        x, sums = self.tok(token) + self.pos.weight[state["t"]], []
        for i, (ff, (above, below)) in enumerate(zip(self.ff, state["sums"], strict=True)):
            q, k, v = self.features(i, x)
            above, below = above + k[..., None] * v[..., None, :], below + k
            y = torch.einsum("bhe,bhef->bhf", q, above) / (q * below).sum(-1, keepdim=True)
            x = x + y.flatten(1)
            x = x + ff(self.ln[2 * i + 1](x))
            sums.append((above, below))
        return self.head(self.ln[-1](x)), {"sums": sums, "t": state["t"] + 1}


# BERT4Rec: items, of which some are masked; 0 is padding at the left, the last number the mask


class BERT4Rec(nn.Module):
    def __init__(self, num_items: int = 48, max_len: int = 20, hidden: int = 32) -> None:
        super().__init__()
        self.num_items, self.mask_token = num_items, num_items + 1
        self.item = nn.Embedding(num_items + 2, hidden, padding_idx=0)
        self.position = nn.Embedding(max_len, hidden)
        layer = nn.TransformerEncoderLayer(hidden, 2, 4 * hidden, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.ModuleList([layer, nn.TransformerEncoderLayer(hidden, 2, 64, 0.1, "gelu", batch_first=True)])
        self.out = nn.Linear(hidden, num_items + 1)
        self.apply(init)

    def forward(self, x: Tensor) -> Tensor:
        hidden = (x == 0)[:, None, None, :].expand(-1, 2, x.shape[1], -1).flatten(0, 1)
        hidden = hidden & ~torch.eye(x.shape[1], dtype=torch.bool)
        h = self.item(x) + self.position.weight[-x.shape[1] :]
        for layer in self.layers:
            h = layer(h, src_mask=hidden)
        return self.out(h)


# Mistral: a window, and a cache that is as long as the window


class Rolling(NamedTuple):
    keys: Tensor
    values: Tensor
    places: Tensor


class WindowLM(nn.Module):
    """`forward(tokens, cache)` returns logits and the last `window` keys of each layer."""

    def __init__(self, vocab: int = 44, dim: int = 32, window: int = 6, depth: int = 2) -> None:
        super().__init__()
        self.window = window
        self.embed = nn.Embedding(vocab, dim)
        self.wq, self.wk, self.wv, self.wo = (
            nn.ModuleList([nn.Linear(dim, dim, bias=False) for _ in range(depth)]) for _ in range(4)
        )
        self.norm = nn.ModuleList([nn.RMSNorm(dim) for _ in range(2 * depth + 1)])
        self.mlp = nn.ModuleList(
            [nn.Sequential(nn.Linear(dim, 96), nn.SiLU(), nn.Linear(96, dim)) for _ in range(depth)]
        )
        self.head = nn.Linear(dim, vocab, bias=False)
        self.apply(init)

    def rope(self, x: Tensor, places: Tensor) -> Tensor:
        angle = places[:, None].to(x.dtype) * 10000 ** (-torch.arange(0, 8, 2).to(x.dtype) / 8)
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)

    def forward(self, tokens: Tensor, cache: list[Rolling] | None = None) -> tuple[Tensor, list[Rolling]]:
        x, new = self.embed(tokens), []
        start = int(cache[0].places[-1]) + 1 if cache else 0
        places = torch.arange(start, start + tokens.shape[1])
        for i, mlp in enumerate(self.mlp):
            h = self.norm[2 * i](x)
            q, k, v = (heads(w[i](h), 4) for w in (self.wq, self.wk, self.wv))
            q, k, at = self.rope(q, places), self.rope(k, places), places
            if cache:
                k, v = torch.cat([cache[i].keys, k], dim=2), torch.cat([cache[i].values, v], dim=2)
                at = torch.cat([cache[i].places, places])
            distance = places[:, None] - at
            seen = (distance >= 0) & (distance < self.window)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
            x = x + self.wo[i](y.transpose(1, 2).flatten(2))
            x = x + mlp(self.norm[2 * i + 1](x))
            kept = slice(-self.window, None)
            new.append(Rolling(k[:, :, kept], v[:, :, kept], at[kept]))
        return self.head(self.norm[-1](x)), new


# a stream of tokens; no positions but what the mask tells; norms of queries and keys


class Streaming(nn.Module):
    def __init__(self, vocab: int = 50, dim: int = 32, n_heads: int = 2, depth: int = 3, max_seq_len: int = 32) -> None:
        super().__init__()
        self.max_seq_len, self.n_heads = max_seq_len, n_heads
        self.wte = nn.Embedding(vocab, dim)
        self.attn = nn.ModuleList([nn.Linear(dim, 3 * dim, bias=False) for _ in range(depth)])
        self.proj = nn.ModuleList([nn.Linear(dim, dim, bias=False) for _ in range(depth)])
        self.fc = nn.ModuleList([nn.Linear(dim, 3 * dim, bias=False) for _ in range(depth)])
        self.fc_out = nn.ModuleList([nn.Linear(3 * dim, dim, bias=False) for _ in range(depth)])
        self.temperature = nn.Parameter(torch.full((depth,), 4.0))
        self.apply(init)

    def forward(self, idx: Tensor) -> Tensor:
        x = F.rms_norm(self.wte(idx), (self.wte.embedding_dim,))
        for i in range(len(self.attn)):
            q, k, v = (heads(t, self.n_heads) for t in self.attn[i](F.rms_norm(x, x.shape[-1:])).chunk(3, dim=-1))
            q, k = F.normalize(q, dim=-1) * self.temperature[i], F.normalize(k, dim=-1)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
            x = x + self.proj[i](y.transpose(1, 2).flatten(2))
            x = x + self.fc_out[i](F.relu(self.fc[i](F.rms_norm(x, x.shape[-1:]))).square())
        return F.linear(F.rms_norm(x, x.shape[-1:]), self.wte.weight)

    @torch.no_grad()
    def generate(self, prompt: list[int], max_tokens: int) -> Iterator[int]:
        """One token after the other, as soon as it is known."""
        ids = list(prompt)
        for _ in range(max_tokens):
            token = int(self(torch.tensor([ids[-self.max_seq_len :]]))[0, -1].argmax())
            ids.append(token)
            yield token


# the universal transformer: one layer again and again, and a vector that says which time it is


class Universal(nn.Module):
    def __init__(self, vocab: int = 42, dim: int = 32, steps: int = 3, context: int = 24) -> None:
        super().__init__()
        self.steps = steps
        self.embedding, self.out = nn.Embedding(vocab, dim), nn.Linear(dim, vocab)
        self.time, self.place = (
            nn.Parameter(torch.randn(steps, dim) * 0.02),
            nn.Parameter(torch.randn(context, dim) * 0.02),
        )
        self.attend = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.transition = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.apply(init)

    def forward(self, tokens: Tensor) -> Tensor:
        n = tokens.shape[1]
        x = self.embedding(tokens)
        future = nn.Transformer.generate_square_subsequent_mask(n, dtype=x.dtype)
        for step in range(self.steps):
            x = x + self.place[:n] + self.time[step]
            x = self.norm1(x + self.attend(x, x, x, attn_mask=future, need_weights=False)[0])
            x = self.norm2(x + self.transition(x))
        return self.out(x)


# prompt tuning: a frozen model, and learned vectors in front of every text


class PromptTuned(nn.Module):
    def __init__(self, prompts: int = 4, **settings: int) -> None:
        super().__init__()
        self.base = Universal(**settings)
        for weight in self.base.parameters():
            weight.requires_grad_(False)
        self.prompt = nn.Parameter(torch.randn(prompts, self.base.out.in_features) * 0.5)

    def forward(self, tokens: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Logits of the tokens alone; `labels` are those of the next tokens."""
        base, p = self.base, len(self.prompt)
        x = torch.cat([self.prompt.expand(len(tokens), -1, -1), base.embedding(tokens)], dim=1)
        n = x.shape[1]
        future = torch.ones(n, n, dtype=torch.bool).triu(1)
        for step in range(base.steps):
            x = x + base.place[:n] + base.time[step]
            x = base.norm1(x + base.attend(x, x, x, attn_mask=future, need_weights=False)[0])
            x = base.norm2(x + base.transition(x))
        logits = base.out(x[:, p:])
        return {"logits": logits} if labels is None else {"logits": logits, "loss": F.cross_entropy(logits.mT, labels)}


# the music transformer: relative positions by skewing


class MusicTransformer(nn.Module):
    def __init__(self, n_event: int = 45, dim: int = 32, n_heads: int = 4, depth: int = 2, max_seq: int = 20) -> None:
        super().__init__()
        self.n_heads, self.max_seq = n_heads, max_seq
        self.event = nn.Embedding(n_event, dim)
        self.blocks = nn.ModuleList()
        for _ in range(depth):
            block = nn.ModuleDict({name: nn.Linear(dim, dim) for name in ("q", "k", "v", "o")})
            block["norm1"], block["norm2"] = nn.LayerNorm(dim), nn.LayerNorm(dim)
            block["ff"] = nn.Sequential(nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, dim))
            self.blocks.append(block)
        self.er = nn.ParameterList([nn.Parameter(torch.randn(max_seq, dim // n_heads) * 0.1) for _ in range(depth)])
        self.fc = nn.Linear(dim, n_event)
        self.apply(init)

    def skew(self, qe: Tensor) -> Tensor:
        """[B, H, T, T] by distance to [B, H, T, T] by key"""
        b, h, t, _ = qe.shape
        return F.pad(qe, (1, 0)).reshape(b, h, t + 1, t)[:, :, 1:]

    def forward(self, x: Tensor) -> Tensor:
        t = x.shape[1]
        h = self.event(x)
        look_ahead = torch.ones(t, t, dtype=torch.bool).triu(1)
        for block, er in zip(self.blocks, self.er, strict=True):
            q, k, v = (heads(block[name](h), self.n_heads) for name in "qkv")
            relative = self.skew(q @ er[self.max_seq - t :].T)
            scores = (q @ k.mT + relative) / math.sqrt(q.shape[-1])
            y = scores.masked_fill(look_ahead, -torch.inf).softmax(-1) @ v
            h = block["norm1"](h + block["o"](y.transpose(1, 2).flatten(2)))
            h = block["norm2"](h + block["ff"](h))
        return self.fc(h)


# one encoder, several tasks


class ManyTasks(nn.Module):
    """`forward(batch)` of a dictionary with `tokens` and perhaps `mask`; a tag for each token and a class a text."""

    def __init__(self, vocab: int = 60, dim: int = 32, tags: int = 7, classes: int = 3) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocab, dim), nn.Embedding(32, dim)
        layer = nn.TransformerEncoderLayer(dim, 4, 64, 0.1, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.tagger, self.classifier = nn.Linear(dim, tags), nn.Linear(dim, classes)
        self.apply(init)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        tokens, mask = batch["tokens"], batch.get("mask")
        mask = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.bool()
        x = self.encoder(self.embed(tokens) + self.place.weight[: tokens.shape[1]], src_key_padding_mask=~mask)
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return {"tag_logits": self.tagger(x), "class_logits": self.classifier(mean)}


# BART: a denoiser with the interface of encoder_outputs


class Denoiser(nn.Module):
    """Positions begin at 2; `encoder_outputs` spares the encoder."""

    def __init__(self, vocab: int = 51, dim: int = 32, pad_token_id: int = 1) -> None:
        super().__init__()
        self.pad_token_id = pad_token_id
        self.shared = nn.Embedding(vocab, dim, padding_idx=pad_token_id)
        self.embed_positions = nn.Embedding(30 + 2, dim)
        settings: dict[str, Any] = {"dim_feedforward": 64, "activation": "gelu", "batch_first": True}
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(dim, 4, **settings), 2, enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(dim, 4, **settings), 2)
        self.apply(init)

    def embed(self, ids: Tensor) -> Tensor:
        return self.shared(ids) + self.embed_positions(torch.arange(ids.shape[1]) + 2)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: Tensor | None = None,
    ) -> dict[str, Tensor]:
        hidden = None if attention_mask is None else attention_mask == 0
        if encoder_outputs is None:
            encoder_outputs = self.encoder(self.embed(input_ids), src_key_padding_mask=hidden)
        n = decoder_input_ids.shape[1]
        x = self.decoder(
            self.embed(decoder_input_ids),
            encoder_outputs,
            tgt_mask=torch.ones(n, n, dtype=torch.bool).triu(1),
            memory_key_padding_mask=hidden,
        )
        return {"logits": F.linear(x, self.shared.weight), "encoder_last_hidden_state": encoder_outputs}


# a score for a pair of texts


class CrossEncoder(nn.Module):
    """A number between 0 and 1 for texts with `segment_ids`; 0 is padding."""

    def __init__(self, vocab: int = 58, dim: int = 32) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab, dim, padding_idx=0)
        self.segments, self.places = nn.Embedding(2, dim), nn.Embedding(32, dim)
        layer = nn.TransformerEncoderLayer(dim, 4, 64, 0.1, "relu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.score = nn.Linear(dim, 1)
        self.apply(init)

    def forward(self, ids: Tensor, segment_ids: Tensor | None = None) -> Tensor:
        segment_ids = torch.zeros_like(ids) if segment_ids is None else segment_ids
        x = self.words(ids) + self.segments(segment_ids) + self.places.weight[: ids.shape[1]]
        hidden = ids == 0
        x = self.encoder(x, src_key_padding_mask=hidden).masked_fill(hidden[..., None], -1e4)
        return torch.sigmoid(self.score(x.amax(1)).squeeze(-1))


def compiled() -> Any:
    return torch.compile(seeded(Universal), backend="eager")


MODELS: dict[str, Callable[[], Any]] = {
    "two of four experts": partial(seeded, MoeLM),
    "linear attention with a state": partial(seeded, LinearAttentionLM),
    "BERT4Rec": partial(seeded, BERT4Rec),
    "a rolling window": partial(seeded, WindowLM),
    "a stream of tokens": partial(seeded, Streaming),
    "a universal transformer": partial(seeded, Universal),
    "learned prompts": partial(seeded, PromptTuned),
    "a music transformer": partial(seeded, MusicTransformer),
    "many tasks": partial(seeded, ManyTasks),
    "a denoiser": partial(seeded, Denoiser),
    "a score for two texts": partial(seeded, CrossEncoder),
    "compiled": compiled,
}
