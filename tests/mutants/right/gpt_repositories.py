"""Decoders in the habits of well-known repositories: minGPT, llama2.c, PaLM-pytorch, GPT-Neo, Gemma,
word_language_model, pytorch-pretrained-bert, the speedruns of nanoGPT, and wrappers that return a loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn

VOCAB, CONTEXT, WIDTH, HEADS, LAYERS = 43, 24, 32, 4, 2


# minGPT: a configuration object, the mask as a buffer, `generate` that samples if told so


class NewGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


class CausalSelfAttention(nn.Module):
    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(config.n_embd, 3 * config.n_embd), nn.Linear(config.n_embd, config.n_embd)
        self.attn_dropout, self.resid_dropout = nn.Dropout(config.attn_pdrop), nn.Dropout(config.resid_pdrop)
        ones = torch.ones(config.block_size, config.block_size)
        self.register_buffer("bias", torch.tril(ones).view(1, 1, config.block_size, config.block_size))
        self.n_head, self.n_embd = config.n_head, config.n_embd

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.size()  # noqa: N806
        q, k, v = self.c_attn(x).split(self.n_embd, dim=2)
        q, k, v = (part.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for part in (q, k, v))
        att = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        att = att.masked_fill(self.bias[:, :, :T, :T] == 0, float("-inf"))
        y = self.attn_dropout(F.softmax(att, dim=-1)) @ v
        return self.resid_dropout(self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C)))


class MinBlock(nn.Module):
    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(config.n_embd), nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.mlp = nn.ModuleDict(
            {
                "c_fc": nn.Linear(config.n_embd, 4 * config.n_embd),
                "act": NewGELU(),
                "c_proj": nn.Linear(4 * config.n_embd, config.n_embd),
                "dropout": nn.Dropout(config.resid_pdrop),
            }
        )

    def mlpf(self, x: Tensor) -> Tensor:
        m = self.mlp
        return m["dropout"](m["c_proj"](m["act"](m["c_fc"](x))))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlpf(self.ln_2(x))


class MinGPT(nn.Module):
    @staticmethod
    def get_default_config() -> SimpleNamespace:
        sizes = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "vocab_size": VOCAB, "block_size": CONTEXT}
        return SimpleNamespace(**sizes, embd_pdrop=0.1, resid_pdrop=0.1, attn_pdrop=0.1)

    def __init__(self) -> None:
        super().__init__()
        config = self.get_default_config()
        self.block_size = config.block_size
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "wpe": nn.Embedding(config.block_size, config.n_embd),
                "drop": nn.Dropout(config.embd_pdrop),
                "h": nn.ModuleList([MinBlock(config) for _ in range(config.n_layer)]),
                "ln_f": nn.LayerNorm(config.n_embd),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                scale = math.sqrt(2 * config.n_layer) if name.endswith("c_proj.weight") else 1.0
                nn.init.normal_(weight, std=0.02 / scale)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        _, t = idx.size()
        assert t <= self.block_size, f"Cannot forward sequence of length {t}, block size is only {self.block_size}"
        pos = torch.arange(0, t, dtype=torch.long, device=idx.device).unsqueeze(0)
        x = self.transformer["drop"](self.transformer["wte"](idx) + self.transformer["wpe"](pos))
        for block in self.transformer["h"]:
            x = block(x)
        logits = self.lm_head(self.transformer["ln_f"](x))
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)
        return logits, loss

    @torch.no_grad()
    def generate(
        self,
        idx: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        do_sample: bool = False,
        top_k: int | None = None,
    ) -> Tensor:
        for _ in range(max_new_tokens):
            idx_cond = idx if idx.size(1) <= self.block_size else idx[:, -self.block_size :]
            logits = self(idx_cond)[0][:, -1, :] / temperature
            if top_k is not None:
                v, _ = torch.topk(logits, top_k)
                logits[logits < v[:, [-1]]] = -float("inf")
            probs = F.softmax(logits, dim=-1)
            if do_sample:
                idx_next = torch.multinomial(probs, num_samples=1)
            else:
                _, idx_next = torch.topk(probs, k=1, dim=-1)
            idx = torch.cat((idx, idx_next), dim=1)
        return idx


# llama2.c: complex rotations given to each layer, grouped heads, only the last position in inference, `last_loss`


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-5, offset: float = 0.0) -> None:
        super().__init__()
        self.eps, self.offset = eps, offset
        self.weight = nn.Parameter(torch.ones(dim) - offset)

    def forward(self, x: Tensor) -> Tensor:
        normed = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
        return normed * (self.offset + self.weight)


def apply_rotary_emb(x: Tensor, freqs_cos: Tensor, freqs_sin: Tensor) -> Tensor:
    """x [B, T, H, E], in pairs of neighbours"""
    x_r, x_i = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)
    cos, sin = freqs_cos[None, :, None, :].to(x.dtype), freqs_sin[None, :, None, :].to(x.dtype)
    return torch.stack([x_r * cos - x_i * sin, x_r * sin + x_i * cos], dim=-1).flatten(3)


class LlamaLayer(nn.Module):
    def __init__(self, n_kv_heads: int, dropout: float) -> None:
        super().__init__()
        self.head_dim, self.n_kv_heads, self.dropout = WIDTH // HEADS, n_kv_heads, dropout
        self.attention_norm, self.ffn_norm = RMSNorm(WIDTH), RMSNorm(WIDTH)
        self.wq = nn.Linear(WIDTH, HEADS * self.head_dim, bias=False)
        self.wk = nn.Linear(WIDTH, n_kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(WIDTH, n_kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(HEADS * self.head_dim, WIDTH, bias=False)
        self.w1, self.w3 = nn.Linear(WIDTH, 88, bias=False), nn.Linear(WIDTH, 88, bias=False)
        self.w2 = nn.Linear(88, WIDTH, bias=False)
        self.resid_dropout = nn.Dropout(dropout)

    def attend(self, x: Tensor, freqs_cos: Tensor, freqs_sin: Tensor) -> Tensor:
        xq, xk, xv = (w(x).unflatten(-1, (-1, self.head_dim)) for w in (self.wq, self.wk, self.wv))
        xq, xk = apply_rotary_emb(xq, freqs_cos, freqs_sin), apply_rotary_emb(xk, freqs_cos, freqs_sin)
        n_rep = HEADS // self.n_kv_heads
        xk, xv = (
            part[:, :, :, None].expand(-1, -1, -1, n_rep, -1).reshape(*part.shape[:2], HEADS, -1) for part in (xk, xv)
        )
        output = F.scaled_dot_product_attention(
            xq.transpose(1, 2),
            xk.transpose(1, 2),
            xv.transpose(1, 2),
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=True,
        )
        return self.resid_dropout(self.wo(output.transpose(1, 2).flatten(2)))

    def forward(self, x: Tensor, freqs_cos: Tensor, freqs_sin: Tensor) -> Tensor:
        h = x + self.attend(self.attention_norm(x), freqs_cos, freqs_sin)
        gate = self.ffn_norm(h)
        return h + self.resid_dropout(self.w2(F.silu(self.w1(gate)) * self.w3(gate)))


class LlamaC(nn.Module):
    last_loss: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.params = SimpleNamespace(dim=WIDTH, vocab_size=VOCAB, max_seq_len=CONTEXT)
        self.tok_embeddings, self.dropout = nn.Embedding(VOCAB, WIDTH), nn.Dropout(0.1)
        self.layers = nn.ModuleList([LlamaLayer(2, 0.1) for _ in range(LAYERS)])
        self.norm, self.output = RMSNorm(WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.tok_embeddings.weight = self.output.weight
        freqs = 1.0 / 10000.0 ** (torch.arange(0, WIDTH // HEADS, 2).float() / (WIDTH // HEADS))
        angles = torch.outer(torch.arange(CONTEXT), freqs)
        self.register_buffer("freqs_cos", angles.cos(), persistent=False)
        self.register_buffer("freqs_sin", angles.sin(), persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                deep = name.endswith(("w3.weight", "wo.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * LAYERS) if deep else 0.02)
        self.last_loss = None

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Tensor:
        h = self.dropout(self.tok_embeddings(tokens))
        T = tokens.shape[1]  # noqa: N806
        for layer in self.layers:
            h = layer(h, self.freqs_cos[:T], self.freqs_sin[:T])
        h = self.norm(h)
        if targets is None:
            self.last_loss = None
            return self.output(h[:, [-1], :])
        logits = self.output(h)
        self.last_loss = F.cross_entropy(logits.view(-1, VOCAB), targets.view(-1), ignore_index=-1)
        return logits


# PaLM-pytorch: one projection for all of a parallel block, one key and value head, keyword arguments only


def exists(value: Any) -> bool:
    return value is not None


class GammaNorm(nn.Module):
    """LayerNorm with a learned gain, and a bias that is a buffer of zeros."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.register_buffer("beta", torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class Residual(nn.Module):
    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x) + x


class SwiGLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x, gate = x.chunk(2, dim=-1)
        return F.silu(gate) * x


class ParallelTransformerBlock(nn.Module):
    def __init__(self, *, dim: int, dim_head: int = 8, heads: int = 4, ff_mult: int = 2) -> None:
        super().__init__()
        self.norm, self.heads, self.scale = GammaNorm(dim), heads, dim_head**-0.5
        self.fused_dims = (dim_head * heads, dim_head, dim_head, dim * ff_mult * 2)
        self.fused_attn_ff_proj = nn.Linear(dim, sum(self.fused_dims), bias=False)
        self.attn_out = nn.Linear(dim_head * heads, dim, bias=False)
        self.ff_out = nn.Sequential(SwiGLU(), nn.Linear(dim * ff_mult, dim, bias=False))
        inv_freq = 1.0 / (10000 ** (torch.arange(0, dim_head, 2).float() / dim_head))
        self.register_buffer("inv_freq", inv_freq)

    def rotate(self, t: Tensor) -> Tensor:
        """t [*, T, E], in halves"""
        pos = torch.arange(t.shape[-2], device=t.device).type_as(self.inv_freq)
        pos = torch.cat((torch.outer(pos, self.inv_freq),) * 2, dim=-1)
        x1, x2 = t.chunk(2, dim=-1)
        return t * pos.cos() + torch.cat((-x2, x1), dim=-1) * pos.sin()

    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        x = self.norm(x)
        q, k, v, ff = self.fused_attn_ff_proj(x).split(self.fused_dims, dim=-1)
        q = q.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k = self.rotate(q), self.rotate(k)
        sim = torch.einsum("b h i d, b j d -> b h i j", q * self.scale, k)
        causal_mask = torch.ones((n, n), dtype=torch.bool, device=x.device).triu(1)
        attn = sim.masked_fill(causal_mask, -torch.finfo(sim.dtype).max).softmax(dim=-1)
        out = torch.einsum("b h i j, b j d -> b h i d", attn, v)
        return self.attn_out(out.transpose(1, 2).flatten(2)) + self.ff_out(ff)


