"""Habits of RWKV, TRL, Reformer, Primer, TUPE, pointer networks, TransformerLens, speedruns with many documents in one
row, CLIP, talking heads, BitNet and diffusion of masked text."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from right._seeded import seeded
from right.interfaces import CONTEXT, HEAD, HEADS, LAYERS, VOCAB, WIDTH, Block, Stack, angles, merge, mlp, small, split
from right.interfaces_of_pairs import causal
from torch import Tensor, nn

# RWKV: each layer mixes a token with the one before, and a sum that decays takes the place of attention


State = tuple[Tensor, Tensor, Tensor, Tensor]
"""the last vector, the two sums of a fraction, and the largest exponent, by which both are divided"""


class TimeMix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.rand(3, WIDTH))
        self.decay, self.first = nn.Parameter(torch.linspace(-1, 1, WIDTH)), nn.Parameter(torch.zeros(WIDTH))
        self.key, self.value, self.receptance = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.output = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        last, above, below, most = state
        before = torch.cat([last[:, None], x[:, :-1]], dim=1)
        k, v, r = (x * m + before * (1 - m) for m in self.mix)
        k, v, r = self.key(k), self.value(v), torch.sigmoid(self.receptance(r))
        outputs = []
        for t in range(x.shape[1]):
            largest = torch.maximum(most, self.first + k[:, t])  # so that no exponential overflows
            old, new = torch.exp(most - largest), torch.exp(self.first + k[:, t] - largest)
            outputs.append((old * above + new * v[:, t]) / (old * below + new))
            faded = most - torch.exp(self.decay)
            most = torch.maximum(faded, k[:, t])
            old, new = torch.exp(faded - most), torch.exp(k[:, t] - most)
            above, below = old * above + new * v[:, t], old * below + new
        return self.output(r * torch.stack(outputs, dim=1)), (x[:, -1], above, below, most)


class RWKV(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.head = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.att, self.ffn = nn.ModuleList([TimeMix() for _ in range(LAYERS)]), nn.ModuleList()
        for _ in range(LAYERS):
            self.ffn.append(mlp())
        self.ln = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2 * LAYERS + 1)])

    def forward(self, tokens: Tensor, state: list[State] | None = None) -> tuple[Tensor, list[State]]:
        x = self.emb(tokens)
        if state is None:
            zeros = x.new_zeros(len(x), WIDTH)
            state = [(zeros, zeros, zeros, zeros - 1e30) for _ in self.att]
        after = []
        for i, (att, ffn) in enumerate(zip(self.att, self.ffn, strict=True)):
            y, kept = att(self.ln[2 * i](x), state[i])
            after.append(kept)
            x = x + y
            x = x + ffn(self.ln[2 * i + 1](x))
        return self.head(self.ln[-1](x)), after


class WithValueHead(nn.Module):
    """TRL: logits, the loss or None, and a value for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_model, self.lm_head = Stack(0.1), nn.Linear(WIDTH, VOCAB, bias=False)
        self.v_head = nn.Sequential(nn.Dropout(0.1), nn.Linear(WIDTH, 1))

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None, Tensor]:
        hidden = self.pretrained_model(input_ids)
        logits, loss = self.lm_head(hidden), None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].reshape(-1, VOCAB), labels[:, 1:].reshape(-1))
        return logits, loss, self.v_head(hidden).squeeze(-1)


