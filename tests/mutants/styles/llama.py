"""A small Llama with a trainer's methods: rotary positions, RMSNorm, grouped heads, SwiGLU, prompts padded on the left,
and a decoder that advances one token at a time."""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class ModelArgs:
    dim: int = 32
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: int = 2
    hidden_dim: int = 48
    vocab_size: int = 53
    norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    max_seq_len: int = 40
    dropout: float = 0.1
    pad_id: int = 0
    learning_rate: float = 3e-3


@dataclass
class DecoderState:
    """Keys and values [B, G, max_seq_len, E] of each layer, of which the first `length` places are filled."""

    keys: list[Tensor]
    values: list[Tensor]
    length: int = 0
    padding: Tensor | None = field(default=None)
    """[B]: how many of the places hold padding, on the left"""


class RMSNorm(nn.Module):
    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float() if x.dtype != torch.float64 else x
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return normed.type_as(x) * self.weight


def precompute_freqs(head_dim: int, end: int, theta: float) -> tuple[Tensor, Tensor]:
    freqs = 1.0 / theta ** (torch.arange(0, head_dim, 2).float() / head_dim)
    angles = torch.outer(torch.arange(end).float(), freqs)
    return angles.cos(), angles.sin()


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn neighbouring numbers of x [B, H, T, E] by the angles [B, 1, T, E/2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def repeat_kv(x: Tensor, n_rep: int) -> Tensor:
    B, G, S, E = x.shape  # noqa: N806
    return x[:, :, None].expand(B, G, n_rep, S, E).reshape(B, G * n_rep, S, E)


class Attention(nn.Module):
    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = args.n_heads, args.n_kv_heads
        self.head_dim = args.dim // args.n_heads
        self.wq = nn.Linear(args.dim, args.n_heads * self.head_dim, bias=False)
        self.wkv = nn.Linear(args.dim, 2 * args.n_kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(args.n_heads * self.head_dim, args.dim, bias=False)

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        xq = self.wq(x).unflatten(-1, (self.n_heads, self.head_dim)).transpose(1, 2)
        xk, xv = self.wkv(x).chunk(2, dim=-1)
        xk = xk.unflatten(-1, (self.n_kv_heads, self.head_dim)).transpose(1, 2)
        xv = xv.unflatten(-1, (self.n_kv_heads, self.head_dim)).transpose(1, 2)
        return apply_rotary(xq, cos, sin), apply_rotary(xk, cos, sin), xv

    def attend(self, xq: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> Tensor:
        n_rep = self.n_heads // self.n_kv_heads
        keys, values = repeat_kv(keys, n_rep), repeat_kv(values, n_rep)
        scores = torch.matmul(xq, keys.transpose(2, 3)) / math.sqrt(self.head_dim)
        scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
        weights = F.softmax(scores.float(), dim=-1).type_as(xq) if xq.dtype != torch.float64 else scores.softmax(-1)
        return self.wo(torch.matmul(weights, values).transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, visible: Tensor) -> Tensor:
        return self.attend(*self.project(x, cos, sin), visible)

    def advance(
        self, x: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, at: int, visible: Tensor
    ) -> Tensor:
        """One token x [B, 1, D], whose key and value are written to place `at`."""
        xq, xk, xv = self.project(x, cos, sin)
        keys[:, :, at : at + 1], values[:, :, at : at + 1] = xk, xv
        return self.attend(xq, keys[:, :, : at + 1], values[:, :, : at + 1], visible)


class FeedForward(nn.Module):
    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class TransformerBlock(nn.Module):
    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.attention = Attention(args)
        self.feed_forward = FeedForward(args.dim, args.hidden_dim)
        self.attention_norm = RMSNorm(args.dim, args.norm_eps)
        self.ffn_norm = RMSNorm(args.dim, args.norm_eps)
        self.dropout = nn.Dropout(args.dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, visible: Tensor) -> Tensor:
        h = x + self.dropout(self.attention(self.attention_norm(x), cos, sin, visible))
        return h + self.dropout(self.feed_forward(self.ffn_norm(h)))

    def advance(self, x: Tensor, *rest: Tensor | int) -> Tensor:
        h = x + self.attention.advance(self.attention_norm(x), *rest)
        return h + self.feed_forward(self.ffn_norm(h))


class Llama(nn.Module):
    def __init__(self, args: ModelArgs) -> None:
        super().__init__()
        self.args = args
        self.tok_embeddings = nn.Embedding(args.vocab_size, args.dim)
        self.layers = nn.ModuleList([TransformerBlock(args) for _ in range(args.n_layers)])
        self.norm = RMSNorm(args.dim, args.norm_eps)
        self.output = nn.Linear(args.dim, args.vocab_size, bias=False)
        cos, sin = precompute_freqs(args.dim // args.n_heads, args.max_seq_len, args.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                scale = math.sqrt(2 * args.n_layers) if name.endswith(("wo.weight", "w2.weight")) else 1.0
                nn.init.normal_(weight, std=0.02 / scale)

    def rotations(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [B, 1, T, E/2] of positions [B, T]."""
        return self.cos[positions][:, None], self.sin[positions][:, None]

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits [B, T, V]. `mask` [B, T] is 1 for a token and 0 for padding, which stands on the left."""
        T = tokens.shape[1]  # noqa: N806
        if self.args.max_seq_len < T:
            raise ValueError(f"at most {self.args.max_seq_len} tokens were expected, found {T}")
        mask = torch.ones_like(tokens) if mask is None else mask
        positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
        cos, sin = self.rotations(positions)
        causal = torch.ones(T, T, dtype=torch.bool, device=tokens.device).tril()
        visible = causal & mask.bool()[:, None, None, :]
        h = self.tok_embeddings(tokens)
        for layer in self.layers:
            h = layer(h, cos, sin, visible)
        return self.output(self.norm(h))

    def compute_loss(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The mean over the tokens that follow another one; padding is not predicted."""
        logits = self(tokens, mask)
        targets = tokens if mask is None else tokens.masked_fill(mask == 0, -100)
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        return self.compute_loss(batch["tokens"], batch.get("mask"))

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int = 0) -> Tensor:  # noqa: ARG002
        with torch.no_grad():
            return self.compute_loss(batch["tokens"], batch.get("mask"))

    def configure_optimizers(self) -> dict[str, object]:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.args.learning_rate)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=1000)
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def new_state(self, batch_size: int, padding: Tensor | None = None) -> DecoderState:
        args, like = self.args, self.output.weight
        shape = (batch_size, args.n_kv_heads, args.max_seq_len, args.dim // args.n_heads)
        keys = [like.new_zeros(shape) for _ in range(args.n_layers)]
        values = [like.new_zeros(shape) for _ in range(args.n_layers)]
        return DecoderState(keys, values, 0, padding)

    @torch.no_grad()
    def advance(self, token: Tensor, state: DecoderState | None = None) -> tuple[Tensor, DecoderState]:
        """Logits [B, V] of what follows `token` [B], and the state in which the next one is read."""
        state = self.new_state(len(token)) if state is None else state
        padding = torch.zeros_like(token) if state.padding is None else state.padding
        at = state.length
        cos, sin = self.rotations((at - padding).clamp(min=0)[:, None])
        visible = (torch.arange(at + 1, device=token.device) >= padding[:, None])[:, None, None, :]
        h = self.tok_embeddings(token)[:, None]
        for layer, keys, values in zip(self.layers, state.keys, state.values, strict=True):
            h = layer.advance(h, cos, sin, keys, values, at, visible)
        state.length = at + 1
        return self.output(self.norm(h))[:, 0], state

    @torch.no_grad()
    def complete(self, prompts: Tensor, n: int) -> Tensor:
        """The `n` likeliest tokens [B, n] after prompts [B, T], which are padded on the left."""
        state = self.new_state(len(prompts), (prompts == self.args.pad_id).long().cumprod(dim=1).sum(dim=1))
        for token in prompts.T:
            logits, state = self.advance(token, state)
        written = []
        for _ in range(n):
            token = logits.argmax(dim=-1)
            written.append(token)
            logits, state = self.advance(token, state)
        return torch.stack(written, dim=1)


def model() -> Llama:
    torch.manual_seed(0)
    return Llama(ModelArgs())
