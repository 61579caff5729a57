"""Designs that are not the textbook's and are right: ALiBi, windows, parallel sub-layers, shared layers, experts."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn

VOCAB, CONTEXT, WIDTH, HEADS, LAYERS = 37, 24, 32, 4, 2


class Attention(nn.Module):
    """Causal, with what a variant asks for: `alibi`, `window`, `groups`, `qk_norm`, `scale`, `cap`, `sink`."""

    def __init__(self, **asked: Any) -> None:
        super().__init__()
        self.asked, self.groups, self.width = asked, asked.get("groups", HEADS), WIDTH // HEADS
        self.query = nn.Linear(WIDTH, WIDTH, bias=False)
        self.key_value = nn.Linear(WIDTH, 2 * self.groups * self.width, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH)
        if asked.get("qk_norm"):
            self.query_norm, self.key_norm = nn.RMSNorm(self.width), nn.RMSNorm(self.width)
        if asked.get("sink"):
            self.sink = nn.Parameter(torch.zeros(HEADS))

    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[1]  # noqa: N806
        q = self.query(x).unflatten(-1, (HEADS, self.width)).transpose(1, 2)
        k, v = (
            part.unflatten(-1, (self.groups, self.width)).transpose(1, 2) for part in self.key_value(x).chunk(2, -1)
        )
        if "query_norm" in self._modules:
            q, k = self.query_norm(q), self.key_norm(k)
        k, v = (part.repeat_interleave(HEADS // self.groups, dim=1) for part in (k, v))
        scores = q @ k.transpose(-1, -2) / math.sqrt(self.width)
        distance = torch.arange(T)[:, None] - torch.arange(T)
        if self.asked.get("cap"):
            scores = self.asked["cap"] * torch.tanh(scores / self.asked["cap"])
        if self.asked.get("alibi"):
            slopes = 2.0 ** -(8 * torch.arange(1, HEADS + 1) / HEADS)
            scores = scores - slopes[:, None, None].to(scores.dtype) * distance.clamp(min=0)
        visible = (distance >= 0) & (distance < self.asked.get("window", CONTEXT))
        scores = scores.masked_fill(~visible, float("-inf"))
        if "sink" in self._parameters:
            sink = self.sink[:, None, None].expand(len(x), -1, T, 1)
            weights = torch.cat([scores, sink], dim=-1).softmax(dim=-1)[..., :-1]
        else:
            weights = scores.softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class Experts(nn.Module):
    """Two of four experts a token, by the router's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(WIDTH, 4, bias=False)
        self.experts = nn.ModuleList(
            [nn.Sequential(nn.Linear(WIDTH, 48), nn.GELU(), nn.Linear(48, WIDTH)) for _ in range(4)]
        )

    def forward(self, x: Tensor) -> Tensor:
        top, chosen = self.router(x).topk(2, dim=-1)
        gates = torch.zeros(*x.shape[:-1], 4).to(x).scatter(-1, chosen, top.softmax(dim=-1))
        return sum(gates[..., index, None] * expert(x) for index, expert in enumerate(self.experts))


class Block(nn.Module):
    """`order`: pre, post, parallel (GPT-J) or sandwich (norms on both sides)."""

    def __init__(self, order: str, experts: bool, **asked: Any) -> None:
        super().__init__()
        self.order, self.attention = order, Attention(**asked)
        self.mlp = Experts() if experts else nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH))
        count = {"pre": 2, "post": 2, "parallel": 1, "sandwich": 4}[order]
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(count)])
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        norms, attention, mlp = self.norms, self.attention, self.mlp
        if self.order == "parallel":
            normed = norms[0](x)
            return x + self.dropout(attention(normed)) + self.dropout(mlp(normed))
        if self.order == "post":
            x = norms[0](x + self.dropout(attention(x)))
            return norms[1](x + self.dropout(mlp(x)))
        if self.order == "sandwich":
            x = x + self.dropout(norms[1](attention(norms[0](x))))
            return x + self.dropout(norms[3](mlp(norms[2](x))))
        x = x + self.dropout(attention(norms[0](x)))
        return x + self.dropout(mlp(norms[1](x)))