class Reversible(nn.Module):
    """Reformer: two streams, each of which adds to itself what is made of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.pos, self.to_logits = (
            nn.Embedding(VOCAB, WIDTH),
            nn.Embedding(CONTEXT, WIDTH),
            nn.Linear(WIDTH, VOCAB),
        )
        self.f = nn.ModuleList([nn.MultiheadAttention(WIDTH, HEADS, batch_first=True) for _ in range(LAYERS)])
        self.g, self.norms = nn.ModuleList([mlp() for _ in range(LAYERS)]), nn.ModuleList()
        for _ in range(2 * LAYERS + 1):
            self.norms.append(nn.LayerNorm(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.pos(torch.arange(x.shape[1], device=x.device))
        first, second, future = x, x, ~causal(x.shape[1])
        for i, (f, g) in enumerate(zip(self.f, self.g, strict=True)):
            y = self.norms[2 * i](second)
            first = first + f(y, y, y, attn_mask=future, need_weights=False)[0]
            second = second + g(self.norms[2 * i + 1](first))
        return self.to_logits(self.norms[-1]((first + second) / 2))


class Primer(nn.Module):
    """Queries, keys and values each go through a convolution over three tokens; ReLU is squared."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe, self.head = (
            nn.Embedding(VOCAB, WIDTH),
            nn.Embedding(CONTEXT, WIDTH),
            nn.Linear(WIDTH, VOCAB),
        )
        self.qkv = nn.ModuleList([nn.Linear(WIDTH, 3 * WIDTH) for _ in range(LAYERS)])
        self.conv = nn.ModuleList([nn.Conv1d(3 * WIDTH, 3 * WIDTH, 3, groups=3 * WIDTH) for _ in range(LAYERS)])
        self.proj = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)])
        self.up = nn.ModuleList([nn.Linear(WIDTH, 64) for _ in range(LAYERS)])
        self.down = nn.ModuleList([nn.Linear(64, WIDTH) for _ in range(LAYERS)])
        self.ln = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2 * LAYERS + 1)])
        self.drop = nn.Dropout(0.1)

    def forward(self, idx: Tensor) -> Tensor:
        x = self.drop(self.wte(idx) + self.wpe(torch.arange(idx.shape[1])))
        for i in range(LAYERS):
            y = F.pad(self.qkv[i](self.ln[2 * i](x)).mT, (2, 0))
            q, k, v = (split(part) for part in self.conv[i](y).mT.chunk(3, dim=-1))
            x = x + self.drop(self.proj[i](merge(F.scaled_dot_product_attention(q, k, v, is_causal=True))))
            x = x + self.drop(self.down[i](F.relu(self.up[i](self.ln[2 * i + 1](x))).square()))
        return self.head(self.ln[-1](x))


class Untied(nn.Module):
    """TUPE: tokens attend to tokens and positions to positions, by matrices of their own, and the scores are added."""

    def __init__(self) -> None:
        super().__init__()
        self.tok, self.head = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB)
        self.place, self.pos_qk = nn.Embedding(CONTEXT, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
        self.pos_norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.ModuleList([nn.Linear(WIDTH, 3 * WIDTH) for _ in range(LAYERS)])
        self.out, self.ff = nn.ModuleList([nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)]), nn.ModuleList()
        for _ in range(LAYERS):
            self.ff.append(mlp())
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2 * LAYERS)])

    def forward(self, tokens: Tensor) -> Tensor:
        T = tokens.shape[1]  # noqa: N806
        pos_q, pos_k = self.pos_qk(self.pos_norm(self.place(torch.arange(T))))[None].chunk(2, dim=-1)
        by_place = split(pos_q) @ split(pos_k).mT / math.sqrt(2 * HEAD)
        x = self.tok(tokens)
        for i in range(LAYERS):
            q, k, v = (split(part) for part in self.qkv[i](x).chunk(3, dim=-1))
            scores = (q @ k.mT / math.sqrt(2 * HEAD) + by_place).masked_fill(~causal(T), -torch.inf)
            x = self.norms[2 * i](x + self.out[i](merge(scores.softmax(-1) @ v)))
            x = self.norms[2 * i + 1](x + self.ff[i](x))
        return self.head(x)


class Pointer(nn.Module):
    """The next token is drawn from the vocabulary, or copied from the text; log-probabilities are returned."""

    def __init__(self) -> None:
        super().__init__()
        self.stack, self.vocab = Stack(0.1), nn.Linear(WIDTH, VOCAB)
        self.query, self.key, self.gate = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        h, T = self.stack(input), input.shape[1]  # noqa: N806
        scores = self.query(h) @ self.key(h).mT / math.sqrt(WIDTH)
        copied = scores.masked_fill(~causal(T), -torch.inf).softmax(-1) @ F.one_hot(input, VOCAB).to(h.dtype)
        gate = self.gate(h).sigmoid()
        return torch.log(gate * self.vocab(h).softmax(-1) + (1 - gate) * copied + 1e-9)


# TransformerLens: matrices [heads, d_model, d_head], einsum, and modules that do nothing but be hooked


class HookPoint(nn.Identity):
    pass


class LensBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        shapes = {"W_Q": (HEADS, WIDTH, HEAD), "W_K": (HEADS, WIDTH, HEAD), "W_V": (HEADS, WIDTH, HEAD)}
        shapes |= {"W_O": (HEADS, HEAD, WIDTH), "W_in": (WIDTH, 64), "W_out": (64, WIDTH)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(0.1 * torch.randn(shape)))
        self.b_Q, self.b_K, self.b_V = (nn.Parameter(torch.zeros(HEADS, HEAD)) for _ in range(3))
        self.b_O, self.b_in, self.b_out = (nn.Parameter(torch.zeros(n)) for n in (WIDTH, 64, WIDTH))
        self.hook_pattern, self.hook_z, self.hook_resid_post = HookPoint(), HookPoint(), HookPoint()
        self.register_buffer("mask", torch.tril(torch.ones(CONTEXT, CONTEXT)).bool())
        self.register_buffer("IGNORE", torch.tensor(-torch.inf))

    def forward(self, resid: Tensor) -> Tensor:
        x, T = F.layer_norm(resid, (WIDTH,)), resid.shape[1]  # noqa: N806
        q = torch.einsum("bpd,hde->bphe", x, self.W_Q) + self.b_Q
        k = torch.einsum("bpd,hde->bphe", x, self.W_K) + self.b_K
        v = torch.einsum("bpd,hde->bphe", x, self.W_V) + self.b_V
        scores = torch.einsum("bqhe,bkhe->bhqk", q, k) / HEAD**0.5
        scores = torch.where(self.mask[:T, :T], scores, self.IGNORE.to(scores.dtype))
        pattern = self.hook_pattern(F.softmax(scores, dim=-1))
        z = self.hook_z(torch.einsum("bhqk,bkhe->bqhe", pattern, v))
        resid = resid + torch.einsum("bqhe,hed->bqd", z, self.W_O) + self.b_O
        hidden = F.gelu(F.layer_norm(resid, (WIDTH,)) @ self.W_in + self.b_in)
        return self.hook_resid_post(resid + hidden @ self.W_out + self.b_out)


class Hooked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W_E, self.W_pos = (
            nn.Parameter(0.1 * torch.randn(VOCAB, WIDTH)),
            nn.Parameter(0.1 * torch.randn(CONTEXT, WIDTH)),
        )
        self.W_U, self.b_U = nn.Parameter(0.1 * torch.randn(WIDTH, VOCAB)), nn.Parameter(torch.zeros(VOCAB))
        self.blocks, self.hook_embed = nn.ModuleList([LensBlock() for _ in range(LAYERS)]), HookPoint()

    def forward(self, input: Tensor, return_type: str = "logits", loss_per_token: bool = False) -> Tensor:  # noqa: A002
        resid = self.hook_embed(self.W_E[input]) + self.W_pos[: input.shape[1]]
        for block in self.blocks:
            resid = block(resid)
        logits = F.layer_norm(resid, (WIDTH,)) @ self.W_U + self.b_U
        if return_type == "logits":
            return logits
        loss = F.cross_entropy(logits[:, :-1].transpose(1, 2), input[:, 1:], reduction="none")
        return loss if loss_per_token else loss.mean()


class ManyDocuments(nn.Module):
    """Texts follow each other in one row, each after a token of its own, and none sees another."""

    end_of_text = 0

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lm_head = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.pos = nn.Embedding(CONTEXT, WIDTH)

    def forward(self, input_seq: Tensor, target_seq: Tensor | None = None) -> Tensor:
        T, document = input_seq.shape[1], (input_seq == self.end_of_text).cumsum(1)  # noqa: N806
        seen = (document[:, :, None] == document[:, None, :]) & causal(T)
        x = self.embed(input_seq) + self.pos(torch.arange(T))
        mask = torch.zeros((), dtype=x.dtype).masked_fill(~seen[:, None], -torch.inf)
        for block in self.blocks:
            x = block(x, mask)
        logits = self.lm_head(F.rms_norm(x, (WIDTH,)))
        if target_seq is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1).float(), target_seq.flatten())


class TextTower(nn.Module):
    """CLIP: a causal stack; the vector of the token with the highest number, the end, stands for the text."""

    def __init__(self) -> None:
        super().__init__()
        self.stack, self.text_projection = Stack(), nn.Parameter(torch.randn(WIDTH, 16) * WIDTH**-0.5)

    def forward(self, text: Tensor) -> Tensor:
        x = self.stack(text)
        return x[torch.arange(len(x)), text.argmax(dim=-1)] @ self.text_projection


