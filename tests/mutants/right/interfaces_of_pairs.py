"""Encoder-decoders and encoders whose interfaces are those of well-known repositories: tensor2tensor, jadore801120's,
TensorFlow's tutorial, DeBERTa, Perceiver IO, sentence-transformers."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn

VOCAB, CONTEXT, WIDTH, HEADS, LAYERS = 43, 24, 32, 4, 2
HEAD = WIDTH // HEADS


# parts for the models below


def split(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, HEAD)).transpose(1, 2)


class Attention(nn.Module):
    """Queries from `x`, keys and values from `memory`; `mask` is True where one may attend."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.w_qs, self.w_ks, self.w_vs, self.fc = (nn.Linear(WIDTH, WIDTH, bias=bias) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = split(self.w_qs(x)), split(self.w_ks(memory)), split(self.w_vs(memory))
        scores = q @ k.transpose(-1, -2) / math.sqrt(HEAD)
        if mask is not None:
            scores = scores.masked_fill(~mask, -1e9)
        return self.fc((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class FeedForward(nn.Sequential):
    def __init__(self, activation: type[nn.Module] = nn.ReLU, dropout: float = 0.1) -> None:
        super().__init__(nn.Linear(WIDTH, 64), activation(), nn.Dropout(dropout), nn.Linear(64, WIDTH))


def sinusoids(length: int, interleaved: bool) -> Tensor:
    angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, WIDTH, 2) / WIDTH)
    if interleaved:
        return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def causal(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


# tensor2tensor: what happens before and after a sub-layer is spelled as letters, features are a dictionary, targets are
# moved to the right inside


class SubLayer(nn.Module):
    """`preprocess` and `postprocess` in order: n is a norm, d dropout, a the residual."""

    def __init__(self, fn: nn.Module, preprocess: str = "n", postprocess: str = "da") -> None:
        super().__init__()
        self.fn, self.preprocess, self.postprocess = fn, preprocess, postprocess
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def process(self, previous: Tensor | None, x: Tensor, sequence: str) -> Tensor:
        for letter in sequence:
            if letter == "a":
                x = x + previous
            elif letter == "n":
                x = self.norm(x)
            elif letter == "d":
                x = F.dropout(x, 0.1, self.training)
        return x

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        y = self.process(None, x, self.preprocess)
        return self.process(x, self.fn(y, *(y if arg is x else arg for arg in args)), self.postprocess)


class Tensor2Tensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(VOCAB, WIDTH)
        nn.init.normal_(self.shared.weight, std=WIDTH**-0.5)
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for _ in range(LAYERS):
            self.encoder.extend([SubLayer(Attention(False)), SubLayer(FeedForward())])
            self.decoder.extend([SubLayer(Attention(False)), SubLayer(Attention(False)), SubLayer(FeedForward())])
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)

    def embed(self, ids: Tensor) -> Tensor:
        return self.shared(ids) * WIDTH**0.5 * (ids != 0)[..., None]

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Logits [B, T, V] for all of `targets`; 0 is padding, and what the decoder begins with."""
        inputs, targets = features["inputs"], features["targets"]
        mask = (inputs != 0)[:, None, None]
        timing = sinusoids(CONTEXT, interleaved=False)
        x = self.embed(inputs) + timing[: inputs.shape[1]]
        for attention, ffn in zip(self.encoder[::2], self.encoder[1::2], strict=True):
            x = ffn(attention(x, x, mask))
        memory = self.encoder_norm(x)
        y = F.pad(self.embed(targets), (0, 0, 1, 0))[:, :-1] + timing[: targets.shape[1]]
        for i in range(LAYERS):
            y = self.decoder[3 * i](y, y, causal(targets.shape[1]))
            y = self.decoder[3 * i + 2](self.decoder[3 * i + 1](y, memory, mask))
        return F.linear(self.decoder_norm(y), self.shared.weight)

    def loss(self, logits: Tensor, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The sum over what is no padding, and how many those are."""
        targets = features["targets"]
        each = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none", label_smoothing=0.1)
        weights = (targets != 0).to(each.dtype)
        return (each * weights).sum(), weights.sum()


