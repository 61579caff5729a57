"""Encoder-decoders after OpenNMT, fairseq, Marian and Whisper; a body without an embedding, as lucidrains has it."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn

# OpenNMT: words [T, B, 1], hidden states returned, and a generator that stands beside


def sequence_mask(lengths: Tensor, max_len: int) -> Tensor:
    return torch.arange(max_len, device=lengths.device)[None, :] < lengths[:, None]


class MultiHeadedAttention(nn.Module):
    def __init__(self, head_count: int, model_dim: int) -> None:
        super().__init__()
        self.dim_per_head, self.head_count = model_dim // head_count, head_count
        self.linear_keys, self.linear_values = nn.Linear(model_dim, model_dim), nn.Linear(model_dim, model_dim)
        self.linear_query, self.final_linear = nn.Linear(model_dim, model_dim), nn.Linear(model_dim, model_dim)

    def forward(self, key: Tensor, value: Tensor, query: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """mask [B, 1 or T, S] is True where nobody may look."""
        batch = key.size(0)

        def shape(x: Tensor) -> Tensor:
            return x.view(batch, -1, self.head_count, self.dim_per_head).transpose(1, 2)

        key, value, query = (
            shape(self.linear_keys(key)),
            shape(self.linear_values(value)),
            shape(self.linear_query(query)),
        )
        scores = torch.matmul(query / math.sqrt(self.dim_per_head), key.transpose(2, 3))
        if mask is not None:
            scores = scores.masked_fill(mask.unsqueeze(1), -1e18)
        attn = torch.softmax(scores, dim=-1)
        context = torch.matmul(attn, value).transpose(1, 2).contiguous().view(batch, -1, query.size(1) * query.size(3))
        return self.final_linear(context), attn[:, 0]


class PositionwiseFeedForward(nn.Module):
    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.w_1, self.w_2, self.layer_norm = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model), nn.LayerNorm(d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(F.relu(self.w_1(self.layer_norm(x)))) + x


class OnmtEmbeddings(nn.Module):
    def __init__(self, vocab: int, dim: int, padding_idx: int) -> None:
        super().__init__()
        self.word_padding_idx, self.dim = padding_idx, dim
        self.lut = nn.Embedding(vocab, dim, padding_idx=padding_idx)
        pe = torch.zeros(64, dim)
        position = torch.arange(0, 64).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, dim, 2) * -(math.log(10000.0) / dim))
        pe[:, 0::2], pe[:, 1::2] = torch.sin(position * div_term), torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(1))

    def forward(self, source: Tensor) -> Tensor:
        """source [T, B, 1] to [T, B, D]"""
        return self.lut(source.squeeze(-1)) * math.sqrt(self.dim) + self.pe[: source.size(0)]


class OnmtEncoder(nn.Module):
    def __init__(self, embeddings: OnmtEmbeddings, layers: int, dim: int) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.self_attn = nn.ModuleList([MultiHeadedAttention(4, dim) for _ in range(layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(dim, eps=1e-6) for _ in range(layers)])
        self.feed_forward = nn.ModuleList([PositionwiseFeedForward(dim, 64) for _ in range(layers)])
        self.layer_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, src: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        emb = self.embeddings(src)
        out = emb.transpose(0, 1)
        mask = ~sequence_mask(lengths, src.size(0)).unsqueeze(1)
        for attn, norm, feed in zip(self.self_attn, self.norms, self.feed_forward, strict=True):
            h = norm(out)
            out = feed(attn(h, h, h, mask)[0] + out)
        return emb, self.layer_norm(out).transpose(0, 1), lengths


class OnmtDecoder(nn.Module):
    def __init__(self, embeddings: OnmtEmbeddings, layers: int, dim: int) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.self_attn = nn.ModuleList([MultiHeadedAttention(4, dim) for _ in range(layers)])
        self.context_attn = nn.ModuleList([MultiHeadedAttention(4, dim) for _ in range(layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(dim, eps=1e-6) for _ in range(2 * layers)])
        self.feed_forward = nn.ModuleList([PositionwiseFeedForward(dim, 64) for _ in range(layers)])
        self.layer_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, tgt: Tensor, memory_bank: Tensor, memory_lengths: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        words = tgt[:, :, 0].transpose(0, 1)
        output = self.embeddings(tgt).transpose(0, 1)
        memory = memory_bank.transpose(0, 1)
        src_mask = ~sequence_mask(memory_lengths, memory.size(1)).unsqueeze(1)
        future = torch.ones(words.size(1), words.size(1), dtype=torch.bool).triu(1)[None]
        dec_mask = future | words.eq(self.embeddings.word_padding_idx).unsqueeze(1)
        for i, feed in enumerate(self.feed_forward):
            h = self.norms[2 * i](output)
            query = self.self_attn[i](h, h, h, dec_mask)[0] + output
            mid, attn = self.context_attn[i](memory, memory, self.norms[2 * i + 1](query), src_mask)
            output = feed(mid + query)
        return self.layer_norm(output).transpose(0, 1), {"std": attn.transpose(0, 1)}


class NMTModel(nn.Module):
    """`forward(src, tgt, lengths)`: the target's last word is cut off inside."""

    def __init__(self, src_vocab: int = 46, tgt_vocab: int = 39, dim: int = 32, layers: int = 2, pad: int = 1) -> None:
        super().__init__()
        self.encoder = OnmtEncoder(OnmtEmbeddings(src_vocab, dim, pad), layers, dim)
        self.decoder = OnmtDecoder(OnmtEmbeddings(tgt_vocab, dim, pad), layers, dim)
        self.generator = nn.Sequential(nn.Linear(dim, tgt_vocab), nn.LogSoftmax(dim=-1))
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)
        for embeddings in (self.encoder.embeddings, self.decoder.embeddings):
            nn.init.normal_(embeddings.lut.weight, std=dim**-0.5)
            embeddings.lut.weight.data[pad] = 0
        nn.init.normal_(self.generator[0].weight, std=0.02)

    def forward(self, src: Tensor, tgt: Tensor, lengths: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        _, memory_bank, lengths = self.encoder(src, lengths)
        return self.decoder(tgt[:-1], memory_bank, lengths)


# fairseq: [T, B, D] inside, and a state that grows as tokens are written


class FairseqAttention(nn.Module):
    def __init__(self, dim: int, heads: int, name: str) -> None:
        super().__init__()
        self.heads, self.scaling, self.name = heads, (dim // heads) ** -0.5, name
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(dim, dim) for _ in range(4))

    def fold(self, x: Tensor) -> Tensor:
        length, bsz, _ = x.shape
        return x.contiguous().view(length, bsz * self.heads, -1).transpose(0, 1)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        key_padding_mask: Tensor | None = None,
        incremental_state: dict[str, Any] | None = None,
        static_kv: bool = False,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        tgt_len, bsz, dim = query.shape
        saved = None if incremental_state is None else incremental_state.get(self.name)
        if static_kv and saved is not None:
            k, v = saved["prev_key"], saved["prev_value"]
        else:
            k, v = self.fold(self.k_proj(key)), self.fold(self.v_proj(key))
            if saved is not None:
                k, v = torch.cat([saved["prev_key"], k], dim=1), torch.cat([saved["prev_value"], v], dim=1)
        if incremental_state is not None:
            incremental_state[self.name] = {"prev_key": k, "prev_value": v}
        attn_weights = torch.bmm(self.fold(self.q_proj(query) * self.scaling), k.transpose(1, 2))
        if attn_mask is not None:
            attn_weights = attn_weights + attn_mask.to(attn_weights)
        if key_padding_mask is not None:
            attn_weights = attn_weights.view(bsz, self.heads, tgt_len, -1)
            attn_weights = attn_weights.masked_fill(key_padding_mask[:, None, None], float("-inf"))
            attn_weights = attn_weights.view(bsz * self.heads, tgt_len, -1)
        attn = torch.bmm(F.softmax(attn_weights, dim=-1, dtype=torch.float32).type_as(v), v)
        return self.out_proj(attn.transpose(0, 1).contiguous().view(tgt_len, bsz, dim))


class FairseqLayer(nn.Module):
    """Of the decoder where it has attention to the encoder."""

    def __init__(self, dim: int, heads: int, name: str, cross: bool) -> None:
        super().__init__()
        self.self_attn = FairseqAttention(dim, heads, f"{name}.self")
        self.encoder_attn = FairseqAttention(dim, heads, f"{name}.encoder") if cross else None
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.self_attn_layer_norm, self.final_layer_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.encoder_attn_layer_norm = nn.LayerNorm(dim) if cross else None
        self.dropout_module = nn.Dropout(0.1)

    def forward(
        self,
        x: Tensor,
        padding: Tensor | None,
        encoder_out: Tensor | None = None,
        incremental_state: dict[str, Any] | None = None,
        future: Tensor | None = None,
    ) -> Tensor:
        own = padding if self.encoder_attn is None else None
        h = self.self_attn(x, x, own, incremental_state, attn_mask=future)
        x = self.self_attn_layer_norm(x + self.dropout_module(h))
        if self.encoder_attn is not None:
            h = self.encoder_attn(x, encoder_out, padding, incremental_state, static_kv=True)
            x = self.encoder_attn_layer_norm(x + self.dropout_module(h))
        return self.final_layer_norm(x + self.dropout_module(self.fc2(F.relu(self.fc1(x)))))


def make_positions(tokens: Tensor, padding_idx: int) -> Tensor:
    mask = tokens.ne(padding_idx).int()
    return (torch.cumsum(mask, dim=1) * mask).long() + padding_idx


class FairseqSide(nn.Module):
    def __init__(self, vocab: int, dim: int, padding_idx: int, depth: int, name: str) -> None:
        super().__init__()
        self.padding_idx, self.embed_scale = padding_idx, math.sqrt(dim)
        self.embed_tokens = nn.Embedding(vocab, dim, padding_idx)
        self.embed_positions = nn.Embedding(40, dim, padding_idx)
        self.dropout_module = nn.Dropout(0.1)
        self.layers = nn.ModuleList([FairseqLayer(dim, 4, f"{name}.{i}", name == "decoder") for i in range(depth)])

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        x = self.embed_scale * self.embed_tokens(tokens) + self.embed_positions(positions)
        return self.dropout_module(x).transpose(0, 1)


class FairseqEncoder(FairseqSide):
    def forward(self, src_tokens: Tensor, src_lengths: Tensor | None = None) -> dict[str, list[Tensor]]:  # noqa: ARG002
        encoder_padding_mask = src_tokens.eq(self.padding_idx)
        x = self.embed(src_tokens, make_positions(src_tokens, self.padding_idx))
        for layer in self.layers:
            x = layer(x, encoder_padding_mask)
        return {"encoder_out": [x], "encoder_padding_mask": [encoder_padding_mask]}


class FairseqDecoder(FairseqSide):
    def forward(
        self,
        prev_output_tokens: Tensor,
        encoder_out: dict[str, list[Tensor]],
        incremental_state: dict[str, Any] | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        """With a state, all but the last token have been seen before."""
        positions = make_positions(prev_output_tokens, self.padding_idx)
        future = None
        if incremental_state is not None:
            prev_output_tokens, positions = prev_output_tokens[:, -1:], positions[:, -1:]
        else:
            length = prev_output_tokens.size(1)
            future = torch.triu(torch.full((length, length), float("-inf")), 1)
        x = self.embed(prev_output_tokens, positions)
        memory, padding = encoder_out["encoder_out"][0], encoder_out["encoder_padding_mask"][0]
        for layer in self.layers:
            x = layer(x, padding, memory, incremental_state, future)
        return F.linear(x.transpose(0, 1), self.embed_tokens.weight), {"attn": [None]}


class FairseqTranslator(nn.Module):
    """Sources are padded at the left, targets at the right; the output matrix is the decoder's embedding."""

    def __init__(self, src_vocab: int = 42, tgt_vocab: int = 50, dim: int = 32, padding_idx: int = 1) -> None:
        super().__init__()
        self.encoder = FairseqEncoder(src_vocab, dim, padding_idx, 2, "encoder")
        self.decoder = FairseqDecoder(tgt_vocab, dim, padding_idx, 2, "decoder")
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
                module.weight.data[padding_idx] = 0
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, src_tokens: Tensor, src_lengths: Tensor, prev_output_tokens: Tensor) -> tuple[Tensor, Any]:
        return self.decoder(prev_output_tokens, self.encoder(src_tokens, src_lengths))

    def get_normalized_probs(self, net_output: tuple[Tensor, Any], log_probs: bool) -> Tensor:
        return F.log_softmax(net_output[0], dim=-1) if log_probs else F.softmax(net_output[0], dim=-1)


# Marian: the target is shifted inside, what is written is searched for with a beam


class Translator(nn.Module):
    """`loss, logits = model(src, labels)`; pad is 0, start 1, end 2."""

    pad, bos, eos = 0, 1, 2

    def __init__(
        self, vocab: int = 45, d_model: int = 32, nhead: int = 4, layers: int = 2, smoothing: float = 0.1
    ) -> None:
        super().__init__()
        self.smoothing, self.scale = smoothing, math.sqrt(d_model)
        self.shared = nn.Embedding(vocab, d_model, padding_idx=self.pad)
        settings: dict[str, Any] = {"dim_feedforward": 64, "dropout": 0.1, "activation": F.silu, "batch_first": True}
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(d_model, nhead, **settings), layers)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(d_model, nhead, **settings), layers)
        self.final_logits_bias = nn.Parameter(torch.zeros(vocab))
        nn.init.normal_(self.shared.weight, std=0.02)
        self.shared.weight.data[self.pad] = 0
        half = torch.outer(torch.arange(64.0), 10000 ** (-torch.arange(0, d_model, 2) / d_model))
        self.register_buffer("sinusoids", torch.cat([half.sin(), half.cos()], dim=1), persistent=False)

    def embed(self, ids: Tensor) -> Tensor:
        return self.shared(ids) * self.scale + self.sinusoids[: ids.size(1)]

    def encode(self, src: Tensor) -> Tensor:
        return self.encoder(self.embed(src), src_key_padding_mask=src == self.pad)

    def decode(self, decoder_input: Tensor, memory: Tensor, src: Tensor) -> Tensor:
        n = decoder_input.size(1)
        h = self.decoder(
            self.embed(decoder_input),
            memory,
            tgt_mask=torch.ones(n, n, dtype=torch.bool).triu(1),
            memory_key_padding_mask=src == self.pad,
        )
        return F.linear(h, self.shared.weight, self.final_logits_bias)

    def shift_right(self, labels: Tensor) -> Tensor:
        return torch.cat([torch.full_like(labels[:, :1], self.bos), labels[:, :-1]], dim=1)

    def forward(self, src: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.decode(self.shift_right(labels), self.encode(src), src)
        loss = F.cross_entropy(
            logits.reshape(-1, logits.size(-1)),
            labels.reshape(-1),
            ignore_index=self.pad,
            label_smoothing=self.smoothing if self.training else 0.0,
        )
        return loss, logits

    @torch.no_grad()
    def generate(self, src: Tensor, max_len: int = 12, beam: int = 1) -> Tensor:
        """The best of `beam` hypotheses for each source [B, S], without the start; filled with padding."""
        self.eval()
        batch, memory = len(src), self.encode(src)
        memory, sources = memory.repeat_interleave(beam, 0), src.repeat_interleave(beam, 0)
        ys = torch.full((batch * beam, 1), self.bos)
        scores = torch.full((batch, beam), -math.inf)
        scores[:, 0] = 0.0
        finished = torch.zeros(batch * beam, dtype=torch.bool)
        for _ in range(max_len):
            step = self.decode(ys, memory, sources)[:, -1].log_softmax(-1)
            step[finished] = -math.inf
            step[finished, self.pad] = 0.0
            total = scores[:, :, None] + step.view(batch, beam, -1)
            scores, best = total.flatten(1).topk(beam)
            origin = (best // step.size(-1) + torch.arange(batch)[:, None] * beam).flatten()
            tokens = (best % step.size(-1)).view(-1, 1)
            ys, finished = torch.cat([ys[origin], tokens], dim=1), finished[origin] | (tokens[:, 0] == self.eos)
            if finished.all():
                break
        return ys.view(batch, beam, -1)[:, 0, 1:]


# Whisper: sound in, text out


def sinusoids(length: int, channels: int) -> Tensor:
    increment = math.log(10_000) / (channels // 2 - 1)
    scaled_time = torch.arange(length)[:, None] * torch.exp(-increment * torch.arange(channels // 2))[None]
    return torch.cat([torch.sin(scaled_time), torch.cos(scaled_time)], dim=1)


class WhisperAttention(nn.Module):
    def __init__(self, n_state: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.query, self.key = nn.Linear(n_state, n_state), nn.Linear(n_state, n_state, bias=False)
        self.value, self.out = nn.Linear(n_state, n_state), nn.Linear(n_state, n_state)

    def forward(
        self, x: Tensor, xa: Tensor | None = None, mask: Tensor | None = None, kv_cache: dict[Any, Tensor] | None = None
    ) -> Tensor:
        q = self.query(x)
        if kv_cache is None or xa is None or self.key not in kv_cache:
            k, v = self.key(x if xa is None else xa), self.value(x if xa is None else xa)
            if kv_cache is not None:
                if self.key in kv_cache and xa is None:
                    k, v = torch.cat([kv_cache[self.key], k], dim=1), torch.cat([kv_cache[self.value], v], dim=1)
                kv_cache[self.key], kv_cache[self.value] = k, v
        else:
            k, v = kv_cache[self.key], kv_cache[self.value]
        scale = (q.shape[-1] // self.n_head) ** -0.25
        q = q.view(*q.shape[:2], self.n_head, -1).permute(0, 2, 1, 3) * scale
        k = k.view(*k.shape[:2], self.n_head, -1).permute(0, 2, 3, 1) * scale
        v = v.view(*v.shape[:2], self.n_head, -1).permute(0, 2, 1, 3)
        qk = q @ k
        if mask is not None:
            qk = qk + mask[k.shape[-1] - q.shape[-2] : k.shape[-1], : k.shape[-1]]
        w = F.softmax(qk.float(), dim=-1).to(q.dtype)
        return self.out((w @ v).permute(0, 2, 1, 3).flatten(start_dim=2))


class WhisperBlock(nn.Module):
    def __init__(self, n_state: int, n_head: int, cross: bool) -> None:
        super().__init__()
        self.attn, self.attn_ln = WhisperAttention(n_state, n_head), nn.LayerNorm(n_state)
        self.cross_attn = WhisperAttention(n_state, n_head) if cross else None
        self.cross_attn_ln = nn.LayerNorm(n_state) if cross else None
        self.mlp = nn.Sequential(nn.Linear(n_state, 4 * n_state), nn.GELU(), nn.Linear(4 * n_state, n_state))
        self.mlp_ln = nn.LayerNorm(n_state)

    def forward(
        self, x: Tensor, xa: Tensor | None = None, mask: Tensor | None = None, kv_cache: dict[Any, Tensor] | None = None
    ) -> Tensor:
        x = x + self.attn(self.attn_ln(x), mask=mask, kv_cache=kv_cache)
        if self.cross_attn is not None:
            x = x + self.cross_attn(self.cross_attn_ln(x), xa, kv_cache=kv_cache)
        return x + self.mlp(self.mlp_ln(x))


class AudioEncoder(nn.Module):
    def __init__(self, n_mels: int, n_ctx: int, n_state: int, n_head: int, n_layer: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(n_mels, n_state, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(n_state, n_state, kernel_size=3, stride=2, padding=1)
        self.register_buffer("positional_embedding", sinusoids(n_ctx, n_state))
        self.blocks = nn.ModuleList([WhisperBlock(n_state, n_head, False) for _ in range(n_layer)])
        self.ln_post = nn.LayerNorm(n_state)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, mels, frames]"""
        x = F.gelu(self.conv2(F.gelu(self.conv1(x)))).permute(0, 2, 1)
        x = (x + self.positional_embedding[: x.shape[1]]).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        return self.ln_post(x)


class TextDecoder(nn.Module):
    def __init__(self, n_vocab: int, n_ctx: int, n_state: int, n_head: int, n_layer: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(n_vocab, n_state)
        self.positional_embedding = nn.Parameter(torch.randn(n_ctx, n_state) * 0.02)
        self.blocks = nn.ModuleList([WhisperBlock(n_state, n_head, True) for _ in range(n_layer)])
        self.ln = nn.LayerNorm(n_state)
        self.register_buffer("mask", torch.full((n_ctx, n_ctx), -torch.inf).triu_(1), persistent=False)
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def forward(self, x: Tensor, xa: Tensor, kv_cache: dict[Any, Tensor] | None = None) -> Tensor:
        offset = kv_cache[self.blocks[0].attn.key].shape[1] if kv_cache else 0
        x = self.token_embedding(x) + self.positional_embedding[offset : offset + x.shape[-1]]
        for block in self.blocks:
            x = block(x, xa, mask=self.mask, kv_cache=kv_cache)
        return (self.ln(x) @ self.token_embedding.weight.T).float()


class Whisper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = AudioEncoder(8, 30, 32, 4, 2), TextDecoder(52, 24, 32, 4, 2)

    def embed_audio(self, mel: Tensor) -> Tensor:
        return self.encoder(mel)

    def logits(self, tokens: Tensor, audio_features: Tensor) -> Tensor:
        return self.decoder(tokens, audio_features)

    def forward(self, mel: Tensor, tokens: Tensor) -> Tensor:
        return self.decoder(tokens, self.encoder(mel))


# lucidrains: vectors in, vectors out; the embedding is the caller's


class RotarySelfAttention(nn.Module):
    def __init__(self, dim: int, heads: int, dim_head: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.RMSNorm(dim)
        self.to_q, self.to_kv = (
            nn.Linear(dim, heads * dim_head, bias=False),
            nn.Linear(dim, 2 * heads * dim_head, bias=False),
        )
        self.to_gates, self.to_out = nn.Linear(dim, heads), nn.Linear(heads * dim_head, dim, bias=False)
        self.register_buffer("inv_freq", 10000 ** (-torch.arange(0, dim_head, 2) / dim_head), persistent=False)

    def rotate(self, t: Tensor) -> Tensor:
        freqs = torch.outer(torch.arange(t.shape[-2]).to(self.inv_freq), self.inv_freq).repeat_interleave(2, dim=-1)
        turned = torch.stack((-t[..., 1::2], t[..., ::2]), dim=-1).flatten(-2)
        return t * freqs.cos() + turned * freqs.sin()

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.norm(x)
        k, v = self.to_kv(x).chunk(2, dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (self.to_q(x), k, v))
        sim = torch.einsum("bhid,bhjd->bhij", self.rotate(q), self.rotate(k)) * q.shape[-1] ** -0.5
        i, j = sim.shape[-2:]
        sim = sim.masked_fill(torch.ones((i, j), dtype=torch.bool).triu(j - i + 1), -torch.finfo(sim.dtype).max)
        if mask is not None:
            sim = sim.masked_fill(~mask[:, None, None, :], -torch.finfo(sim.dtype).max)
        out = torch.einsum("bhij,bhjd->bhid", sim.softmax(dim=-1), v)
        gates = self.to_gates(x).sigmoid().transpose(1, 2)[..., None]
        return self.to_out((out * gates).transpose(1, 2).flatten(2))


class GEGLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x, gate = x.chunk(2, dim=-1)
        return F.gelu(gate) * x


class Transformer(nn.Module):
    """x [B, T, D] to [B, T, D], each place of what stands before it; `mask` [B, T] is True for what is real."""

    def __init__(self, dim: int = 32, depth: int = 2, heads: int = 4, dim_head: int = 8, ff_mult: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList([])
        for _ in range(depth):
            inner = dim * ff_mult
            feedforward = nn.Sequential(
                nn.RMSNorm(dim), nn.Linear(dim, 2 * inner), GEGLU(), nn.Dropout(0.0), nn.Linear(inner, dim)
            )
            self.layers.append(nn.ModuleList([RotarySelfAttention(dim, heads, dim_head), feedforward]))
        self.final_norm = nn.RMSNorm(dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for attn, ff in self.layers:
            x = attn(x, mask) + x
            x = ff(x) + x
        return self.final_norm(x)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "OpenNMT": partial(seeded, NMTModel),
    "fairseq with a state": partial(seeded, FairseqTranslator),
    "Marian with a beam": partial(seeded, Translator),
    "Whisper": partial(seeded, Whisper),
    "vectors": partial(seeded, Transformer),
}

KNOWN = {
    "fairseq with a state": {
        "masks.empty-row": "scores are filled with -inf, as in fairseq, so a source that is all padding gives NaN",
    },
}
