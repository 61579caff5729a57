"""Models called in ways of their own, after hkproj, gordicaleksa, pbloem, labml and JoeyNMT; packed rows, a pipeline,
any order, pictures of words, decisions."""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import normal, seeded
from torch import Tensor, nn


def sinusoids(length: int, dim: int) -> Tensor:
    """[length, dim], sines and cosines in turn"""
    angle = torch.arange(length)[:, None] * torch.exp(-math.log(10000.0) * torch.arange(0, dim, 2) / dim)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


# hkproj: no forward; one calls encode, decode and project, with masks in which 0 is hidden


class LayerNormalization(nn.Module):
    def __init__(self, features: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps, self.alpha, self.bias = eps, nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        mean, std = x.mean(dim=-1, keepdim=True), x.std(dim=-1, keepdim=True)
        return self.alpha * (x - mean) / (std + self.eps) + self.bias


class InputEmbeddings(nn.Module):
    def __init__(self, d_model: int, vocab_size: int, seq_len: int, dropout: float) -> None:
        super().__init__()
        self.d_model, self.embedding, self.dropout = d_model, nn.Embedding(vocab_size, d_model), nn.Dropout(dropout)
        self.pe: Tensor
        self.register_buffer("pe", sinusoids(seq_len, d_model)[None])

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.embedding(x) * math.sqrt(self.d_model) + self.pe[:, : x.shape[1]])


class MultiHeadAttentionBlock(nn.Module):
    def __init__(self, d_model: int, h: int, dropout: float) -> None:
        super().__init__()
        self.h, self.d_k, self.dropout = h, d_model // h, nn.Dropout(dropout)
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))

    @staticmethod
    def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: nn.Dropout) -> Tensor:
        attention_scores = (query @ key.transpose(-2, -1)) / math.sqrt(query.shape[-1])
        if mask is not None:
            attention_scores = attention_scores.masked_fill(mask == 0, -1e9)
        return dropout(attention_scores.softmax(dim=-1)) @ value

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        parts = (w(x) for w, x in ((self.w_q, q), (self.w_k, k), (self.w_v, v)))
        query, key, value = (x.view(x.shape[0], x.shape[1], self.h, self.d_k).transpose(1, 2) for x in parts)
        x = self.attention(query, key, value, mask, self.dropout)
        return self.w_o(x.transpose(1, 2).contiguous().view(x.shape[0], -1, self.h * self.d_k))