def palm(*, dim: int = WIDTH, num_tokens: int = VOCAB, depth: int = LAYERS) -> nn.Module:
    net = nn.Sequential(
        nn.Embedding(num_tokens, dim),
        *[Residual(ParallelTransformerBlock(dim=dim)) for _ in range(depth)],
        GammaNorm(dim),
        nn.Linear(dim, num_tokens, bias=False),
    )
    net[-1].weight = net[0].weight
    nn.init.normal_(net[0].weight, std=0.02)
    return net


class AutoregressiveWrapper(nn.Module):
    """`forward(seq)` is the loss of a sequence that it shifts itself; the logits are those of `net`."""

    def __init__(self, *, ignore_index: int = -100) -> None:
        super().__init__()
        self.net, self.ignore_index, self.max_seq_len = palm(), ignore_index, CONTEXT

    @torch.no_grad()
    def generate(self, prompts: Tensor, seq_len: int, temperature: float = 0.0) -> Tensor:
        out = prompts
        for _ in range(seq_len):
            logits = self.net(out[:, -self.max_seq_len :])[:, -1]
            if temperature == 0.0:
                sample = logits.argmax(dim=-1, keepdim=True)
            else:
                sample = torch.multinomial((logits / temperature).softmax(dim=-1), 1)
            out = torch.cat((out, sample), dim=-1)
        return out[:, prompts.shape[1] :]

    def forward(self, seq: Tensor) -> Tensor:
        inp, target = seq[:, :-1], seq[:, 1:]
        return F.cross_entropy(self.net(inp).transpose(1, 2), target, ignore_index=self.ignore_index)


# word_language_model: tokens [T, B], log-probabilities, a mask that is kept and made anew for another length


class WordLanguageModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model_type, self.src_mask, self.ninp = "Transformer", None, WIDTH
        position = torch.arange(0, 5000, dtype=torch.float).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, WIDTH, 2).float() * (-math.log(10000.0) / WIDTH))
        pe = torch.zeros(5000, WIDTH)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(position * div_term), torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(1))
        self.dropout = nn.Dropout(0.2)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 64, dropout=0.2)
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.input_emb, self.decoder = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB)
        nn.init.uniform_(self.input_emb.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        nn.init.uniform_(self.decoder.weight, -0.1, 0.1)

    def _generate_square_subsequent_mask(self, sz: int) -> Tensor:
        return torch.log(torch.tril(torch.ones(sz, sz)))

    def forward(self, src: Tensor, has_mask: bool = True) -> Tensor:
        if has_mask:
            if self.src_mask is None or self.src_mask.size(0) != len(src):
                self.src_mask = self._generate_square_subsequent_mask(len(src)).to(src.device)
        else:
            self.src_mask = None
        x = self.input_emb(src) * math.sqrt(self.ninp)
        x = self.dropout(x + self.pe[: x.size(0)])
        return F.log_softmax(self.decoder(self.encoder(x, mask=self.src_mask)), dim=-1)


# GPT-Neo: every second layer attends to a window, scores are not scaled but by the initial values


class NeoAttention(nn.Module):
    def __init__(self, window: int | None) -> None:
        super().__init__()
        bias = torch.tril(torch.ones(CONTEXT, CONTEXT, dtype=torch.bool))
        if window is not None:
            bias = torch.bitwise_xor(bias, torch.tril(bias, -window))
        self.register_buffer("bias", bias.view(1, 1, CONTEXT, CONTEXT), persistent=False)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[1]  # noqa: N806
        query, key, value = (
            w(x).view(*x.shape[:2], HEADS, WIDTH // HEADS).permute(0, 2, 1, 3)
            for w in (self.q_proj, self.k_proj, self.v_proj)
        )
        attn_weights = torch.matmul(query, key.transpose(-1, -2))
        mask_value = torch.tensor(torch.finfo(attn_weights.dtype).min, dtype=attn_weights.dtype)
        attn_weights = torch.where(self.bias[:, :, :T, :T], attn_weights, mask_value).softmax(dim=-1).to(value.dtype)
        return self.out_proj(torch.matmul(attn_weights, value).permute(0, 2, 1, 3).flatten(2))


class Neo(nn.Module):
    attention_types = ("global", "local")

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.h = nn.ModuleList()
        for kind in self.attention_types:
            block = nn.Module()
            block.ln_1, block.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            block.attn = NeoAttention(8 if kind == "local" else None)
            block.mlp = nn.Sequential(nn.Linear(WIDTH, 64), NewGELU(), nn.Linear(64, WIDTH))
            self.h.append(block)
        self.ln_f = nn.LayerNorm(WIDTH)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.wte(input_ids) + self.wpe(torch.arange(input_ids.size(-1), device=input_ids.device))
        for block in self.h:
            hidden = hidden + block.attn(block.ln_1(hidden))
            hidden = hidden + block.mlp(block.ln_2(hidden))
        return F.linear(self.ln_f(hidden), self.wte.weight)


# Gemma 2: norms on both sides with gains that begin at zero, capped scores and logits, windows in turn; a dataclass


@dataclass
class CausalLMOutput:
    logits: Tensor
    loss: Tensor | None = None
    hidden_states: tuple[Tensor, ...] = ()


class GemmaBlock(nn.Module):
    def __init__(self, window: int | None) -> None:
        super().__init__()
        self.window, self.head_dim = window, 16
        self.qkv_proj = nn.Linear(WIDTH, (HEADS + 2 * 2) * self.head_dim, bias=False)
        self.o_proj = nn.Linear(HEADS * self.head_dim, WIDTH, bias=False)
        self.gate_proj, self.up_proj = nn.Linear(WIDTH, 64, bias=False), nn.Linear(WIDTH, 64, bias=False)
        self.down_proj = nn.Linear(64, WIDTH, bias=False)
        names = ("input", "post_attention", "pre_feedforward", "post_feedforward")
        self.norms = nn.ModuleDict({name: RMSNorm(WIDTH, 1e-6, offset=1.0) for name in names})

    def attend(self, x: Tensor, freqs_cos: Tensor, freqs_sin: Tensor) -> Tensor:
        T = x.shape[1]  # noqa: N806
        sizes = [HEADS * self.head_dim, 2 * self.head_dim, 2 * self.head_dim]
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)) for part in self.qkv_proj(x).split(sizes, dim=-1))
        q, k = apply_rotary_emb(q, freqs_cos, freqs_sin), apply_rotary_emb(k, freqs_cos, freqs_sin)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))
        k, v = (part.repeat_interleave(2, dim=1) for part in (k, v))
        scores = torch.matmul(q * self.head_dim**-0.5, k.transpose(2, 3))
        scores = torch.tanh(scores / 50.0) * 50.0
        mask = torch.full((1, 1, T, T), -2.3819763e38).triu(diagonal=1)
        if self.window is not None:
            mask = mask + torch.full((1, 1, T, T), -2.3819763e37).tril(diagonal=-self.window)
        weights = F.softmax((scores + mask).float(), dim=-1).type_as(q)
        return self.o_proj(torch.matmul(weights, v).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, freqs_cos: Tensor, freqs_sin: Tensor) -> Tensor:
        attended = self.attend(self.norms["input"](x), freqs_cos, freqs_sin)
        x = x + self.norms["post_attention"](attended)
        h = self.norms["pre_feedforward"](x)
        h = self.down_proj(F.gelu(self.gate_proj(h), approximate="tanh") * self.up_proj(h))
        return x + self.norms["post_feedforward"](h)


