"""A decoder after Nemotron; pairs after Umar Jamil's course, d2l.ai's transformer and Pegasus."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import normal, seeded
from torch import Tensor, nn


@dataclass
class LMOutput:
    loss: Tensor | None
    logits: Tensor
    past_key_values: Any = None
    encoder_last_hidden_state: Tensor | None = None


# Nemotron: squared ReLU, norms whose weights are kept less one, half of each head turned, a cache updated in place


class DynamicCache:
    def __init__(self) -> None:
        self.key_cache: list[Tensor] = []
        self.value_cache: list[Tensor] = []
        self._seen_tokens = 0

    def get_seq_length(self) -> int:
        return self._seen_tokens

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int) -> tuple[Tensor, Tensor]:
        if layer_idx == 0:
            self._seen_tokens += key_states.shape[-2]
        if layer_idx == len(self.key_cache):
            self.key_cache.append(key_states)
            self.value_cache.append(value_states)
        else:
            self.key_cache[layer_idx] = torch.cat([self.key_cache[layer_idx], key_states], dim=-2)
            self.value_cache[layer_idx] = torch.cat([self.value_cache[layer_idx], value_states], dim=-2)
        return self.key_cache[layer_idx], self.value_cache[layer_idx]


class NemotronLayerNorm1P(nn.LayerNorm):
    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.layer_norm(input, self.normalized_shape, self.weight + 1, self.bias, self.eps)


class NemotronRotaryEmbedding(nn.Module):
    inv_freq: Tensor

    def __init__(self, head_dim: int, partial_rotary_factor: float, base: float = 10000.0) -> None:
        super().__init__()
        dim = int(head_dim * partial_rotary_factor)
        self.register_buffer("inv_freq", 1.0 / base ** (torch.arange(0, dim, 2) / dim), persistent=False)

    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        freqs = position_ids[:, :, None].float() * self.inv_freq.float()
        emb = torch.cat((freqs, freqs), dim=-1)[:, None]
        return emb.cos().to(x.dtype), emb.sin().to(x.dtype)


def apply_rotary_pos_emb(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    turned, kept = x[..., : cos.shape[-1]], x[..., cos.shape[-1] :]
    first, second = turned.chunk(2, dim=-1)
    return torch.cat((turned * cos + torch.cat((-second, first), dim=-1) * sin, kept), dim=-1)


class NemotronAttention(nn.Module):
    def __init__(self, hidden_size: int, num_heads: int, num_key_value_heads: int, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx, self.head_dim = layer_idx, hidden_size // num_heads
        self.num_key_value_groups = num_heads // num_key_value_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, num_key_value_heads * self.head_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, num_key_value_heads * self.head_dim, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor,
        past_key_value: DynamicCache | None,
    ) -> Tensor:
        bsz, q_len, _ = hidden_states.shape
        query_states, key_states, value_states = (
            proj(hidden_states).view(bsz, q_len, -1, self.head_dim).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        query_states = apply_rotary_pos_emb(query_states, *position_embeddings)
        key_states = apply_rotary_pos_emb(key_states, *position_embeddings)
        if past_key_value is not None:
            key_states, value_states = past_key_value.update(key_states, value_states, self.layer_idx)
        key_states = key_states.repeat_interleave(self.num_key_value_groups, dim=1)
        value_states = value_states.repeat_interleave(self.num_key_value_groups, dim=1)
        attn_weights = torch.matmul(query_states, key_states.transpose(2, 3)) / math.sqrt(self.head_dim)
        attn_weights = attn_weights + attention_mask[:, :, :, : key_states.shape[-2]]
        attn_output = torch.matmul(attn_weights.softmax(dim=-1), value_states)
        return self.o_proj(attn_output.transpose(1, 2).reshape(bsz, q_len, -1))


class NemotronDecoderLayer(nn.Module):
    def __init__(self, hidden_size: int, heads: int, kv_heads: int, intermediate_size: int, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = NemotronAttention(hidden_size, heads, kv_heads, layer_idx)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)
        self.input_layernorm = NemotronLayerNorm1P(hidden_size, eps=1e-5)
        self.post_attention_layernorm = NemotronLayerNorm1P(hidden_size, eps=1e-5)

    def forward(self, hidden_states: Tensor, *rest: Any) -> Tensor:
        hidden_states = hidden_states + self.self_attn(self.input_layernorm(hidden_states), *rest)
        raised = F.relu(self.up_proj(self.post_attention_layernorm(hidden_states))).square()
        return hidden_states + self.down_proj(raised)


class NemotronForCausalLM(nn.Module):
    """Labels are the ids, -100 where there is none; the mask covers the past too; the cache is changed in place."""

    def __init__(
        self,
        vocab_size: int = 69,
        hidden_size: int = 32,
        num_attention_heads: int = 4,
        num_key_value_heads: int = 2,
        intermediate_size: int = 96,
        num_hidden_layers: int = 2,
        partial_rotary_factor: float = 0.5,
    ) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, hidden_size)
        self.layers = nn.ModuleList(
            [
                NemotronDecoderLayer(hidden_size, num_attention_heads, num_key_value_heads, intermediate_size, i)
                for i in range(num_hidden_layers)
            ]
        )
        self.norm = NemotronLayerNorm1P(hidden_size, eps=1e-5)
        self.rotary_emb = NemotronRotaryEmbedding(hidden_size // num_attention_heads, partial_rotary_factor)
        self.lm_head = nn.Linear(hidden_size, vocab_size, bias=False)
        normal(self, 0.08)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool = True,
        logits_to_keep: int = 0,
    ) -> LMOutput:
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        past_seen_tokens = 0 if past_key_values is None else past_key_values.get_seq_length()
        cache_position = torch.arange(past_seen_tokens, past_seen_tokens + input_ids.shape[1])
        if position_ids is None:
            position_ids = cache_position[None]
        hidden_states = self.embed_tokens(input_ids)
        target_length = past_seen_tokens + input_ids.shape[1] if attention_mask is None else attention_mask.shape[-1]
        hidden = (torch.arange(target_length) > cache_position[:, None])[None, None]
        if attention_mask is not None:
            hidden = hidden | (attention_mask[:, None, None, :] == 0)
        lowest = torch.finfo(hidden_states.dtype).min
        causal_mask = torch.zeros(hidden.shape, dtype=hidden_states.dtype).masked_fill(hidden, lowest)
        position_embeddings = self.rotary_emb(hidden_states, position_ids)
        for layer in self.layers:
            hidden_states = layer(hidden_states, position_embeddings, causal_mask, past_key_values)
        logits = self.lm_head(self.norm(hidden_states)[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            shift_labels = F.pad(labels, (0, 1), value=-100)[:, 1:]
            loss = F.cross_entropy(logits.float().flatten(0, 1), shift_labels.flatten(), ignore_index=-100)
        return LMOutput(loss, logits, past_key_values)


# The pair of Umar Jamil's course: `encode`, `decode` and `project`, with masks that the data set makes


def waves(length: int, dim: int) -> Tensor:
    """[length, dim], sines at even places and cosines at odd ones"""
    angle = torch.arange(length)[:, None] * torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def causal_mask(size: int) -> Tensor:
    return torch.triu(torch.ones((1, size, size)), diagonal=1).type(torch.int) == 0


def masks_of(encoder_input: Tensor, decoder_input: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """[B, 1, 1, S] and [B, 1, T, T], 1 where it is seen"""
    encoder_mask = (encoder_input != pad)[:, None, None, :].int()
    decoder_mask = (decoder_input != pad)[:, None, None, :].int() & causal_mask(decoder_input.size(1))
    return encoder_mask, decoder_mask


class LayerNormalization(nn.Module):
    def __init__(self, features: int, eps: float = 10**-6) -> None:
        super().__init__()
        self.eps = eps
        self.alpha, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor) -> Tensor:
        mean, std = x.mean(dim=-1, keepdim=True), x.std(dim=-1, keepdim=True)
        return self.alpha * (x - mean) / (std + self.eps) + self.bias


class FeedForwardBlock(nn.Module):
    def __init__(self, d_model: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.linear_1, self.dropout, self.linear_2 = (
            nn.Linear(d_model, d_ff),
            nn.Dropout(dropout),
            nn.Linear(d_ff, d_model),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(self.dropout(torch.relu(self.linear_1(x))))


class InputEmbeddings(nn.Module):
    def __init__(self, d_model: int, vocab_size: int) -> None:
        super().__init__()
        self.d_model, self.embedding = d_model, nn.Embedding(vocab_size, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(x) * math.sqrt(self.d_model)


class PositionalEncoding(nn.Module):
    pe: Tensor

    def __init__(self, d_model: int, seq_len: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("pe", waves(seq_len, d_model)[None])

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.pe[:, : x.shape[1], :].requires_grad_(False))


class ResidualConnection(nn.Module):
    def __init__(self, features: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.norm = nn.Dropout(dropout), LayerNormalization(features)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + self.dropout(sublayer(self.norm(x)))


class MultiHeadAttentionBlock(nn.Module):
    def __init__(self, d_model: int, h: int, dropout: float) -> None:
        super().__init__()
        self.h, self.d_k = h, d_model // h
        self.w_q, self.w_k, self.w_v, self.w_o = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    @staticmethod
    def attention(
        query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: nn.Dropout | None
    ) -> tuple[Tensor, Tensor]:
        attention_scores = (query @ key.transpose(-2, -1)) / math.sqrt(query.shape[-1])
        if mask is not None:
            attention_scores.masked_fill_(mask == 0, -1e9)
        attention_scores = attention_scores.softmax(dim=-1)
        if dropout is not None:
            attention_scores = dropout(attention_scores)
        return attention_scores @ value, attention_scores

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            w(x).view(x.shape[0], x.shape[1], self.h, self.d_k).transpose(1, 2)
            for w, x in ((self.w_q, q), (self.w_k, k), (self.w_v, v))
        )
        x, self.attention_scores = MultiHeadAttentionBlock.attention(query, key, value, mask, self.dropout)
        return self.w_o(x.transpose(1, 2).contiguous().view(x.shape[0], -1, self.h * self.d_k))


class JamilEncoderBlock(nn.Module):
    def __init__(self, features: int, attention: MultiHeadAttentionBlock, ff: FeedForwardBlock, dropout: float) -> None:
        super().__init__()
        self.self_attention_block, self.feed_forward_block = attention, ff
        self.residual_connections = nn.ModuleList([ResidualConnection(features, dropout) for _ in range(2)])

    def forward(self, x: Tensor, src_mask: Tensor | None) -> Tensor:
        x = self.residual_connections[0](x, lambda x: self.self_attention_block(x, x, x, src_mask))
        return self.residual_connections[1](x, self.feed_forward_block)


class JamilDecoderBlock(nn.Module):
    def __init__(
        self,
        features: int,
        self_attention_block: MultiHeadAttentionBlock,
        cross_attention_block: MultiHeadAttentionBlock,
        feed_forward_block: FeedForwardBlock,
        dropout: float,
    ) -> None:
        super().__init__()
        self.self_attention_block, self.cross_attention_block = self_attention_block, cross_attention_block
        self.feed_forward_block = feed_forward_block
        self.residual_connections = nn.ModuleList([ResidualConnection(features, dropout) for _ in range(3)])

    def forward(self, x: Tensor, encoder_output: Tensor, src_mask: Tensor | None, tgt_mask: Tensor | None) -> Tensor:
        x = self.residual_connections[0](x, lambda x: self.self_attention_block(x, x, x, tgt_mask))
        x = self.residual_connections[1](
            x, lambda x: self.cross_attention_block(x, encoder_output, encoder_output, src_mask)
        )
        return self.residual_connections[2](x, self.feed_forward_block)


class Stack(nn.Module):
    """The encoder's or the decoder's blocks, and a norm behind them"""

    def __init__(self, features: int, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers, self.norm = layers, LayerNormalization(features)

    def forward(self, x: Tensor, *rest: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, *rest)
        return self.norm(x)


class ProjectionLayer(nn.Module):
    def __init__(self, d_model: int, vocab_size: int) -> None:
        super().__init__()
        self.proj = nn.Linear(d_model, vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Transformer(nn.Module):
    """`project(decode(encode(src, src_mask), src_mask, tgt, tgt_mask))`; masks are 1 where it is seen."""

    def __init__(
        self,
        encoder: Stack,
        decoder: Stack,
        src_embed: InputEmbeddings,
        tgt_embed: InputEmbeddings,
        src_pos: PositionalEncoding,
        tgt_pos: PositionalEncoding,
        projection_layer: ProjectionLayer,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.src_embed, self.tgt_embed = src_embed, tgt_embed
        self.src_pos, self.tgt_pos = src_pos, tgt_pos
        self.projection_layer = projection_layer

    def encode(self, src: Tensor, src_mask: Tensor | None) -> Tensor:
        return self.encoder(self.src_pos(self.src_embed(src)), src_mask)

    def decode(self, encoder_output: Tensor, src_mask: Tensor | None, tgt: Tensor, tgt_mask: Tensor | None) -> Tensor:
        return self.decoder(self.tgt_pos(self.tgt_embed(tgt)), encoder_output, src_mask, tgt_mask)

    def project(self, x: Tensor) -> Tensor:
        return self.projection_layer(x)


def build_transformer(
    src_vocab_size: int = 61,
    tgt_vocab_size: int = 57,
    src_seq_len: int = 48,
    tgt_seq_len: int = 48,
    d_model: int = 32,
    n: int = 2,
    h: int = 4,
    dropout: float = 0.1,
    d_ff: int = 64,
) -> Transformer:
    def attention() -> MultiHeadAttentionBlock:
        return MultiHeadAttentionBlock(d_model, h, dropout)

    def feed_forward() -> FeedForwardBlock:
        return FeedForwardBlock(d_model, d_ff, dropout)

    encoder_blocks = [JamilEncoderBlock(d_model, attention(), feed_forward(), dropout) for _ in range(n)]
    decoder_blocks = [JamilDecoderBlock(d_model, attention(), attention(), feed_forward(), dropout) for _ in range(n)]
    transformer = Transformer(
        Stack(d_model, nn.ModuleList(encoder_blocks)),
        Stack(d_model, nn.ModuleList(decoder_blocks)),
        InputEmbeddings(d_model, src_vocab_size),
        InputEmbeddings(d_model, tgt_vocab_size),
        PositionalEncoding(d_model, src_seq_len, dropout),
        PositionalEncoding(d_model, tgt_seq_len, dropout),
        ProjectionLayer(d_model, tgt_vocab_size),
    )
    for p in transformer.parameters():
        if p.dim() > 1:
            nn.init.xavier_uniform_(p)
    return transformer


# d2l.ai's pair: lengths in place of masks, and a state with what each block of the decoder has read


def masked_softmax(scores: Tensor, valid_lens: Tensor | None) -> Tensor:
    """`scores` [B, T, S]; a length for each row, or one for each of its queries"""
    if valid_lens is None:
        return scores.softmax(dim=-1)
    if valid_lens.dim() == 1:
        valid_lens = valid_lens[:, None].expand(-1, scores.shape[1])
    seen = torch.arange(scores.shape[-1], device=scores.device) < valid_lens[:, :, None]
    return scores.masked_fill(~seen, -1e6).softmax(dim=-1)


class DotProductAttention(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, valid_lens: Tensor | None = None) -> Tensor:
        scores = torch.bmm(queries, keys.transpose(1, 2)) / math.sqrt(queries.shape[-1])
        self.attention_weights = masked_softmax(scores, valid_lens)
        return torch.bmm(self.dropout(self.attention_weights), values)


class MultiHeadAttention(nn.Module):
    def __init__(self, num_hiddens: int, num_heads: int, dropout: float, bias: bool = False) -> None:
        super().__init__()
        self.num_heads, self.attention = num_heads, DotProductAttention(dropout)
        self.W_q, self.W_k, self.W_v, self.W_o = (nn.Linear(num_hiddens, num_hiddens, bias=bias) for _ in range(4))

    def transpose_qkv(self, x: Tensor) -> Tensor:
        x = x.reshape(x.shape[0], x.shape[1], self.num_heads, -1).permute(0, 2, 1, 3)
        return x.reshape(-1, x.shape[2], x.shape[3])

    def transpose_output(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, self.num_heads, x.shape[1], x.shape[2]).permute(0, 2, 1, 3)
        return x.reshape(x.shape[0], x.shape[1], -1)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, valid_lens: Tensor | None) -> Tensor:
        queries, keys = self.transpose_qkv(self.W_q(queries)), self.transpose_qkv(self.W_k(keys))
        values = self.transpose_qkv(self.W_v(values))
        if valid_lens is not None:
            valid_lens = torch.repeat_interleave(valid_lens, repeats=self.num_heads, dim=0)
        return self.W_o(self.transpose_output(self.attention(queries, keys, values, valid_lens)))


class AddNorm(nn.Module):
    def __init__(self, norm_shape: int, dropout: float) -> None:
        super().__init__()
        self.dropout, self.ln = nn.Dropout(dropout), nn.LayerNorm(norm_shape)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.ln(self.dropout(y) + x)


class WavesOfPlaces(nn.Module):
    def __init__(self, num_hiddens: int, dropout: float, max_len: int) -> None:
        super().__init__()
        self.dropout, self.P = nn.Dropout(dropout), waves(max_len, num_hiddens)[None]

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        return self.dropout(x + self.P[:, start : start + x.shape[1], :].to(x))


def position_wise_ffn(num_hiddens: int, ffn_num_hiddens: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(num_hiddens, ffn_num_hiddens), nn.ReLU(), nn.Linear(ffn_num_hiddens, num_hiddens))


class TransformerEncoderBlock(nn.Module):
    def __init__(self, num_hiddens: int, ffn_num_hiddens: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(num_hiddens, num_heads, dropout)
        self.addnorm1, self.addnorm2 = AddNorm(num_hiddens, dropout), AddNorm(num_hiddens, dropout)
        self.ffn = position_wise_ffn(num_hiddens, ffn_num_hiddens)

    def forward(self, x: Tensor, valid_lens: Tensor | None) -> Tensor:
        y = self.addnorm1(x, self.attention(x, x, x, valid_lens))
        return self.addnorm2(y, self.ffn(y))


class TransformerEncoder(nn.Module):
    def __init__(self, vocab_size: int, num_hiddens: int, ffn: int, num_heads: int, num_blks: int, drop: float) -> None:
        super().__init__()
        self.num_hiddens, self.embedding = num_hiddens, nn.Embedding(vocab_size, num_hiddens)
        self.pos_encoding = WavesOfPlaces(num_hiddens, drop, 64)
        self.blks = nn.ModuleList([TransformerEncoderBlock(num_hiddens, ffn, num_heads, drop) for _ in range(num_blks)])

    def forward(self, X: Tensor, valid_lens: Tensor | None = None) -> Tensor:  # noqa: N803
        hidden = self.pos_encoding(self.embedding(X) * math.sqrt(self.num_hiddens))
        self.attention_weights = []
        for blk in self.blks:
            hidden = blk(hidden, valid_lens)
            self.attention_weights.append(blk.attention.attention.attention_weights)
        return hidden


class TransformerDecoderBlock(nn.Module):
    def __init__(self, num_hiddens: int, ffn_num_hiddens: int, num_heads: int, dropout: float, i: int) -> None:
        super().__init__()
        self.i = i
        self.attention1 = MultiHeadAttention(num_hiddens, num_heads, dropout)
        self.attention2 = MultiHeadAttention(num_hiddens, num_heads, dropout)
        self.addnorm1, self.addnorm2, self.addnorm3 = (AddNorm(num_hiddens, dropout) for _ in range(3))
        self.ffn = position_wise_ffn(num_hiddens, ffn_num_hiddens)

    def forward(self, x: Tensor, state: list[Any]) -> tuple[Tensor, list[Any]]:
        enc_outputs, enc_valid_lens = state[0], state[1]
        key_values = x if state[2][self.i] is None else torch.cat((state[2][self.i], x), dim=1)
        state[2][self.i] = key_values
        batch_size, num_steps, _ = x.shape
        past = key_values.shape[1] - num_steps
        dec_valid_lens = torch.arange(past + 1, past + num_steps + 1, device=x.device).repeat(batch_size, 1)
        y = self.addnorm1(x, self.attention1(x, key_values, key_values, dec_valid_lens))
        z = self.addnorm2(y, self.attention2(y, enc_outputs, enc_outputs, enc_valid_lens))
        return self.addnorm3(z, self.ffn(z)), state


class TransformerDecoder(nn.Module):
    def __init__(self, vocab_size: int, num_hiddens: int, ffn: int, num_heads: int, num_blks: int, drop: float) -> None:
        super().__init__()
        self.num_hiddens, self.num_blks = num_hiddens, num_blks
        self.embedding, self.pos_encoding = nn.Embedding(vocab_size, num_hiddens), WavesOfPlaces(num_hiddens, drop, 64)
        self.blks = nn.ModuleList(
            [TransformerDecoderBlock(num_hiddens, ffn, num_heads, drop, i) for i in range(num_blks)]
        )
        self.dense = nn.Linear(num_hiddens, vocab_size)

    def init_state(self, enc_outputs: Tensor, enc_valid_lens: Tensor | None = None) -> list[Any]:
        return [enc_outputs, enc_valid_lens, [None] * self.num_blks]

    def forward(self, X: Tensor, state: list[Any]) -> tuple[Tensor, list[Any]]:  # noqa: N803
        start = 0 if state[2][0] is None else state[2][0].shape[1]
        hidden = self.pos_encoding(self.embedding(X) * math.sqrt(self.num_hiddens), start)
        for blk in self.blks:
            hidden, state = blk(hidden, state)
        return self.dense(hidden), state


class EncoderDecoder(nn.Module):
    """(logits, state): the state goes into the decoder's next call, which changes it, and whose tokens follow."""

    def __init__(
        self,
        src_vocab: int = 58,
        tgt_vocab: int = 63,
        num_hiddens: int = 32,
        ffn_num_hiddens: int = 64,
        num_heads: int = 4,
        num_blks: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = (num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout)
        self.encoder, self.decoder = TransformerEncoder(src_vocab, *sizes), TransformerDecoder(tgt_vocab, *sizes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    def forward(
        self,
        enc_X: Tensor,  # noqa: N803
        dec_X: Tensor,  # noqa: N803
        enc_valid_lens: Tensor | None = None,
    ) -> tuple[Tensor, list[Any]]:
        enc_outputs = self.encoder(enc_X, enc_valid_lens)
        return self.decoder(dec_X, self.decoder.init_state(enc_outputs, enc_valid_lens))


# Pegasus: fixed waves in a table, norms before, scaled embeddings, one table for both sides and for the output


PEGASUS_PAD = 0


def shift_tokens_right(input_ids: Tensor, pad_token_id: int, decoder_start_token_id: int) -> Tensor:
    start = torch.full_like(input_ids[:, :1], decoder_start_token_id)
    shifted_input_ids = torch.cat([start, input_ids[:, :-1]], dim=1)
    return shifted_input_ids.masked_fill(shifted_input_ids == -100, pad_token_id)


class PegasusSinusoidalPositionalEmbedding(nn.Embedding):
    """Not trained"""

    def fill(self) -> None:
        angle = torch.arange(self.num_embeddings)[:, None] / 10000 ** (
            torch.arange(0, self.embedding_dim, 2) / self.embedding_dim
        )
        self.weight.requires_grad_(False).copy_(torch.cat([angle.sin(), angle.cos()], dim=-1))

    def forward(self, input_ids_shape: torch.Size, past_key_values_length: int = 0) -> Tensor:  # type: ignore[override]
        end = past_key_values_length + input_ids_shape[1]
        return super().forward(torch.arange(past_key_values_length, end, device=self.weight.device))


class PegasusAttention(nn.Module):
    def __init__(self, embed_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads, self.dropout, self.scaling = num_heads, dropout, (embed_dim // num_heads) ** -0.5
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(embed_dim, embed_dim) for _ in range(4))

    def shape(self, tensor: Tensor) -> Tensor:
        return tensor.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        key_value_states: Tensor | None = None,
        past_key_value: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        query_states = self.shape(self.q_proj(hidden_states) * self.scaling)
        if key_value_states is not None and past_key_value is not None:
            key_states, value_states = past_key_value
        else:
            current_states = hidden_states if key_value_states is None else key_value_states
            key_states, value_states = self.shape(self.k_proj(current_states)), self.shape(self.v_proj(current_states))
            if past_key_value is not None:
                key_states = torch.cat([past_key_value[0], key_states], dim=2)
                value_states = torch.cat([past_key_value[1], value_states], dim=2)
        attn_weights = query_states @ key_states.transpose(2, 3)
        if attention_mask is not None:
            attn_weights = attn_weights + attention_mask
        attn_probs = F.dropout(attn_weights.softmax(dim=-1), p=self.dropout, training=self.training)
        attn_output = (attn_probs @ value_states).transpose(1, 2).flatten(2)
        return self.out_proj(attn_output), (key_states, value_states)


class PegasusEncoderLayer(nn.Module):
    def __init__(self, d_model: int, heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.self_attn, self.self_attn_layer_norm = PegasusAttention(d_model, heads, dropout), nn.LayerNorm(d_model)
        self.fc1, self.fc2 = nn.Linear(d_model, ffn_dim), nn.Linear(ffn_dim, d_model)
        self.final_layer_norm, self.dropout = nn.LayerNorm(d_model), nn.Dropout(dropout)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None) -> Tensor:
        attended, _ = self.self_attn(self.self_attn_layer_norm(hidden_states), attention_mask)
        hidden_states = hidden_states + self.dropout(attended)
        raised = self.fc2(F.relu(self.fc1(self.final_layer_norm(hidden_states))))
        return hidden_states + self.dropout(raised)


class PegasusDecoderLayer(PegasusEncoderLayer):
    def __init__(self, d_model: int, heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__(d_model, heads, ffn_dim, dropout)
        self.encoder_attn = PegasusAttention(d_model, heads, dropout)
        self.encoder_attn_layer_norm = nn.LayerNorm(d_model)

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None,
        past_key_value: tuple[Tensor, ...] | None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        own, cross = (None, None) if past_key_value is None else (past_key_value[:2], past_key_value[2:])
        attended, present = self.self_attn(self.self_attn_layer_norm(hidden_states), attention_mask, None, own)
        hidden_states = hidden_states + self.dropout(attended)
        attended, cross_present = self.encoder_attn(
            self.encoder_attn_layer_norm(hidden_states), encoder_attention_mask, encoder_hidden_states, cross
        )
        hidden_states = hidden_states + self.dropout(attended)
        raised = self.fc2(F.relu(self.fc1(self.final_layer_norm(hidden_states))))
        return hidden_states + self.dropout(raised), (*present, *cross_present)


def lowest_where(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)


class PegasusBody(nn.Module):
    """What the encoder and the decoder have in common"""

    def __init__(self, embed_tokens: nn.Embedding, layers: list[nn.Module], positions: int, dropout: float) -> None:
        super().__init__()
        width = embed_tokens.embedding_dim
        self.embed_tokens, self.embed_scale, self.dropout = embed_tokens, math.sqrt(width), nn.Dropout(dropout)
        self.embed_positions = PegasusSinusoidalPositionalEmbedding(positions, width)
        self.layers, self.layer_norm = nn.ModuleList(layers), nn.LayerNorm(width)

    def embed(self, input_ids: Tensor, past_key_values_length: int = 0) -> Tensor:
        inputs_embeds = self.embed_tokens(input_ids) * self.embed_scale
        return self.dropout(inputs_embeds + self.embed_positions(input_ids.shape, past_key_values_length))


class PegasusEncoder(PegasusBody):
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        hidden_states = self.embed(input_ids)
        if attention_mask is not None:
            attention_mask = lowest_where(attention_mask[:, None, None, :] == 0, hidden_states.dtype)
        for layer in self.layers:
            hidden_states = layer(hidden_states, attention_mask)
        return self.layer_norm(hidden_states)


class PegasusDecoder(PegasusBody):
    def forward(
        self,
        input_ids: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: tuple[tuple[Tensor, ...], ...] | None = None,
    ) -> tuple[Tensor, tuple[tuple[Tensor, ...], ...]]:
        past_key_values_length = 0 if past_key_values is None else past_key_values[0][0].shape[2]
        hidden_states, t = self.embed(input_ids, past_key_values_length), input_ids.shape[1]
        hidden = torch.ones(1, 1, t, past_key_values_length + t, dtype=torch.bool).triu(past_key_values_length + 1)
        if attention_mask is not None:
            hidden = hidden | (attention_mask[:, None, None, :] == 0)
        causal = lowest_where(hidden, hidden_states.dtype)
        if encoder_attention_mask is not None:
            encoder_attention_mask = lowest_where(encoder_attention_mask[:, None, None, :] == 0, hidden_states.dtype)
        next_decoder_cache: tuple[tuple[Tensor, ...], ...] = ()
        for idx, layer in enumerate(self.layers):
            past = None if past_key_values is None else past_key_values[idx]
            hidden_states, present = layer(hidden_states, causal, encoder_hidden_states, encoder_attention_mask, past)
            next_decoder_cache = (*next_decoder_cache, present)
        return self.layer_norm(hidden_states), next_decoder_cache


class PegasusForConditionalGeneration(nn.Module):
    """The mask is 1 for real tokens; labels are -100 where nothing counts, and give the decoder's tokens."""

    final_logits_bias: Tensor

    def __init__(
        self,
        vocab_size: int = 76,
        d_model: int = 32,
        num_layers: int = 2,
        heads: int = 4,
        ffn_dim: int = 64,
        dropout: float = 0.1,
        max_position_embeddings: int = 64,
    ) -> None:
        super().__init__()
        self.shared = nn.Embedding(vocab_size, d_model, PEGASUS_PAD)
        sizes = (d_model, heads, ffn_dim, dropout)
        encoder_layers: list[nn.Module] = [PegasusEncoderLayer(*sizes) for _ in range(num_layers)]
        decoder_layers: list[nn.Module] = [PegasusDecoderLayer(*sizes) for _ in range(num_layers)]
        self.encoder = PegasusEncoder(self.shared, encoder_layers, max_position_embeddings, dropout)
        self.decoder = PegasusDecoder(self.shared, decoder_layers, max_position_embeddings, dropout)
        self.register_buffer("final_logits_bias", torch.zeros(1, vocab_size))
        self.lm_head = nn.Linear(d_model, vocab_size, bias=False)
        normal(self, 0.11)
        self.lm_head.weight = self.shared.weight
        with torch.no_grad():
            self.shared.weight[PEGASUS_PAD] = 0
            self.encoder.embed_positions.fill()
            self.decoder.embed_positions.fill()

    def get_encoder(self) -> PegasusEncoder:
        return self.encoder

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: tuple[Tensor, ...] | None = None,
        past_key_values: tuple[tuple[Tensor, ...], ...] | None = None,
        labels: Tensor | None = None,
        use_cache: bool = True,
    ) -> LMOutput:
        if labels is not None:
            use_cache = False
            if decoder_input_ids is None:
                decoder_input_ids = shift_tokens_right(labels, PEGASUS_PAD, PEGASUS_PAD)
        if decoder_input_ids is None:
            raise ValueError("You have to specify decoder_input_ids or labels")
        if encoder_outputs is None:
            if input_ids is None:
                raise ValueError("You have to specify input_ids or encoder_outputs")
            encoder_outputs = (self.encoder(input_ids, attention_mask),)
        decoded, presents = self.decoder(
            decoder_input_ids, encoder_outputs[0], attention_mask, decoder_attention_mask, past_key_values
        )
        lm_logits = self.lm_head(decoded) + self.final_logits_bias
        loss = None
        if labels is not None:
            loss = F.cross_entropy(lm_logits.view(-1, lm_logits.size(-1)), labels.reshape(-1))
        return LMOutput(loss, lm_logits, presents if use_cache else None, encoder_outputs[0])


MODELS: dict[str, Callable[[], Any]] = {
    "Nemotron": partial(seeded, NemotronForCausalLM),
    "Umar Jamil": partial(seeded, build_transformer),
    "d2l.ai": partial(seeded, EncoderDecoder),
    "Pegasus": partial(seeded, PegasusForConditionalGeneration),
}
KNOWN = {"Umar Jamil": {"numbers.norm-variance": "as in its repository, torch.std divides by D - 1"}}