class ResidualConnection(nn.Module):
    def __init__(self, features: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.norm = nn.Dropout(dropout), LayerNormalization(features)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + self.dropout(sublayer(self.norm(x)))


class CoderBlock(nn.Module):
    def __init__(self, d_model: int, h: int, dropout: float, cross: bool) -> None:
        super().__init__()
        self.self_attention_block = MultiHeadAttentionBlock(d_model, h, dropout)
        self.cross_attention_block = MultiHeadAttentionBlock(d_model, h, dropout) if cross else None
        self.feed_forward_block = nn.Sequential(
            nn.Linear(d_model, 2 * d_model), nn.ReLU(), nn.Dropout(dropout), nn.Linear(2 * d_model, d_model)
        )
        self.residual_connections = nn.ModuleList([ResidualConnection(d_model, dropout) for _ in range(2 + cross)])

    def forward(
        self, x: Tensor, own_mask: Tensor | None, memory: Tensor | None = None, memory_mask: Tensor | None = None
    ) -> Tensor:
        x = self.residual_connections[0](x, lambda y: self.self_attention_block(y, y, y, own_mask))
        cross = self.cross_attention_block
        if cross is not None:
            x = self.residual_connections[1](x, lambda y: cross(y, memory, memory, memory_mask))
        return self.residual_connections[-1](x, self.feed_forward_block)


class HkTransformer(nn.Module):
    """encoder_mask [B, 1, 1, S] and decoder_mask [B, 1, T, T]; a mask of None hides nothing."""

    def __init__(
        self, src_vocab: int = 57, tgt_vocab: int = 53, seq_len: int = 40, d_model: int = 32, h: int = 4, n: int = 2
    ) -> None:
        super().__init__()
        self.src_embed = InputEmbeddings(d_model, src_vocab, seq_len, 0.1)
        self.tgt_embed = InputEmbeddings(d_model, tgt_vocab, seq_len, 0.1)
        self.encoder = nn.ModuleList([CoderBlock(d_model, h, 0.1, cross=False) for _ in range(n)])
        self.decoder = nn.ModuleList([CoderBlock(d_model, h, 0.1, cross=True) for _ in range(n)])
        self.encoder_norm, self.decoder_norm = LayerNormalization(d_model), LayerNormalization(d_model)
        self.projection_layer = nn.Linear(d_model, tgt_vocab)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def encode(self, src: Tensor, src_mask: Tensor | None) -> Tensor:
        x = self.src_embed(src)
        for layer in self.encoder:
            x = layer(x, src_mask)
        return self.encoder_norm(x)

    def decode(self, encoder_output: Tensor, src_mask: Tensor | None, tgt: Tensor, tgt_mask: Tensor | None) -> Tensor:
        x = self.tgt_embed(tgt)
        for layer in self.decoder:
            x = layer(x, tgt_mask, encoder_output, src_mask)
        return self.decoder_norm(x)

    def project(self, x: Tensor) -> Tensor:
        return self.projection_layer(x)


# gordicaleksa: logarithms of probabilities, all places of all rows in one list; masks from the caller


class Sublayer(nn.Module):
    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(dim), nn.Dropout(dropout)

    def forward(self, x: Tensor, module: Callable[[Tensor], Tensor]) -> Tensor:
        return x + self.dropout(module(self.norm(x)))


class ClonedAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv_nets = nn.ModuleList([copy.deepcopy(nn.Linear(dim, dim)) for _ in range(3)])
        self.out_projection_net = nn.Linear(dim, dim)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            net(x).view(len(x), -1, self.heads, x.shape[-1] // self.heads).transpose(1, 2)
            for net, x in zip(self.qkv_nets, (query, key, value), strict=True)
        )
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(key.shape[-1])
        scores.masked_fill_(mask == torch.tensor(False), torch.finfo(scores.dtype).min)
        together = torch.matmul(scores.softmax(dim=-1), value)
        return self.out_projection_net(together.transpose(1, 2).flatten(2))


class OriginalLayer(nn.Module):
    def __init__(self, dim: int, heads: int, decodes: bool) -> None:
        super().__init__()
        self.attention, self.feed = (
            ClonedAttention(dim, heads),
            nn.Sequential(nn.Linear(dim, 3 * dim), nn.ReLU(), nn.Linear(3 * dim, dim)),
        )
        self.source_attention = ClonedAttention(dim, heads) if decodes else None
        self.sublayers = nn.ModuleList([Sublayer(dim, 0.1) for _ in range(3 if decodes else 2)])

    def forward(self, x: Tensor, mask: Tensor, source: Tensor | None = None, src_mask: Tensor | None = None) -> Tensor:
        x = self.sublayers[0](x, lambda y: self.attention(y, y, y, mask))
        attend = self.source_attention
        if attend is not None:
            x = self.sublayers[1](x, lambda y: attend(y, source, source, src_mask))
        return self.sublayers[-1](x, self.feed)


class OriginalTransformer(nn.Module):
    """src_mask [B, 1, 1, S] and trg_mask [B, 1, T, T], False where hidden; log-probabilities [B * T, V]"""

    pe: Tensor

    def __init__(self, src_vocab: int = 52, trg_vocab: int = 52, dim: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.dim = dim
        self.src_embedding, self.trg_embedding = nn.Embedding(src_vocab, dim), nn.Embedding(trg_vocab, dim)
        self.register_buffer("pe", sinusoids(40, dim), persistent=False)
        encoder_layer, decoder_layer = OriginalLayer(dim, heads, False), OriginalLayer(dim, heads, True)
        self.encoder_layers = nn.ModuleList([copy.deepcopy(encoder_layer) for _ in range(depth)])
        self.decoder_layers = nn.ModuleList([copy.deepcopy(decoder_layer) for _ in range(depth)])
        self.encoder_norm, self.decoder_norm, self.dropout = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.Dropout(0.1)
        self.generator = nn.Linear(dim, trg_vocab)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)

    def embed(self, table: nn.Module, token_ids: Tensor) -> Tensor:
        return self.dropout(table(token_ids) * math.sqrt(self.dim) + self.pe[: token_ids.shape[1]])

    def encode(self, src_token_ids: Tensor, src_mask: Tensor) -> Tensor:
        x = self.embed(self.src_embedding, src_token_ids)
        for layer in self.encoder_layers:
            x = layer(x, src_mask)
        return self.encoder_norm(x)

    def decode(self, trg_token_ids: Tensor, encoded: Tensor, trg_mask: Tensor, src_mask: Tensor) -> Tensor:
        x = self.embed(self.trg_embedding, trg_token_ids)
        for layer in self.decoder_layers:
            x = layer(x, trg_mask, encoded, src_mask)
        log_probs = F.log_softmax(self.generator(self.decoder_norm(x)), dim=-1)
        return log_probs.reshape(-1, log_probs.shape[-1])

    def forward(self, src_token_ids: Tensor, trg_token_ids: Tensor, src_mask: Tensor, trg_mask: Tensor) -> Tensor:
        return self.decode(trg_token_ids, self.encode(src_token_ids, src_mask), trg_mask, src_mask)


# pbloem's former: queries and keys are both scaled; the upper triangle is hidden in place


class FormerBlock(nn.Module):
    def __init__(self, emb: int, heads: int, ff_hidden_mult: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads = heads
        self.tokeys, self.toqueries, self.tovalues = (nn.Linear(emb, emb, bias=False) for _ in range(3))
        self.unifyheads = nn.Linear(emb, emb)
        self.norm1, self.norm2, self.do = nn.LayerNorm(emb), nn.LayerNorm(emb), nn.Dropout(dropout)
        self.ff = nn.Sequential(nn.Linear(emb, ff_hidden_mult * emb), nn.ReLU(), nn.Linear(ff_hidden_mult * emb, emb))

    def attend(self, x: Tensor) -> Tensor:
        b, t, e = x.size()
        h, s = self.heads, e // self.heads
        keys, queries, values = (
            f(x).view(b, t, h, s).transpose(1, 2).reshape(b * h, t, s)
            for f in (self.tokeys, self.toqueries, self.tovalues)
        )
        queries, keys = queries / (s ** (1 / 4)), keys / (s ** (1 / 4))
        dot = torch.bmm(queries, keys.transpose(1, 2))
        row, column = torch.triu_indices(t, t, offset=1)
        dot[..., row, column] = float("-inf")
        out = torch.bmm(F.softmax(dot, dim=2), values).view(b, h, t, s)
        return self.unifyheads(out.transpose(1, 2).reshape(b, t, s * h))

    def forward(self, x: Tensor) -> Tensor:
        x = self.do(self.norm1(self.attend(x) + x))
        return self.do(self.norm2(self.ff(x) + x))


class Former(nn.Module):
    """Logarithms of probabilities; `sample` returns the seed and what is drawn after it."""

    def __init__(
        self, emb: int = 32, heads: int = 4, depth: int = 2, seq_length: int = 40, num_tokens: int = 56
    ) -> None:
        super().__init__()
        self.seq_length, self.num_tokens = seq_length, num_tokens
        self.token_embedding, self.pos_embedding = nn.Embedding(num_tokens, emb), nn.Embedding(seq_length, emb)
        self.tblocks = nn.Sequential(*[FormerBlock(emb, heads) for _ in range(depth)])
        self.toprobs = nn.Linear(emb, num_tokens)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.token_embedding(x)
        b, t, e = tokens.size()
        x = self.tblocks(tokens + self.pos_embedding(torch.arange(t))[None].expand(b, t, e))
        x = self.toprobs(x.view(b * t, e)).view(b, t, self.num_tokens)
        return F.log_softmax(x, dim=2)

    @torch.no_grad()
    def sample(self, seed: Tensor, length: int, temperature: float = 1.0) -> Tensor:
        """seed [B, T]; a temperature of 0 takes the likeliest"""
        for _ in range(length):
            lnprobs = self(seed[:, -self.seq_length :])[:, -1]
            if temperature == 0.0:
                token = lnprobs.argmax(dim=-1, keepdim=True)
            else:
                token = torch.multinomial(F.softmax(lnprobs / temperature, dim=-1), 1)
            seed = torch.cat([seed, token], dim=1)
        return seed


# labml: time first, a mask that is kept until the length changes, a tuple whose second part is empty


class PrepareForMultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.linear, self.heads, self.d_k = nn.Linear(d_model, d_model), heads, d_model // heads

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).view(*x.shape[:-1], self.heads, self.d_k)


class LabmlLayer(nn.Module):
    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value = (PrepareForMultiHeadAttention(d_model, heads) for _ in range(3))
        self.output, self.softmax, self.scale = (
            nn.Linear(d_model, d_model),
            nn.Softmax(dim=1),
            (d_model // heads) ** -0.5,
        )
        self.layer1, self.layer2 = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)
        self.norm_self_attn, self.norm_ff = nn.LayerNorm([d_model]), nn.LayerNorm([d_model])
        self.dropout = nn.Dropout(dropout)

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        scores = torch.einsum("ibhd,jbhd->ijbh", self.query(x), self.key(x)) * self.scale
        scores = scores.masked_fill(mask == 0, float("-inf"))
        attn = self.dropout(self.softmax(scores))
        y = torch.einsum("ijbh,jbhd->ibhd", attn, self.value(x))
        return self.output(y.reshape(*x.shape[:2], -1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.dropout(self.attend(self.norm_self_attn(x), mask))
        return x + self.dropout(self.layer2(self.dropout(F.relu(self.layer1(self.norm_ff(x))))))


class AutoregressiveTransformer(nn.Module):
    """x [T, B]; returns (logits [T, B, V], None), as recurrent networks return a state."""

    def __init__(self, n_tokens: int = 59, d_model: int = 32, heads: int = 4, n_layers: int = 2) -> None:
        super().__init__()
        self.mask: Tensor | None = None
        self.src_embed = nn.Embedding(n_tokens, d_model)
        self.positional_encodings = nn.Parameter(torch.zeros(64, 1, d_model))
        self.layers = nn.ModuleList([LabmlLayer(d_model, heads, 0.1) for _ in range(n_layers)])
        self.norm, self.generator = nn.LayerNorm([d_model]), nn.Linear(d_model, n_tokens)
        normal(self)
        nn.init.normal_(self.positional_encodings, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        if self.mask is None or self.mask.size(0) != len(x):
            self.mask = torch.tril(torch.ones(len(x), len(x)))[:, :, None, None]
        y = self.src_embed(x) + self.positional_encodings[: len(x)]
        for layer in self.layers:
            y = layer(y, self.mask)
        return self.generator(self.norm(y)), None


# Documents packed into rows, told apart by positions that begin anew


class PackedBlock(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.RMSNorm(dim, eps=1e-6), nn.RMSNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.gate, self.up = nn.Linear(dim, 64, bias=False), nn.Linear(dim, 64, bias=False)
        self.down = nn.Linear(64, dim, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, block_mask: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = (z * cos + torch.cat([-z.chunk(2, -1)[1], z.chunk(2, -1)[0]], dim=-1) * sin for z in (q, k))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=block_mask)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, d))
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class PackedLM(nn.Module):
    """A document begins where position_ids are 0. `labels` are the ids; no document's end predicts the next's begin."""

    def __init__(self, vocab: int = 63, dim: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.head_dim, self.embed_tokens = dim // heads, nn.Embedding(vocab, dim)
        self.layers = nn.ModuleList([PackedBlock(dim, heads) for _ in range(depth)])
        self.norm, self.lm_head = nn.RMSNorm(dim, eps=1e-6), nn.Linear(dim, vocab, bias=False)
        normal(self)

    def forward(
        self, input_ids: Tensor, position_ids: Tensor | None = None, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        if position_ids is None:
            position_ids = torch.arange(input_ids.size(1)).expand_as(input_ids)
        document = (position_ids == 0).cumsum(dim=-1)
        same = document[:, :, None] == document[:, None, :]
        block_mask = (same & torch.ones_like(same[0]).tril())[:, None]
        x = self.embed_tokens(input_ids)
        inv = 10000.0 ** (-torch.arange(0, self.head_dim, 2, dtype=x.dtype) / self.head_dim)
        angle = (position_ids[:, :, None].to(x.dtype) * torch.cat([inv, inv]))[:, None]
        for layer in self.layers:
            x = layer(x, angle.cos(), angle.sin(), block_mask)
        out = {"logits": self.lm_head(self.norm(x))}
        if labels is not None:
            target = labels[:, 1:].masked_fill(position_ids[:, 1:] == 0, -100)
            out["loss"] = F.cross_entropy(out["logits"][:, :-1].flatten(0, 1), target.flatten(), ignore_index=-100)
        return out


# A pipeline: stages one after another, each of which takes a tuple and gives one


class EmbeddingPipe(nn.Module):
    def __init__(self, vocab: int, dim: int, length: int) -> None:
        super().__init__()
        self.weight_table, self.positions = nn.Embedding(vocab, dim), nn.Embedding(length, dim)

    def forward(self, args: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        ids, mask = args if isinstance(args, tuple) else (args, torch.ones_like(args))
        place = (mask.cumsum(dim=-1) - 1).clamp(min=0)
        t = ids.size(1)
        visible = torch.ones(t, t, dtype=torch.bool).tril() & (mask[:, None, :] == 1)
        x = self.weight_table(ids) + self.positions(place)
        return x, torch.where(visible, 0.0, -10000.0).to(x.dtype)[:, None]


class BlockPipe(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.ln_attn, self.ln_mlp = heads, nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.dense = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc_in, self.fc_out = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, args: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        x, bias = args
        q, k, v = self.attn(self.ln_attn(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / k.size(-1) ** 0.5 + bias).softmax(dim=-1)
        x = x + self.dense((weights @ v).transpose(1, 2).flatten(2))
        return x + self.fc_out(F.gelu(self.fc_in(self.ln_mlp(x)))), bias


class HeadPipe(nn.Module):
    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.norm, self.table = nn.LayerNorm(table.embedding_dim), table

    def forward(self, args: tuple[Tensor, Tensor]) -> Tensor:
        return F.linear(self.norm(args[0]), self.table.weight)


class GPTPipe(nn.Sequential):
    """Of (ids, mask), or of ids alone, logits; `loss_fn(logits, (labels, mask))` of labels that come moved."""

    def __init__(self, vocab: int = 54, dim: int = 32, heads: int = 4, depth: int = 3, length: int = 40) -> None:
        first = EmbeddingPipe(vocab, dim, length)
        super().__init__(first, *[BlockPipe(dim, heads) for _ in range(depth)], HeadPipe(first.weight_table))
        normal(self)

    @staticmethod
    def loss_fn(logits: Tensor, rest: tuple[Tensor, Tensor]) -> Tensor:
        labels, mask = rest
        losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        return (losses * mask).sum() / mask.sum()


# JoeyNMT: what is returned is asked for by name; the loss is a sum, with smoothed labels


JOEY_PAD, JOEY_BOS, JOEY_EOS = 1, 2, 3


class JoeyLayer(nn.Module):
    def __init__(self, dim: int, heads: int, decodes: bool) -> None:
        super().__init__()
        attention = partial(nn.MultiheadAttention, dim, heads, dropout=0.1, batch_first=True)
        self.src_src_att, self.cross_att = attention(), attention() if decodes else None
        self.x_layer_norm, self.dec_layer_norm = nn.LayerNorm(dim), nn.LayerNorm(dim) if decodes else None
        self.dropout = nn.Dropout(0.1)
        self.pwff = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 64), nn.ReLU(), nn.Linear(64, dim), nn.Dropout(0.1))

    def forward(
        self, x: Tensor, hidden: Tensor, memory: Tensor | None = None, memory_hidden: Tensor | None = None
    ) -> Tensor:
        """hidden: of keys [B, T], or of queries and keys [T, T]"""
        h = self.x_layer_norm(x)
        masks = {"key_padding_mask": hidden} if memory is None else {"attn_mask": hidden}
        x = x + self.dropout(self.src_src_att(h, h, h, need_weights=False, **masks)[0])
        if self.cross_att is not None and self.dec_layer_norm is not None:
            y, _ = self.cross_att(self.dec_layer_norm(x), memory, memory, memory_hidden, need_weights=False)
            x = x + self.dropout(y)
        return x + self.pwff(x)


class JoeyModel(nn.Module):
    """`forward("loss", src=, trg_input=, trg=)` gives (sum of losses, logits, right tokens); "encode" the memory;
    "decode" logits. The mask of the source is true for real tokens."""

    pe: Tensor

    def __init__(self, vocab: int = 51, dim: int = 32, heads: int = 4, depth: int = 2, smoothing: float = 0.1) -> None:
        super().__init__()
        self.dim, self.smoothing = dim, smoothing
        self.embed = nn.Embedding(vocab, dim, padding_idx=JOEY_PAD)
        self.register_buffer("pe", sinusoids(48, dim))
        self.encoder = nn.ModuleList([JoeyLayer(dim, heads, False) for _ in range(depth)])
        self.decoder = nn.ModuleList([JoeyLayer(dim, heads, True) for _ in range(depth)])
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        nn.init.normal_(self.embed.weight, std=0.02)
        nn.init.zeros_(self.embed.weight[JOEY_PAD].detach())

    def forward(self, return_type: str = "decode", **batch: Tensor) -> Any:
        if return_type == "encode":
            return self.encode(batch["src"], batch.get("src_mask"))
        logits = self.decode(batch["trg_input"], *self.encode(batch["src"], batch.get("src_mask")))
        if return_type == "decode":
            return logits
        assert return_type == "loss", f"return_type is encode, decode or loss, not {return_type}"
        real = batch["trg"] != JOEY_PAD
        right = (logits.argmax(dim=-1) == batch["trg"]) & real
        return self.sum_of_losses(logits, batch["trg"]), logits, right.sum()

    def encode(self, src: Tensor, src_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        real = src != JOEY_PAD if src_mask is None else src_mask.view(src.shape)
        x = self.embed(src) * math.sqrt(self.dim) + self.pe[: src.size(1)]
        for layer in self.encoder:
            x = layer(x, ~real)
        return self.encoder_norm(x), ~real

    def decode(self, trg_input: Tensor, memory: Tensor, memory_hidden: Tensor) -> Tensor:
        t = trg_input.size(1)
        later = torch.ones(t, t, dtype=torch.bool).triu(1)
        x = self.embed(trg_input) * math.sqrt(self.dim) + self.pe[:t]
        for layer in self.decoder:
            x = layer(x, later, memory, memory_hidden)
        return F.linear(self.decoder_norm(x), self.embed.weight)

    def sum_of_losses(self, logits: Tensor, trg: Tensor) -> Tensor:
        """Smoothing spreads over all but the right token and padding."""
        smooth = torch.full_like(logits, self.smoothing / (logits.size(-1) - 2))
        smooth.scatter_(2, trg[..., None], 1.0 - self.smoothing)
        smooth[..., JOEY_PAD] = 0
        smooth = smooth.masked_fill((trg == JOEY_PAD)[..., None], 0.0)
        return F.kl_div(logits.log_softmax(dim=-1), smooth, reduction="sum")

    @torch.no_grad()
    def greedy(self, src: Tensor, max_output_length: int) -> Tensor:
        """[B, up to max_output_length], padding after an end"""
        memory, hidden = self.encode(src)
        ys = src.new_full((len(src), 1), JOEY_BOS)
        finished = torch.zeros(len(src), dtype=torch.bool)
        for _ in range(max_output_length):
            word = self.decode(ys, memory, hidden)[:, -1].argmax(dim=-1).masked_fill(finished, JOEY_PAD)
            ys = torch.cat([ys, word[:, None]], dim=1)
            finished = finished | (word == JOEY_EOS)
            if bool(finished.all()):
                break
        return ys[:, 1:]


# Sigma-GPT: any order of the tokens; each knows its own place and that of the one it predicts


class SigmaGPT(nn.Module):
    """`forward(tokens, order)`: logits[:, i] are of the token at order[i + 1], from those at order[: i + 1]."""

    def __init__(self, vocab: int = 47, dim: int = 32, heads: int = 4, depth: int = 2, length: int = 40) -> None:
        super().__init__()
        self.heads, self.token = heads, nn.Embedding(vocab, dim)
        self.own, self.next = nn.Embedding(length, dim), nn.Embedding(length + 1, dim)
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(2 * depth + 1)])
        self.qkvs = nn.ModuleList([nn.Linear(dim, 3 * dim) for _ in range(depth)])
        self.outs = nn.ModuleList([nn.Linear(dim, dim) for _ in range(depth)])
        self.mlps = nn.ModuleList(
            [nn.Sequential(nn.Linear(dim, 96), nn.GELU(), nn.Linear(96, dim)) for _ in range(depth)]
        )
        self.head = nn.Linear(dim, vocab, bias=False)
        normal(self)

    def forward(self, tokens: Tensor, order: Tensor | None = None) -> Tensor:
        b, t = tokens.shape
        if order is None:
            order = torch.arange(t).expand(b, t)
        following = torch.cat([order[:, 1:], order.new_full((b, 1), t)], dim=1)
        x = self.token(tokens.gather(1, order)) + self.own(order) + self.next(following)
        for i, (qkv, out, mlp) in enumerate(zip(self.qkvs, self.outs, self.mlps, strict=True)):
            q, k, v = (z.view(b, t, self.heads, -1).transpose(1, 2) for z in qkv(self.norms[2 * i](x)).chunk(3, dim=2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + out(y.transpose(1, 2).reshape(b, t, -1))
            x = x + mlp(self.norms[2 * i + 1](x))
        return self.head(self.norms[-1](x))

    def loss(self, tokens: Tensor, order: Tensor) -> Tensor:
        target = tokens.gather(1, order)[:, 1:]
        return F.cross_entropy(self(tokens, order)[:, :-1].transpose(1, 2), target)


# DALL-E: words, and then the codes of a picture; a place may predict words or codes alone


class WordsAndPixels(nn.Module):
    """text [B, 6], where 0 is padding; image codes [B, up to 16]; the logits of places without a picture's end too"""

    kinds: Tensor

    def __init__(
        self, num_text: int = 40, num_image: int = 32, text_len: int = 6, side: int = 4, dim: int = 32, heads: int = 4
    ) -> None:
        super().__init__()
        self.num_text, self.num_image, self.text_len, self.image_len = num_text, num_image, text_len, side * side
        self.all_text = num_text + text_len
        self.text_emb, self.image_emb = nn.Embedding(self.all_text, dim), nn.Embedding(num_image, dim)
        self.text_pos = nn.Embedding(text_len + 1, dim)
        self.row, self.column = nn.Parameter(torch.zeros(side, 1, dim)), nn.Parameter(torch.zeros(1, side, dim))
        layer = partial(nn.TransformerEncoderLayer, dim, heads, 64, 0.1, "gelu", batch_first=True, norm_first=True)
        self.layers = nn.ModuleList([layer() for _ in range(2)])
        self.to_logits = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, self.all_text + num_image))
        for_text = torch.arange(text_len + self.image_len)[:, None] < text_len
        is_text = torch.arange(self.all_text + num_image)[None, :] < self.all_text
        self.register_buffer("kinds", for_text != is_text, persistent=False)
        normal(self)
        for axis in (self.row, self.column):
            nn.init.normal_(axis, std=0.02)

    def forward(self, text: Tensor, image: Tensor | None = None, return_loss: bool = False) -> Tensor:
        assert text.size(1) == self.text_len, f"a text has {self.text_len} tokens, not {text.size(1)}"
        own_padding = self.num_text + torch.arange(self.text_len)
        text = torch.where(text == 0, own_padding, text)
        x = self.text_emb(F.pad(text, (1, 0))) + self.text_pos.weight
        if image is not None:
            x = torch.cat([x, self.image_emb(image) + (self.row + self.column).flatten(0, 1)[: image.size(1)]], dim=1)
        x = x[:, : self.text_len + self.image_len]
        later = torch.ones(x.size(1), x.size(1), dtype=torch.bool).triu(1)
        for layer in self.layers:
            x = layer(x, src_mask=later)
        logits = self.to_logits(x)
        logits = logits.masked_fill(self.kinds[: x.size(1)], -torch.finfo(logits.dtype).max)
        if not return_loss:
            return logits
        assert image is not None, "a loss needs a picture"
        labels = torch.cat([text, image + self.all_text], dim=1)
        losses = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        return (losses[:, : self.text_len].mean() + 7 * losses[:, self.text_len :].mean()) / 8

    @torch.no_grad()
    def generate_images(self, text: Tensor, temperature: float = 1.0, top_k: int = 8) -> Tensor:
        """Codes [B, 16]"""
        image = text.new_zeros(len(text), 0)
        for _ in range(self.image_len):
            logits = self(text, image)[:, -1, self.all_text :]
            smallest = logits.topk(top_k, dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < smallest, float("-inf"))
            image = torch.cat([image, torch.multinomial((logits / temperature).softmax(dim=-1), 1)], dim=1)
        return image


# A decision transformer: returns, states and actions in turn; what to do is read off the states


class DecisionTransformer(nn.Module):
    """Returns (states, actions, returns) that are predicted; padding stands at the left, where the mask is 0."""

    def __init__(
        self, state_dim: int = 7, act_dim: int = 3, dim: int = 32, heads: int = 4, max_ep_len: int = 64
    ) -> None:
        super().__init__()
        self.heads, self.embed_timestep = heads, nn.Embedding(max_ep_len, dim)
        self.embed_return, self.embed_state = nn.Linear(1, dim), nn.Linear(state_dim, dim)
        self.embed_action, self.embed_ln = nn.Linear(act_dim, dim), nn.LayerNorm(dim)
        self.blocks = nn.ModuleList([BlockPipe(dim, heads) for _ in range(2)])
        self.ln_f = nn.LayerNorm(dim)
        self.predict_state, self.predict_return = nn.Linear(dim, state_dim), nn.Linear(dim, 1)
        self.predict_action = nn.Sequential(nn.Linear(dim, act_dim), nn.Tanh())

    def forward(
        self,
        states: Tensor,
        actions: Tensor,
        returns_to_go: Tensor,
        timesteps: Tensor,
        attention_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        b, t = states.shape[:2]
        if attention_mask is None:
            attention_mask = torch.ones(b, t, dtype=torch.long)
        when = self.embed_timestep(timesteps)
        parts = (self.embed_return(returns_to_go), self.embed_state(states), self.embed_action(actions))
        x = self.embed_ln(torch.stack([part + when for part in parts], dim=2).flatten(1, 2))
        real = attention_mask.repeat_interleave(3, dim=1)
        visible = torch.ones(3 * t, 3 * t, dtype=torch.bool).tril() & (real[:, None, :] == 1)
        bias = torch.where(visible, 0.0, -10000.0).to(x.dtype)[:, None]
        for block in self.blocks:
            x, bias = block((x, bias))
        x = self.ln_f(x).view(b, t, 3, -1)
        return self.predict_state(x[:, :, 2]), self.predict_action(x[:, :, 1]), self.predict_return(x[:, :, 2])

    def loss(self, states: Tensor, actions: Tensor, returns_to_go: Tensor, timesteps: Tensor, mask: Tensor) -> Tensor:
        _, predicted, _ = self(states, actions, returns_to_go, timesteps, mask)
        return F.mse_loss(predicted[mask == 1], actions[mask == 1])


MODELS: dict[str, Callable[[], Any]] = {
    "hkproj": partial(seeded, HkTransformer),
    "gordicaleksa": partial(seeded, OriginalTransformer),
    "former": partial(seeded, Former),
    "labml": partial(seeded, AutoregressiveTransformer),
    "packed by positions": partial(seeded, PackedLM),
    "a pipeline": partial(seeded, GPTPipe),
    "JoeyNMT": partial(seeded, JoeyModel),
    "sigma-GPT": partial(seeded, SigmaGPT),
    "DALL-E": partial(seeded, WordsAndPixels),
    "a decision transformer": partial(seeded, DecisionTransformer),
}

KNOWN = {
    "hkproj": {"numbers.norm-variance": "as in its repository, torch.std divides by D - 1"},
    "a pipeline": {"masks.scaled": "it adds -10,000, as GPT-2 did, and scores of float32 can be larger"},
}