class GemmaForCausalLM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedder = nn.Embedding(VOCAB, WIDTH)
        self.layers = nn.ModuleList([GemmaBlock(window) for window in (None, 8)])
        self.norm = RMSNorm(WIDTH, 1e-6, offset=1.0)
        angles = torch.outer(torch.arange(CONTEXT), 10000.0 ** -(torch.arange(0, 16, 2) / 16))
        self.register_buffer("freqs_cos", angles.cos())
        self.register_buffer("freqs_sin", angles.sin())
        nn.init.normal_(self.embedder.weight, std=WIDTH**-0.5)

    def forward(self, input_token_ids: Tensor, labels: Tensor | None = None) -> CausalLMOutput:
        T = input_token_ids.shape[1]  # noqa: N806
        hidden = self.embedder(input_token_ids) * WIDTH**0.5
        for layer in self.layers:
            hidden = layer(hidden, self.freqs_cos[:T], self.freqs_sin[:T])
        hidden = self.norm(hidden)
        logits = torch.tanh(torch.matmul(hidden, self.embedder.weight.t()) / 30.0) * 30.0
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].reshape(-1, VOCAB), labels[:, 1:].reshape(-1), ignore_index=-100)
        return CausalLMOutput(logits, loss, (hidden,))


# pytorch-pretrained-bert's GPT-2: Conv1D, a past that is a list of stacked keys and values, `lm_labels`


class Conv1D(nn.Module):
    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf) * 0.02), nn.Parameter(torch.zeros(nf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)


class PastBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.c_attn, self.c_proj = Conv1D(3 * WIDTH, WIDTH), Conv1D(WIDTH, WIDTH)
        self.c_fc, self.mlp_proj = Conv1D(4 * WIDTH, WIDTH), Conv1D(WIDTH, 4 * WIDTH)
        self.register_buffer("bias", torch.tril(torch.ones(CONTEXT, CONTEXT)).view(1, 1, CONTEXT, CONTEXT))

    def attend(self, x: Tensor, layer_past: Tensor | None) -> tuple[Tensor, Tensor]:
        query, key, value = (
            part.view(*part.shape[:2], HEADS, -1).permute(0, 2, 1, 3) for part in self.c_attn(x).split(WIDTH, dim=2)
        )
        if layer_past is not None:
            key, value = torch.cat((layer_past[0], key), dim=-2), torch.cat((layer_past[1], value), dim=-2)
        w = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(value.size(-1))
        nd, ns = w.size(-2), w.size(-1)
        b = self.bias[:, :, ns - nd : ns, :ns]
        w = torch.where(b.bool(), w, torch.full_like(w, float("-inf")))
        a = torch.matmul(nn.Softmax(dim=-1)(w), value)
        return self.c_proj(a.permute(0, 2, 1, 3).contiguous().flatten(2)), torch.stack((key, value))

    def forward(self, x: Tensor, layer_past: Tensor | None) -> tuple[Tensor, Tensor]:
        a, present = self.attend(self.ln_1(x), layer_past)
        x = x + a
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh")), present


class GPT2LMHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.h, self.ln_f = nn.ModuleList([PastBlock() for _ in range(LAYERS)]), nn.LayerNorm(WIDTH)
        for table in (self.wte, self.wpe):
            nn.init.normal_(table.weight, std=0.02)

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        lm_labels: Tensor | None = None,
        past: list[Tensor] | None = None,
    ) -> Any:
        past_length = 0 if past is None else past[0].size(-2)
        if position_ids is None:
            position_ids = torch.arange(past_length, input_ids.size(-1) + past_length, device=input_ids.device)
        hidden_states = self.wte(input_ids) + self.wpe(position_ids)
        presents = []
        for block, layer_past in zip(self.h, [None] * LAYERS if past is None else past, strict=True):
            hidden_states, present = block(hidden_states, layer_past)
            presents.append(present)
        lm_logits = F.linear(self.ln_f(hidden_states), self.wte.weight)
        if lm_labels is not None:
            shift_logits, shift_labels = lm_logits[:, :-1].contiguous(), lm_labels[:, 1:].contiguous()
            return F.cross_entropy(shift_logits.view(-1, VOCAB), shift_labels.view(-1), ignore_index=-1)
        return lm_logits, presents