class TalkingHeads(nn.Module):
    """Heads are mixed before the softmax and after it."""

    def __init__(self) -> None:
        super().__init__()
        self.stack, self.head = Stack(), nn.Linear(WIDTH, VOCAB)
        self.before, self.after = (
            nn.ParameterList([torch.eye(HEADS) + 0.1 * torch.randn(HEADS, HEADS) for _ in range(LAYERS)])
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[1]  # noqa: N806
        x = self.stack.wte(x) + self.stack.wpe(torch.arange(T))
        for block, before, after in zip(self.stack.blocks, self.before, self.after, strict=True):
            q, k, v = (split(part) for part in block.qkv(block.ln_1(x)).chunk(3, dim=-1))
            scores = torch.einsum("bhts,hg->bgts", q @ k.mT * HEAD**-0.5, before)
            weights = scores.masked_fill(~causal(T), -torch.finfo(scores.dtype).max).softmax(dim=-1)
            x = x + block.out(merge(torch.einsum("bhts,hg->bgts", weights, after) @ v))
            x = x + block.mlp(block.ln_2(x))
        return self.head(self.stack.ln_f(x))


class BitLinear(nn.Linear):
    """BitNet: weights of -1, 0 and 1, activations of eight bits, and gradients as if nothing had been rounded."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.rms_norm(x, (x.shape[-1],))
        step = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
        rounded = (x * step).round().clamp(-128, 127) / step
        mean = self.weight.abs().mean().clamp(min=1e-5)
        ternary = (self.weight / mean).round().clamp(-1, 1) * mean
        return F.linear(x + (rounded - x).detach(), self.weight + (ternary - self.weight).detach(), self.bias)


class BitNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tok_embeddings, self.output = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.wqkv = nn.ModuleList([BitLinear(WIDTH, 3 * WIDTH, bias=False) for _ in range(LAYERS)])
        self.wo = nn.ModuleList([BitLinear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)])
        self.w1 = nn.ModuleList([BitLinear(WIDTH, 64, bias=False) for _ in range(LAYERS)])
        self.w2 = nn.ModuleList([BitLinear(64, WIDTH, bias=False) for _ in range(LAYERS)])
        self.norm = nn.RMSNorm(WIDTH)
        self.register_buffer("freqs", angles(HEAD), persistent=False)

    def turn(self, x: Tensor) -> Tensor:
        cos, sin = (f(self.freqs[: x.shape[2]]).to(x.dtype) for f in (torch.cos, torch.sin))
        even, odd = x[..., ::2], x[..., 1::2]
        return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.tok_embeddings(tokens)
        for i in range(LAYERS):
            q, k, v = (split(part) for part in self.wqkv[i](h).chunk(3, dim=-1))
            h = h + self.wo[i](merge(F.scaled_dot_product_attention(self.turn(q), self.turn(k), v, is_causal=True)))
            h = h + self.w2[i](F.relu(self.w1[i](h)).square())
        return self.output(self.norm(h))


class MaskedDiffusion(nn.Module):
    """Sees both sides, and how much of the text is masked at time `t` [B]: it shifts and scales each norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stack, self.head = Stack(), nn.Linear(WIDTH, VOCAB)
        self.of_time = nn.Sequential(nn.Linear(8, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 2 * WIDTH))
        small(self)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        waves = t[:, None].float() * 1000 ** (-torch.arange(4) / 4)
        shift, scale = self.of_time(torch.cat([waves.cos(), waves.sin()], dim=-1).to(self.head.weight))[:, None].chunk(
            2, -1
        )
        x = self.stack.wte(x) + self.stack.wpe(torch.arange(x.shape[1]))
        for block in self.stack.blocks:
            x = block(x * (1 + scale) + shift, torch.zeros((), dtype=x.dtype))
        return self.head(self.stack.ln_f(x))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "RWKV": partial(seeded, RWKV),
    "a value head": partial(seeded, WithValueHead),
    "reversible streams": partial(seeded, Reversible),
    "Primer": partial(seeded, Primer),
    "untied positions": partial(seeded, Untied),
    "a pointer": partial(seeded, Pointer),
    "TransformerLens": partial(seeded, Hooked),
    "many documents": partial(seeded, ManyDocuments),
    "CLIP's text tower": partial(seeded, TextTower),
    "talking heads": partial(seeded, TalkingHeads),
    "BitNet": partial(seeded, BitNet),
    "masked diffusion": partial(seeded, MaskedDiffusion),
}