# jadore801120's Attention is all you need: logits [B * T, V], a norm after the embeddings


class JadoreLayer(nn.Module):
    def __init__(self, cross: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([Attention(False) for _ in range(2 if cross else 1)])
        self.pos_ffn = FeedForward()
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(len(self.attentions) + 1)])
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, mask: Tensor, memory: Tensor | None = None, memory_mask: Any = None) -> Tensor:
        x = self.norms[0](x + self.dropout(self.attentions[0](x, x, mask)))
        if memory is not None:
            x = self.norms[1](x + self.dropout(self.attentions[1](x, memory, memory_mask)))
        return self.norms[-1](x + self.dropout(self.pos_ffn(x)))


class Jadore(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.src_pad_idx, self.trg_pad_idx = 1, 1
        self.src_word_emb = nn.Embedding(VOCAB, WIDTH, padding_idx=1)
        self.trg_word_emb = nn.Embedding(VOCAB, WIDTH, padding_idx=1)
        self.register_buffer("pos_table", sinusoids(200, interleaved=True)[None])
        self.encoder = nn.ModuleList([JadoreLayer(False) for _ in range(LAYERS)])
        self.decoder = nn.ModuleList([JadoreLayer(True) for _ in range(LAYERS)])
        self.norms, self.dropout = nn.ModuleList([nn.LayerNorm(WIDTH, eps=1e-6) for _ in range(2)]), nn.Dropout(0.1)
        self.trg_word_prj = nn.Linear(WIDTH, VOCAB, bias=False)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
        self.trg_word_prj.weight = self.trg_word_emb.weight

    def prepare(self, embedding: nn.Embedding, seq: Tensor, norm: nn.Module) -> Tensor:
        x = embedding(seq)
        return norm(self.dropout(x + self.pos_table[:, : x.size(1)].clone().detach()))

    def forward(self, src_seq: Tensor, trg_seq: Tensor) -> Tensor:
        src_mask = (src_seq != self.src_pad_idx)[:, None, None]
        trg_mask = (trg_seq != self.trg_pad_idx)[:, None, None] & causal(trg_seq.size(1))
        enc_output = self.prepare(self.src_word_emb, src_seq, self.norms[0])
        for layer in self.encoder:
            enc_output = layer(enc_output, src_mask)
        dec_output = self.prepare(self.trg_word_emb, trg_seq, self.norms[1])
        for layer in self.decoder:
            dec_output = layer(dec_output, trg_mask, enc_output, src_mask)
        seq_logit = self.trg_word_prj(dec_output) * WIDTH**-0.5
        return seq_logit.view(-1, seq_logit.size(2))


class TupleInputs(Jadore):
    """TensorFlow's tutorial: `context, x = inputs`, and logits of three axes."""

    def forward(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        context, x = inputs
        return super().forward(context, x).view(*x.shape, -1)


# DeBERTa: content and distance apart in the scores; a tuple that begins with the loss where there are labels


class DisentangledAttention(Attention):
    reach = 8

    def __init__(self) -> None:
        super().__init__()
        self.pos_key, self.pos_query = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, rel: Tensor, mask: Tensor) -> Tensor:
        """rel [2 * reach, D], by distance"""
        q, k, v = split(self.w_qs(x)), split(self.w_ks(x)), split(self.w_vs(x))
        T = x.shape[1]  # noqa: N806
        distance = torch.arange(T)[:, None] - torch.arange(T)
        index = (distance + self.reach).clamp(0, 2 * self.reach - 1)
        pos_key, pos_query = (proj(rel).view(-1, HEADS, HEAD) for proj in (self.pos_key, self.pos_query))
        scores = q @ k.transpose(-1, -2)
        scores = scores + torch.einsum("bhte,tshe->bhts", q, pos_key[index])
        scores = scores + torch.einsum("bhse,tshe->bhts", k, pos_query[index])
        scores = (scores / math.sqrt(3 * HEAD)).masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1).masked_fill(~mask, 0)
        return self.fc((weights @ v).transpose(1, 2).flatten(2))