# speedruns of nanoGPT: squared ReLU, normed heads, zeros at the end of each part, skips from the first half


class SpeedBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkvo, self.c_fc = nn.Parameter(torch.empty(4, WIDTH, WIDTH)), nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.c_proj, self.lambdas = nn.Linear(4 * WIDTH, WIDTH, bias=False), nn.Parameter(torch.tensor([1.0, 0.0]))
        bound = math.sqrt(3.0) * 0.5 * WIDTH**-0.5
        nn.init.uniform_(self.qkvo.data[:3], -bound, bound)
        nn.init.zeros_(self.qkvo.data[3])
        nn.init.zeros_(self.c_proj.weight)

    def forward(self, x: Tensor, x0: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = self.lambdas[0] * x + self.lambdas[1] * x0
        B, T, _ = x.shape  # noqa: N806
        q, k, v = (F.linear(F.rms_norm(x, (WIDTH,)), self.qkvo[:3].flatten(end_dim=1)).view(B, T, 3 * HEADS, -1)).chunk(
            3, dim=-2
        )
        q, k = (apply_rotary_emb(F.rms_norm(part, (part.size(-1),)), cos[:T], sin[:T]) for part in (q, k))
        y = F.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), is_causal=True, scale=0.12
        )
        x = x + F.linear(y.transpose(1, 2).flatten(2), self.qkvo[3])
        return x + self.c_proj(F.relu(self.c_fc(F.rms_norm(x, (WIDTH,)))).square())


class Speedrun(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lm_head = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.blocks = nn.ModuleList([SpeedBlock() for _ in range(4)])
        self.skip_weights = nn.Parameter(torch.ones(2))
        angles = torch.outer(torch.arange(CONTEXT), 1024.0 ** -(torch.arange(0, 8, 2) / 8))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        nn.init.zeros_(self.lm_head.weight)

    def forward(self, input_seq: Tensor, target_seq: Tensor | None = None) -> Tensor:
        x = x0 = F.rms_norm(self.embed(input_seq), (WIDTH,))
        skips = []
        for i, block in enumerate(self.blocks):
            if i >= 2:
                x = x + self.skip_weights[i - 2] * skips.pop()
            x = block(x, x0, self.cos, self.sin)
            if i < 2:
                skips.append(x)
        logits = self.lm_head(F.rms_norm(x, (WIDTH,))).float()
        logits = 30 * torch.sigmoid(logits / 7.5)
        if target_seq is None:
            return logits
        return F.cross_entropy(logits.view(-1, VOCAB), target_seq.view(-1))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "minGPT": partial(seeded, MinGPT),
    "llama2.c": partial(seeded, LlamaC),
    "PaLM-pytorch": partial(seeded, palm),
    "PaLM-pytorch, in a wrapper that returns the loss": partial(seeded, AutoregressiveWrapper),
    "word_language_model, time first": partial(seeded, WordLanguageModel),
    "GPT-Neo": partial(seeded, Neo),
    "Gemma 2": partial(seeded, GemmaForCausalLM),
    "pytorch-pretrained-bert": partial(seeded, GPT2LMHead),
    "a speedrun": partial(seeded, Speedrun),
}
KNOWN = {
    "GPT-Neo": {
        "numbers.scale": "its authors left the scale out, and nothing in the model tells that from a mistake; the "
        "report asks for Subject(scale=1.0)"
    }
}