class Decoder(nn.Module):
    """`output`: logits, log-probabilities, a tuple, a dict; `shared`: one block called again and again, as ALBERT."""

    def __init__(
        self, order: str = "pre", output: str = "logits", shared: bool = False, experts: bool = False, **asked: Any
    ) -> None:
        super().__init__()
        self.output, self.shared = output, shared
        self.embed = nn.Embedding(VOCAB, WIDTH)
        self.positions = None if asked.get("alibi") else nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList([Block(order, experts, **asked) for _ in range(1 if shared else LAYERS)])
        self.norm = nn.Identity() if order == "post" else nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCAB)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: Tensor) -> Any:
        x = self.embed(tokens)
        if self.positions is not None:
            x = x + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            for _ in range(LAYERS if self.shared else 1):
                x = block(x)
        logits = self.head(self.norm(x))
        if self.output == "log-probabilities":
            return F.log_softmax(logits, dim=-1)
        if self.output == "tuple":
            return logits, x
        return {"logits": logits, "hidden": x} if self.output == "dict" else logits


class WithOwnLoss(Decoder):
    """`loss(tokens)` shifts by itself, and `generate` writes what is likeliest."""

    def loss(self, tokens: Tensor) -> Tensor:
        logits = self(tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    @torch.no_grad()
    def generate(self, tokens: Tensor, length: int) -> Tensor:
        for _ in range(length):
            logits = self(tokens[:, -CONTEXT:])[:, -1]
            tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], dim=1)
        return tokens


class WithShiftedTargets(Decoder):
    """`forward(idx, targets)` as in nanoGPT: targets are already shifted, and -1 is ignored."""

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        logits = super().forward(idx)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


class WithTwoHeads(Decoder):
    """A second head for the token after the next, trained by the loss alone."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Linear(WIDTH, VOCAB)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embed(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x), self.second(x)


class FrozenEmbedding(Decoder):
    def __init__(self) -> None:
        super().__init__()
        self.embed.weight.requires_grad_(False)


class ZeroOutputs(Decoder):
    """All matrices that write to the stream begin at zero, as muP and modded-nanoGPT have it."""

    def __init__(self) -> None:
        super().__init__()
        for block in self.blocks:
            nn.init.zeros_(block.attention.out.weight)
            nn.init.zeros_(block.mlp[-1].weight)


class Checkpointed(Decoder):
    """Layers are computed twice in training, to save memory."""

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = torch.utils.checkpoint.checkpoint(block, x, use_reentrant=False) if self.training else block(x)
        return self.head(self.norm(x))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "post-norm": partial(seeded, Decoder, order="post"),
    "parallel sub-layers": partial(seeded, Decoder, order="parallel"),
    "norms on both sides": partial(seeded, Decoder, order="sandwich"),
    "ALiBi": partial(seeded, Decoder, alibi=True),
    "window": partial(seeded, Decoder, window=6),
    "one group": partial(seeded, Decoder, groups=1),
    "normed heads": partial(seeded, Decoder, qk_norm=True),
    "capped scores": partial(seeded, Decoder, cap=20.0),
    "a sink for attention": partial(seeded, Decoder, sink=True),
    "one block, shared": partial(seeded, Decoder, shared=True),
    "experts": partial(seeded, Decoder, experts=True),
    "log-probabilities": partial(seeded, Decoder, output="log-probabilities"),
    "a tuple": partial(seeded, Decoder, output="tuple"),
    "a dict": partial(seeded, Decoder, output="dict"),
    "own loss and generate": partial(seeded, WithOwnLoss),
    "shifted targets": partial(seeded, WithShiftedTargets),
    "two heads": partial(seeded, WithTwoHeads),
    "frozen embedding": partial(seeded, FrozenEmbedding),
    "outputs begin at zero": partial(seeded, ZeroOutputs),
    "checkpointed": partial(seeded, Checkpointed),
}