class DebertaForMaskedLM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings, self.rel_embeddings = nn.Embedding(VOCAB, WIDTH, padding_idx=0), nn.Embedding(16, WIDTH)
        self.attentions = nn.ModuleList([DisentangledAttention() for _ in range(LAYERS)])
        self.ffs = nn.ModuleList([FeedForward(nn.GELU) for _ in range(LAYERS)])
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH, eps=1e-7) for _ in range(2 * LAYERS + 1)])
        self.transform = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.LayerNorm(WIDTH))
        self.bias = nn.Parameter(torch.zeros(VOCAB))
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        real = attention_mask.bool()
        x = self.norms[-1](self.word_embeddings(input_ids)) * real[..., None]
        mask = real[:, None, None, :] & real[:, None, :, None]
        for i in range(LAYERS):
            x = self.norms[2 * i](x + self.attentions[i](x, self.rel_embeddings.weight, mask))
            x = self.norms[2 * i + 1](x + self.ffs[i](x))
        logits = F.linear(self.transform(x), self.word_embeddings.weight, self.bias)
        if labels is None:
            return (logits,)
        return F.cross_entropy(logits.view(-1, VOCAB), labels.view(-1)), logits


class PerceiverIO(nn.Module):
    """A few latent vectors read all tokens, talk among themselves, and are read by a query for each position."""

    def __init__(self) -> None:
        super().__init__()
        self.token_emb, self.pos_emb = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.latents, self.queries = nn.Parameter(torch.randn(8, WIDTH) * 0.3), nn.Embedding(CONTEXT, WIDTH)
        self.read, self.write = Attention(), Attention()
        self.selves = nn.ModuleList([Attention() for _ in range(LAYERS)])
        self.ffs = nn.ModuleList([FeedForward(nn.GELU) for _ in range(LAYERS + 2)])
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(2 * LAYERS + 7)])
        self.to_logits = nn.Linear(WIDTH, VOCAB)

    def forward(self, data: Tensor, mask: Tensor | None = None) -> Tensor:
        norms, T = iter(self.norms), data.shape[1]  # noqa: N806
        places = torch.arange(T)
        data = next(norms)(self.token_emb(data) + self.pos_emb(places))
        x = self.latents.expand(len(data), -1, -1)
        x = x + self.read(next(norms)(x), data, None if mask is None else mask[:, None, None].bool())
        x = x + self.ffs[0](next(norms)(x))
        for attention, ff in zip(self.selves, self.ffs[1:-1], strict=True):
            normed = next(norms)(x)
            x = x + attention(normed, normed)
            x = x + ff(next(norms)(x))
        y = self.queries(places).expand(len(data), -1, -1)
        y = y + self.write(next(norms)(y), next(norms)(x))
        y = y + self.ffs[-1](next(norms)(y))
        return self.to_logits(next(norms)(y))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attn, self.mlp = (
            nn.LayerNorm(WIDTH),
            nn.LayerNorm(WIDTH),
            Attention(),
            FeedForward(nn.GELU),
        )

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        normed = self.norm1(x)
        x = x + self.attn(normed, normed, mask)
        return x + self.mlp(self.norm2(x))


class SentenceEncoder(nn.Module):
    """A unit vector a sentence: the mean over what is no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings, self.positions = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers, self.norm = nn.ModuleList([Block() for _ in range(LAYERS)]), nn.LayerNorm(WIDTH)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        ids, real = features["input_ids"], features["attention_mask"]
        x = self.embeddings(ids) + self.positions(torch.arange(ids.shape[1]))
        for layer in self.layers:
            x = layer(x, real.bool()[:, None, None])
        x = self.norm(x)
        weights = real[..., None].to(x.dtype)
        pooled = (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return features | {"token_embeddings": x, "sentence_embedding": F.normalize(pooled, dim=-1)}


MODELS: dict[str, Callable[[], nn.Module]] = {
    "tensor2tensor": partial(seeded, Tensor2Tensor),
    "jadore801120": partial(seeded, Jadore),
    "a tuple of inputs": partial(seeded, TupleInputs),
    "DeBERTa": partial(seeded, DebertaForMaskedLM),
    "Perceiver IO": partial(seeded, PerceiverIO),
    "sentence encoder": partial(seeded, SentenceEncoder),
}
