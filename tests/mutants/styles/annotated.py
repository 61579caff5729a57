"""An encoder-decoder as tutorials build it from the paper: masks made by its own methods, sub-layers in residual
connections with the norm before, a generator of log-probabilities, smoothed labels, greedy decoding."""

import copy
import math
from collections.abc import Callable

import torch
import torch.nn as nn
from torch import Tensor


def clones(module: nn.Module, n: int) -> nn.ModuleList:
    return nn.ModuleList([copy.deepcopy(module) for _ in range(n)])


def subsequent_mask(size: int) -> Tensor:
    """[1, 1, size, size]: True for the keys that a query may attend to."""
    return torch.triu(torch.ones(1, 1, size, size), diagonal=1) == 0


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, dropout: nn.Module | None = None
) -> Tensor:
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, torch.finfo(scores.dtype).min)
    p_attn = scores.softmax(dim=-1)
    if dropout is not None:
        p_attn = dropout(p_attn)
    return torch.matmul(p_attn, value)


class MultiHeadedAttention(nn.Module):
    def __init__(self, h: int, d_model: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.d_k, self.h = d_model // h, h
        self.linears = clones(nn.Linear(d_model, d_model), 4)
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        nbatches = query.size(0)
        query, key, value = [
            lin(x).view(nbatches, -1, self.h, self.d_k).transpose(1, 2)
            for lin, x in zip(self.linears, (query, key, value), strict=False)
        ]
        x = attention(query, key, value, mask=mask, dropout=self.dropout)
        x = x.transpose(1, 2).contiguous().view(nbatches, -1, self.h * self.d_k)
        return self.linears[-1](x)


class PositionwiseFeedForward(nn.Module):
    def __init__(self, d_model: int, d_ff: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.w_1 = nn.Linear(d_model, d_ff)
        self.w_2 = nn.Linear(d_ff, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.dropout(self.w_1(x).relu()))


class SublayerConnection(nn.Module):
    """A residual connection around a sub-layer whose input is normalised."""

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + self.dropout(sublayer(self.norm(x)))


class EncoderLayer(nn.Module):
    def __init__(self, size: int, h: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiHeadedAttention(h, size, dropout)
        self.feed_forward = PositionwiseFeedForward(size, d_ff, dropout)
        self.sublayer = clones(SublayerConnection(size, dropout), 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.sublayer[0](x, lambda x: self.self_attn(x, x, x, mask))
        return self.sublayer[1](x, self.feed_forward)


class DecoderLayer(nn.Module):
    def __init__(self, size: int, h: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = MultiHeadedAttention(h, size, dropout)
        self.src_attn = MultiHeadedAttention(h, size, dropout)
        self.feed_forward = PositionwiseFeedForward(size, d_ff, dropout)
        self.sublayer = clones(SublayerConnection(size, dropout), 3)

    def forward(self, x: Tensor, memory: Tensor, src_mask: Tensor, trg_mask: Tensor) -> Tensor:
        x = self.sublayer[0](x, lambda x: self.self_attn(x, x, x, trg_mask))
        x = self.sublayer[1](x, lambda x: self.src_attn(x, memory, memory, src_mask))
        return self.sublayer[2](x, self.feed_forward)


class PositionalEncoding(nn.Module):
    def __init__(self, d_model: int, dropout: float, max_len: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * -(math.log(10000.0) / d_model))
        pe = torch.zeros(1, max_len, d_model)
        pe[0, :, 0::2] = torch.sin(position * div_term)
        pe[0, :, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.pe[:, : x.size(1)])


class Embeddings(nn.Module):
    def __init__(self, d_model: int, vocab: int) -> None:
        super().__init__()
        self.lut = nn.Embedding(vocab, d_model)
        self.d_model = d_model

    def forward(self, x: Tensor) -> Tensor:
        return self.lut(x) * math.sqrt(self.d_model)


class Generator(nn.Module):
    """Log-probabilities of the next token."""

    def __init__(self, d_model: int, vocab: int) -> None:
        super().__init__()
        self.proj = nn.Linear(d_model, vocab)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).log_softmax(dim=-1)


class LabelSmoothing(nn.Module):
    """The summed divergence from smoothed targets: nothing for padding, neither as a target nor as a guess."""

    def __init__(self, size: int, padding_idx: int, smoothing: float = 0.0) -> None:
        super().__init__()
        self.criterion = nn.KLDivLoss(reduction="sum")
        self.size, self.padding_idx, self.smoothing = size, padding_idx, smoothing
        self.confidence = 1.0 - smoothing

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        true_dist = torch.full_like(x, self.smoothing / (self.size - 2))
        true_dist.scatter_(1, target.unsqueeze(1), self.confidence)
        true_dist[:, self.padding_idx] = 0
        true_dist = true_dist.masked_fill((target == self.padding_idx).unsqueeze(1), 0.0)
        return self.criterion(x, true_dist)


class Transformer(nn.Module):
    def __init__(
        self,
        src_vocab: int = 29,
        trg_vocab: int = 31,
        n: int = 2,
        d_model: int = 32,
        d_ff: int = 64,
        h: int = 4,
        dropout: float = 0.1,
        max_len: int = 40,
        pad_idx: int = 0,
        bos_idx: int = 1,
        eos_idx: int = 2,
    ) -> None:
        super().__init__()
        self.pad_idx, self.bos_idx, self.eos_idx, self.max_len = pad_idx, bos_idx, eos_idx, max_len
        self.encoder = clones(EncoderLayer(d_model, h, d_ff, dropout), n)
        self.decoder = clones(DecoderLayer(d_model, h, d_ff, dropout), n)
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.src_embed = Embeddings(d_model, src_vocab)
        self.trg_embed = Embeddings(d_model, trg_vocab)
        self.position = PositionalEncoding(d_model, dropout, max_len)
        self.generator = Generator(d_model, trg_vocab)
        self.criterion = LabelSmoothing(trg_vocab, pad_idx, smoothing=0.1)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def make_src_mask(self, src: Tensor) -> Tensor:
        """[B, 1, 1, S]: True for a token, False for padding."""
        return (src != self.pad_idx)[:, None, None, :]

    def make_trg_mask(self, trg: Tensor) -> Tensor:
        """[B, 1, T, T]: True for the tokens up to each, without padding."""
        pad_mask = (trg != self.pad_idx)[:, None, None, :]
        return pad_mask & subsequent_mask(trg.size(1)).to(trg.device)

    def encode(self, src: Tensor, src_mask: Tensor) -> Tensor:
        x = self.position(self.src_embed(src))
        for layer in self.encoder:
            x = layer(x, src_mask)
        return self.encoder_norm(x)

    def decode(self, memory: Tensor, src_mask: Tensor, trg: Tensor, trg_mask: Tensor) -> Tensor:
        x = self.position(self.trg_embed(trg))
        for layer in self.decoder:
            x = layer(x, memory, src_mask, trg_mask)
        return self.decoder_norm(x)

    def forward(self, src: Tensor, trg: Tensor) -> Tensor:
        """Log-probabilities [B, T, V] of what follows each token of `trg`."""
        src_mask, trg_mask = self.make_src_mask(src), self.make_trg_mask(trg)
        memory = self.encode(src, src_mask)
        return self.generator(self.decode(memory, src_mask, trg, trg_mask))

    def compute_loss(self, src: Tensor, trg: Tensor) -> Tensor:
        """The mean over the tokens to be predicted. `trg` begins with `bos_idx` and is padded on the right."""
        trg_input, trg_y = trg[:, :-1], trg[:, 1:]
        log_probs = self(src, trg_input)
        ntokens = (trg_y != self.pad_idx).sum()
        return self.criterion(log_probs.flatten(0, 1), trg_y.flatten()) / ntokens

    @torch.no_grad()
    def greedy_decode(self, src: Tensor, max_len: int = 20) -> Tensor:
        """[B, up to max_len]: `bos_idx` and the likeliest tokens, padded after `eos_idx`."""
        src_mask = self.make_src_mask(src)
        memory = self.encode(src, src_mask)
        ys = torch.full((src.size(0), 1), self.bos_idx, dtype=src.dtype, device=src.device)
        done = torch.zeros(src.size(0), dtype=torch.bool, device=src.device)
        for _ in range(max_len - 1):
            out = self.decode(memory, src_mask, ys, self.make_trg_mask(ys))
            next_word = self.generator(out[:, -1]).argmax(dim=-1)
            next_word = next_word.masked_fill(done, self.pad_idx)
            done = done | (next_word == self.eos_idx)
            ys = torch.cat([ys, next_word.unsqueeze(1)], dim=1)
            if done.all():
                break
        return ys


def model() -> Transformer:
    torch.manual_seed(0)
    return Transformer()
