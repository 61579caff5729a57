"""Readers after ConvBERT, taggers with a CRF and cramming; pairs after Sockeye, Fusion-in-Decoder, See's copied words
and AllenNLP; OpenAI's first language model, whose positions come with the tokens."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import normal, places, seeded
from torch import Tensor, nn


def sinusoids(length: int, dim: int) -> Tensor:
    """[length, dim], sines in the first half and cosines in the second"""
    angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(0, dim, 2) / dim)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


# ConvBERT: half of the heads are convolutions whose kernels come from the tokens


class SeparableConv1D(nn.Module):
    def __init__(self, dim: int, out: int, kernel_size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, kernel_size, groups=dim, padding=kernel_size // 2, bias=False)
        self.pointwise = nn.Conv1d(dim, out, 1)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(hidden_states.transpose(1, 2))).transpose(1, 2)


class MixedAttention(nn.Module):
    def __init__(self, dim: int, heads: int, kernel_size: int = 5) -> None:
        super().__init__()
        self.heads, self.kernel_size, self.width = heads // 2, kernel_size, dim // 2
        self.query, self.key, self.value = (nn.Linear(dim, self.width) for _ in range(3))
        self.key_conv_attn_layer = SeparableConv1D(dim, self.width, kernel_size)
        self.conv_kernel_layer = nn.Linear(self.width, self.heads * kernel_size)
        self.conv_out_layer, self.dropout = nn.Linear(dim, self.width), nn.Dropout(0.1)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        b, t, _ = x.shape
        q, k, v = (w(x).view(b, t, self.heads, -1).transpose(1, 2) for w in (self.query, self.key, self.value))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))
        scores = scores.masked_fill(~real[:, None, None, :], torch.finfo(x.dtype).min)
        context = (self.dropout(scores.softmax(dim=-1)) @ v).transpose(1, 2).reshape(b, t, -1)
        shown = real[..., None].to(x.dtype)
        kernel = self.conv_kernel_layer(self.key_conv_attn_layer(x * shown) * self.query(x))
        kernel = kernel.view(b, t, self.heads, self.kernel_size).softmax(dim=-1)
        values = F.pad(self.conv_out_layer(x) * shown, (0, 0, self.kernel_size // 2, self.kernel_size // 2))
        taps = values.unfold(1, self.kernel_size, 1).view(b, t, self.heads, -1, self.kernel_size)
        return torch.cat([context, torch.einsum("bthdk,bthk->bthd", taps, kernel).flatten(2)], dim=-1)


class ConvBertLayer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention, self.dense = MixedAttention(dim, heads), nn.Linear(dim, dim)
        self.intermediate, self.output = nn.Linear(dim, 3 * dim), nn.Linear(3 * dim, dim)
        self.attention_norm, self.output_norm, self.dropout = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.Dropout(0.1)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.dense(self.attention(x, real))))
        return self.output_norm(x + self.dropout(self.output(F.gelu(self.intermediate(x)))))


@dataclass
class MaskedLMOutput:
    loss: Tensor | None
    logits: Tensor


class ConvBertForMaskedLM(nn.Module):
    """The mask is 1 for real tokens; labels are -100 where nothing is to be predicted."""

    def __init__(
        self, vocab: int = 73, embedding_size: int = 24, dim: int = 32, heads: int = 4, depth: int = 2, length: int = 64
    ) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab, embedding_size)
        self.position_embeddings, self.token_type_embeddings = (
            nn.Embedding(length, embedding_size),
            nn.Embedding(2, embedding_size),
        )
        self.norm, self.dropout = nn.LayerNorm(embedding_size), nn.Dropout(0.1)
        self.embeddings_project = nn.Linear(embedding_size, dim)
        self.layer = nn.ModuleList([ConvBertLayer(dim, heads) for _ in range(depth)])
        self.generator_dense, self.generator_norm = nn.Linear(dim, embedding_size), nn.LayerNorm(embedding_size)
        self.generator_lm_head = nn.Linear(embedding_size, vocab)
        normal(self, 0.05)
        self.generator_lm_head.weight = self.word_embeddings.weight

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> MaskedLMOutput:
        real = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        x = self.word_embeddings(input_ids) + self.position_embeddings(places(real)) + self.token_type_embeddings(types)
        x = self.embeddings_project(self.dropout(self.norm(x)))
        for layer in self.layer:
            x = layer(x, real)
        logits = self.generator_lm_head(self.generator_norm(F.gelu(self.generator_dense(x))))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        return MaskedLMOutput(loss, logits)


# A CRF behind an encoder: the loss is of whole rows of tags, and the best row is found


class CRF(nn.Module):
    """Tags of real tokens alone are counted, wherever these stand."""

    def __init__(self, num_tags: int) -> None:
        super().__init__()
        self.start_transitions, self.end_transitions = (nn.Parameter(torch.empty(num_tags)) for _ in range(2))
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        for weight in self.parameters():
            nn.init.uniform_(weight, -0.1, 0.1)

    def forward(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """The mean of the negative logarithms of probabilities, over real tokens"""
        score, alpha = emissions.new_zeros(len(tags)), emissions.new_zeros(len(tags), emissions.size(-1))
        begun, prev = torch.zeros_like(mask[:, 0]), torch.zeros_like(tags[:, 0])
        for emission, tag, on in zip(emissions.unbind(1), tags.unbind(1), mask.unbind(1), strict=True):
            step = torch.where(begun, self.transitions[prev, tag], self.start_transitions[tag])
            score = score + torch.where(on, step + emission.gather(1, tag[:, None])[:, 0], 0.0)
            ways = (alpha[:, :, None] + self.transitions).logsumexp(dim=1)
            ways = torch.where(begun[:, None], ways, self.start_transitions) + emission
            alpha, prev, begun = torch.where(on[:, None], ways, alpha), torch.where(on, tag, prev), begun | on
        score = score + self.end_transitions[prev]
        losses = (alpha + self.end_transitions).logsumexp(dim=-1) - score
        return (losses * begun).sum() / mask.sum().clamp(min=1)

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor) -> list[list[int]]:
        paths = []
        for row, on in zip(emissions, mask, strict=True):
            real, back = row[on], []
            if not len(real):
                paths.append([])
                continue
            best = self.start_transitions + real[0]
            for emission in real[1:]:
                best, source = (best[:, None] + self.transitions).max(dim=0)
                best = best + emission
                back.append(source)
            path = [int((best + self.end_transitions).argmax())]
            for source in reversed(back):
                path.append(int(source[path[-1]]))
            paths.append(path[::-1])
        return paths


class EncoderLayer(nn.Module):
    """Pre-norm; True in `hidden` is a key that is not seen."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.norm1, self.norm2, self.drop = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.Dropout(dropout)
        self.ff = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.drop(self.self_attn(h, h, h, key_padding_mask=hidden, need_weights=False)[0])
        return x + self.drop(self.ff(self.norm2(x)))


class CrfForNer(nn.Module):
    """(loss, emissions) with labels, (emissions,) without; `decode` gives lists of tags."""

    def __init__(self, vocab: int = 71, dim: int = 32, heads: int = 4, depth: int = 2, num_labels: int = 9) -> None:
        super().__init__()
        self.embed, self.position, self.dropout = nn.Embedding(vocab, dim), nn.Embedding(64, dim), nn.Dropout(0.1)
        self.encoder = nn.ModuleList([EncoderLayer(dim, heads, 0.1) for _ in range(depth)])
        self.norm, self.classifier, self.crf = nn.LayerNorm(dim), nn.Linear(dim, num_labels), CRF(num_labels)
        normal(self)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        alone = mask | ~mask.any(dim=1, keepdim=True)  # a row of padding sees itself
        x = self.dropout(self.embed(input_ids) + self.position(places(mask)))
        for layer in self.encoder:
            x = layer(x, ~alone)
        emissions = self.classifier(self.dropout(self.norm(x)))
        if labels is None:
            return (emissions,)
        tagged = mask & (labels >= 0)
        return self.crf(emissions, labels.clamp(min=0), tagged), emissions

    def decode(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> list[list[int]]:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return self.crf.decode(self(input_ids, mask)[0], mask.bool())


# Cramming: no biases, gated feed-forward layers, sines with a scale that is learned; with labels the output is computed
# of masked tokens alone


class ScaledSinusoidal(nn.Module):
    pe: Tensor

    def __init__(self, embedding_dim: int, max_seq_length: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoids(max_seq_length, embedding_dim), persistent=False)
        self.scale_factor = nn.Parameter(torch.tensor(1.0 / embedding_dim**0.5))

    def forward(self, position_ids: Tensor) -> Tensor:
        return self.scale_factor * self.pe[position_ids]


class CrammedLayer(nn.Module):
    def __init__(self, hidden_size: int, num_heads: int, intermed_size: int) -> None:
        super().__init__()
        self.num_heads, self.norm1, self.norm2 = num_heads, nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.dense = nn.Linear(hidden_size, hidden_size, bias=False)
        self.dense_in = nn.Linear(hidden_size, intermed_size, bias=False)
        self.dense_out = nn.Linear(intermed_size // 2, hidden_size, bias=False)

    def forward(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        qkv = self.query_key_value(self.norm1(states)).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        scores = torch.einsum("bhqd,bhkd->bhqk", query, key) * query.shape[-1] ** -0.5 + attention_mask
        states = states + self.dense(torch.einsum("bhqk,bhkd->bqhd", scores.softmax(dim=-1), value).flatten(2))
        gate, value = self.dense_in(self.norm2(states)).chunk(2, dim=-1)
        return states + self.dense_out(F.gelu(gate) * value)


class CrammedBertForPreTraining(nn.Module):
    """A dict of outputs: [B, T, V], or with labels [masked, V] and their loss. The mask is 1 for real tokens."""

    def __init__(self, vocab: int = 75, hidden_size: int = 32, num_heads: int = 4, depth: int = 3) -> None:
        super().__init__()
        self.word_embedding, self.pos_embedding = nn.Embedding(vocab, hidden_size), ScaledSinusoidal(hidden_size, 80)
        self.norm, self.final_norm = nn.LayerNorm(hidden_size), nn.LayerNorm(hidden_size)
        self.layers = nn.ModuleList([CrammedLayer(hidden_size, num_heads, 4 * hidden_size) for _ in range(depth)])
        self.decoder = nn.Linear(hidden_size, vocab, bias=False)
        normal(self, 0.05)
        self.decoder.weight = self.word_embedding.weight

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        hidden_states = self.norm(self.word_embedding(input_ids) + self.pos_embedding(places(attention_mask)))
        lowest = torch.finfo(hidden_states.dtype).min / 2
        extended = (1.0 - attention_mask[:, None, None, :].to(hidden_states.dtype)) * lowest
        for layer in self.layers:
            hidden_states = layer(hidden_states, extended)
        outputs = self.final_norm(hidden_states)
        if labels is None:
            return {"outputs": self.decoder(outputs)}
        mask_positions = labels.flatten() != -100
        outputs = self.decoder(outputs.flatten(0, 1)[mask_positions])
        losses = F.cross_entropy(outputs, labels.flatten()[mask_positions], reduction="sum")
        return {"loss": losses / mask_positions.sum().clamp(min=1), "outputs": outputs}


# Sockeye: lengths instead of masks; the decoder has a simple recurrence in the place of self-attention


SOCK_PAD, SOCK_BOS, SOCK_EOS = 0, 2, 3


class SSRU(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.forget_gate, self.linear = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        forget = self.forget_gate(x).sigmoid()
        weighted, cells = (1 - forget) * self.linear(x), []
        for t in range(x.size(1)):
            cell = forget[:, t] * cell + weighted[:, t]
            cells.append(cell)
        return F.relu(torch.stack(cells, dim=1)), cell


class SourceAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ff_q, self.ff_kv, self.ff_out = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

    def forward(self, queries: Tensor, memory: Tensor, valid_length: Tensor) -> Tensor:
        q = self.ff_q(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.ff_kv(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        logits = q @ k.mT / math.sqrt(q.size(-1))
        behind = torch.arange(memory.size(1)) >= valid_length[:, None]
        probs = logits.masked_fill(behind[:, None, None, :], torch.finfo(q.dtype).min).softmax(dim=-1)
        return self.ff_out((probs @ v).transpose(1, 2).flatten(2))


class SockeyeBlock(nn.Module):
    def __init__(self, dim: int, heads: int, decodes: bool) -> None:
        super().__init__()
        self.autoregr_layer = SSRU(dim) if decodes else None
        self.enc_attention, self.dropout = SourceAttention(dim, heads), nn.Dropout(0.1)
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(3 if decodes else 2)])
        self.ff = nn.Sequential(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))

    def forward(
        self, x: Tensor, valid_length: Tensor, memory: Tensor | None = None, cell: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        if self.autoregr_layer is not None:
            y, cell = self.autoregr_layer(self.norms[-1](x), cell)
            x = x + self.dropout(y)
        h = self.norms[0](x)
        x = x + self.dropout(self.enc_attention(h, h if memory is None else memory, valid_length))
        return x + self.dropout(self.ff(self.norms[1](x))), cell


class SockeyeModel(nn.Module):
    """(source [B, S], source_length [B], target [B, T], target_length [B]) to a dict of logits; padding is behind."""

    pe: Tensor

    def __init__(self, vocab: int = 68, dim: int = 32, heads: int = 4, depth: int = 2, smoothing: float = 0.1) -> None:
        super().__init__()
        self.dim, self.smoothing = dim, smoothing
        self.embedding_source, self.embedding_target = nn.Embedding(vocab, dim), nn.Embedding(vocab, dim)
        self.register_buffer("pe", sinusoids(64, dim), persistent=False)
        self.encoder = nn.ModuleList([SockeyeBlock(dim, heads, False) for _ in range(depth)])
        self.decoder = nn.ModuleList([SockeyeBlock(dim, heads, True) for _ in range(depth)])
        self.final_source, self.final_target = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.output_layer, self.dropout = nn.Linear(dim, vocab), nn.Dropout(0.1)
        normal(self, 0.1)

    def encode(self, source: Tensor, source_length: Tensor) -> Tensor:
        x = self.dropout(self.embedding_source(source) * math.sqrt(self.dim) + self.pe[: source.size(1)])
        for block in self.encoder:
            x, _ = block(x, source_length)
        return self.final_source(x)

    def begin(self, memory: Tensor) -> list[Tensor]:
        return [memory.new_zeros(len(memory), self.dim) for _ in self.decoder]

    def decode(
        self, target: Tensor, memory: Tensor, source_length: Tensor, states: list[Tensor], step: int = 0
    ) -> tuple[Tensor, list[Tensor]]:
        """Logits of all places given, which begin at `step`, and the states after them"""
        place = self.pe[step : step + target.size(1)]
        x, after = self.dropout(self.embedding_target(target) * math.sqrt(self.dim) + place), []
        for block, cell in zip(self.decoder, states, strict=True):
            x, cell = block(x, source_length, memory, cell)
            after.append(cell)
        return self.output_layer(self.final_target(x)), after

    def forward(
        self, source: Tensor, source_length: Tensor, target: Tensor, target_length: Tensor | None = None
    ) -> dict[str, Tensor]:
        memory = self.encode(source, source_length)
        logits = self.decode(target, memory, source_length, self.begin(memory))[0]
        if target_length is not None:  # nothing is said behind a row's end
            logits = logits * (torch.arange(target.size(1)) < target_length[:, None])[..., None].to(logits.dtype)
        return {"logits": logits}

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Labels come moved; padding is not counted."""
        return F.cross_entropy(
            logits.transpose(1, 2),
            labels,
            ignore_index=SOCK_PAD,
            label_smoothing=self.smoothing if self.training else 0,
        )

    @torch.no_grad()
    def greedy(self, source: Tensor, source_length: Tensor, max_output_length: int = 12) -> Tensor:
        """[B, up to max_output_length], padding behind an end"""
        memory = self.encode(source, source_length)
        states, word, out = self.begin(memory), source.new_full((len(source), 1), SOCK_BOS), []
        ended = torch.zeros_like(word, dtype=torch.bool)
        for step in range(max_output_length):
            logits, states = self.decode(word, memory, source_length, states, step)
            word = logits[:, -1:].argmax(dim=-1).masked_fill(ended, SOCK_PAD)
            out.append(word)
            ended = ended | (word == SOCK_EOS)
            if bool(ended.all()):
                break
        return torch.cat(out, dim=1)


# Fusion-in-Decoder: each passage is read alone, and the decoder sees all of them; T5's distances


FID_PAD = 0


class RelativeBias(nn.Module):
    def __init__(self, heads: int, both: bool, buckets: int = 12, far: int = 32) -> None:
        super().__init__()
        self.both, self.buckets, self.far = both, buckets, far
        self.relative_attention_bias = nn.Embedding(buckets, heads)

    def forward(self, q_len: int, k_len: int) -> Tensor:
        """[1, H, Q, K]"""
        apart = torch.arange(k_len) - torch.arange(q_len)[:, None]
        count = self.buckets // 2 if self.both else self.buckets
        ahead = (apart > 0).long() * count if self.both else torch.zeros_like(apart)
        apart, exact = (apart.abs() if self.both else (-apart).clamp(min=0)), count // 2
        large = (apart.clamp(min=1) / exact).log() / math.log(self.far / exact) * (count - exact)
        bucket = torch.where(apart < exact, apart, (exact + large.long()).clamp(max=count - 1))
        return self.relative_attention_bias(ahead + bucket).permute(2, 0, 1)[None]


class FiDAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.n_heads, self.layer_norm = heads, nn.RMSNorm(dim, eps=1e-6)
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim, bias=False) for _ in range(4))

    def forward(self, x: Tensor, bias: Tensor, memory: Tensor | None = None) -> Tensor:
        h = self.layer_norm(x)
        seen = h if memory is None else memory
        q, k, v = (
            w(s).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for w, s in ((self.q, h), (self.k, seen), (self.v, seen))
        )
        scores = torch.matmul(q, k.transpose(3, 2)) / math.sqrt(q.size(-1)) + bias
        return x + self.o(torch.matmul(scores.softmax(dim=-1), v).transpose(1, 2).flatten(2))


class FiDBlock(nn.Module):
    def __init__(self, dim: int, heads: int, decodes: bool) -> None:
        super().__init__()
        self.self_attention, self.cross = FiDAttention(dim, heads), FiDAttention(dim, heads) if decodes else None
        self.layer_norm, self.wi = nn.RMSNorm(dim, eps=1e-6), nn.Linear(dim, 2 * dim, bias=False)
        self.wo, self.dropout = nn.Linear(2 * dim, dim, bias=False), nn.Dropout(0.1)

    def forward(
        self, x: Tensor, bias: Tensor, memory: Tensor | None = None, memory_bias: Tensor | None = None
    ) -> Tensor:
        x = self.self_attention(x, bias)
        if self.cross is not None:
            x = self.cross(x, memory_bias, memory)
        return x + self.dropout(self.wo(F.relu(self.wi(self.layer_norm(x)))))


@dataclass
class Seq2SeqLMOutput:
    logits: Tensor
    loss: Tensor | None = None


class FiD(nn.Module):
    """input_ids and attention_mask are [B, passages, S], or [B, S] of one; labels are -100 where there is none."""

    def __init__(self, vocab: int = 66, dim: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.shared = nn.Embedding(vocab, dim)
        self.encoder = nn.ModuleList([FiDBlock(dim, heads, False) for _ in range(depth)])
        self.decoder = nn.ModuleList([FiDBlock(dim, heads, True) for _ in range(depth)])
        self.encoder_bias, self.decoder_bias = RelativeBias(heads, True), RelativeBias(heads, False)
        self.encoder_norm, self.decoder_norm = nn.RMSNorm(dim, eps=1e-6), nn.RMSNorm(dim, eps=1e-6)
        self.lm_head, self.dropout = nn.Linear(dim, vocab, bias=False), nn.Dropout(0.1)
        normal(self, dim**-0.5)
        nn.init.normal_(self.shared.weight, std=0.5)
        nn.init.normal_(self.lm_head.weight, std=0.05)

    def read(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """The passages' states in one row [B, N * S, D], and the bias [B, 1, 1, N * S] that hides padding"""
        b, n, s = input_ids.shape
        x = self.dropout(self.shared(input_ids.view(b * n, s)))
        padding = (1 - attention_mask.to(x.dtype)) * torch.finfo(x.dtype).min / 2
        bias = self.encoder_bias(s, s) + padding.view(b * n, 1, 1, s)
        for block in self.encoder:
            x = block(x, bias)
        return self.encoder_norm(x).reshape(b, n * s, -1), padding.view(b, 1, 1, n * s)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Seq2SeqLMOutput:
        if attention_mask is None:
            attention_mask = input_ids != FID_PAD
        if input_ids.dim() == 2:
            input_ids, attention_mask = input_ids[:, None], attention_mask[:, None]
        if decoder_input_ids is None:
            assert labels is not None, "decoder_input_ids or labels are needed"
            decoder_input_ids = F.pad(labels[:, :-1], (1, 0), value=FID_PAD).clamp(min=0)
        memory, memory_bias = self.read(input_ids, attention_mask)
        t = decoder_input_ids.size(1)
        x = self.dropout(self.shared(decoder_input_ids))
        later = torch.full((t, t), torch.finfo(x.dtype).min / 2, dtype=x.dtype).triu(1)
        bias = self.decoder_bias(t, t) + later
        for block in self.decoder:
            x = block(x, bias, memory, memory_bias)
        logits = self.lm_head(self.dropout(self.decoder_norm(x)))
        if labels is None:
            return Seq2SeqLMOutput(logits)
        return Seq2SeqLMOutput(logits, F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100))


# Copied words: time first; a word comes from the vocabulary or from the source, which has words that are in no other


COPY_PAD, COPY_UNK = 0, 1


class CopyDecoderLayer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.self_attn, self.src_attn = (nn.MultiheadAttention(dim, heads, dropout=0.1) for _ in range(2))
        self.linear1, self.linear2, self.dropout = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim), nn.Dropout(0.1)
        self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(3)])

    def forward(self, x: Tensor, later: Tensor, memory: Tensor, src_pad: Tensor) -> tuple[Tensor, Tensor]:
        """x [T, B, D]; the weights [B, T, S] are the mean of the heads."""
        y = self.self_attn(x, x, x, attn_mask=later, need_weights=False)[0]
        x = self.norms[0](x + self.dropout(y))
        y, weights = self.src_attn(x, memory, memory, key_padding_mask=src_pad)
        x = self.norms[1](x + self.dropout(y))
        return self.norms[2](x + self.dropout(self.linear2(F.relu(self.linear1(x))))), weights


class PointerGenerator(nn.Module):
    """(src [S, B], tgt [T, B]) to log-probabilities [T, B, V + oov]; words from V on are the source's own."""

    pe: Tensor

    def __init__(self, vocab: int = 62, dim: int = 32, heads: int = 4, depth: int = 2) -> None:
        super().__init__()
        self.vocab, self.scale = vocab, math.sqrt(dim)
        self.embedding, self.dropout = nn.Embedding(vocab, dim), nn.Dropout(0.1)
        self.register_buffer("pe", sinusoids(60, dim)[:, None], persistent=False)
        layer = nn.TransformerEncoderLayer(dim, heads, 2 * dim, dropout=0.1)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.decoder = nn.ModuleList([CopyDecoderLayer(dim, heads) for _ in range(depth)])
        self.generator, self.p_gen = nn.Linear(dim, vocab), nn.Linear(3 * dim, 1)
        normal(self, 0.1)
        nn.init.constant_(self.p_gen.bias, 2.0)

    def embed(self, words: Tensor) -> Tensor:
        known = words.masked_fill(words >= self.vocab, COPY_UNK)
        return self.dropout(self.embedding(known) * self.scale + self.pe[: len(words)])

    def forward(self, src: Tensor, tgt: Tensor, oov: int = 0) -> Tensor:
        src_pad = (src == COPY_PAD).T
        src_pad = src_pad & ~src_pad.all(dim=1, keepdim=True)  # what is all padding is seen
        memory = self.encoder(self.embed(src), src_key_padding_mask=src_pad)
        embedded = x = self.embed(tgt)
        later = torch.ones(len(tgt), len(tgt), dtype=torch.bool).triu(1)
        for layer in self.decoder:
            x, weights = layer(x, later, memory, src_pad)
        context = torch.einsum("bts,sbd->tbd", weights, memory)
        gate = self.p_gen(torch.cat([x, context, embedded], dim=-1)).sigmoid()
        p_vocab = F.pad(gate * self.generator(x).softmax(dim=-1), (0, oov))
        p_copy = (1 - gate) * weights.transpose(0, 1)
        return p_vocab.scatter_add(2, src.T.expand(len(tgt), -1, -1), p_copy).clamp(min=1e-12).log()

    @staticmethod
    def loss(log_probs: Tensor, gold: Tensor) -> Tensor:
        """gold [T, B]: the words that follow"""
        return F.nll_loss(log_probs.flatten(0, 1), gold.flatten(), ignore_index=COPY_PAD)


# OpenAI's first language model: a position is a row of the one table, and comes beside its token


class TFLayerNorm(nn.Module):
    def __init__(self, n_state: int, e: float = 1e-5) -> None:
        super().__init__()
        self.g, self.b, self.e = nn.Parameter(torch.ones(n_state)), nn.Parameter(torch.zeros(n_state)), e

    def forward(self, x: Tensor) -> Tensor:
        u = x.mean(-1, keepdim=True)
        s = (x - u).pow(2).mean(-1, keepdim=True)
        return self.g * ((x - u) / torch.sqrt(s + self.e)) + self.b


class Conv1D(nn.Module):
    def __init__(self, nf: int, nx: int) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.empty(nx, nf).normal_(std=0.1)), nn.Parameter(torch.zeros(nf))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.b, x.reshape(-1, x.size(-1)), self.w).view(*x.shape[:-1], -1)


class OpenAIBlock(nn.Module):
    b: Tensor

    def __init__(self, nx: int, n_ctx: int, n_head: int) -> None:
        super().__init__()
        self.register_buffer("b", torch.tril(torch.ones(n_ctx, n_ctx))[None, None])
        self.n_head, self.c_attn, self.c_proj = n_head, Conv1D(nx * 3, nx), Conv1D(nx, nx)
        self.c_fc, self.c_proj_mlp = Conv1D(4 * nx, nx), Conv1D(nx, 4 * nx)
        self.ln_1, self.ln_2, self.drop = TFLayerNorm(nx), TFLayerNorm(nx), nn.Dropout(0.1)

    def split_heads(self, x: Tensor, k: bool = False) -> Tensor:
        x = x.view(*x.shape[:-1], self.n_head, x.size(-1) // self.n_head)
        return x.permute(0, 2, 3, 1) if k else x.permute(0, 2, 1, 3)

    def attn(self, x: Tensor) -> Tensor:
        query, key, value = self.c_attn(x).split(x.size(-1), dim=2)
        w = torch.matmul(self.split_heads(query), self.split_heads(key, k=True)) / math.sqrt(x.size(-1) // self.n_head)
        b = self.b[:, :, : w.size(-2), : w.size(-1)]
        w = self.drop((w * b + torch.finfo(w.dtype).min * (1 - b)).softmax(dim=-1))
        a = torch.matmul(w, self.split_heads(value)).permute(0, 2, 1, 3).contiguous()
        return self.drop(self.c_proj(a.view(*a.shape[:-2], -1)))

    def forward(self, x: Tensor) -> Tensor:
        n = self.ln_1(x + self.attn(x))
        return self.ln_2(n + self.drop(self.c_proj_mlp(F.gelu(self.c_fc(n), approximate="tanh"))))


class OpenAILM(nn.Module):
    """x [B, T, 2] of tokens and of positions, which begin at `vocab`, or [B, T] of tokens alone; logits of tokens."""

    def __init__(self, vocab: int = 70, n_ctx: int = 48, n_embd: int = 32, n_head: int = 4, n_layer: int = 2) -> None:
        super().__init__()
        self.vocab, self.embed, self.drop = vocab, nn.Embedding(vocab + n_ctx, n_embd), nn.Dropout(0.1)
        self.h = nn.ModuleList([OpenAIBlock(n_embd, n_ctx, n_head) for _ in range(n_layer)])
        nn.init.normal_(self.embed.weight, std=0.05)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            x = torch.stack([x, (self.vocab + torch.arange(x.size(1))).expand_as(x)], dim=-1)
        h = self.drop(self.embed(x)).sum(dim=2)
        for block in self.h:
            h = block(h)
        return F.linear(h, self.embed.weight[: self.vocab])

    def compute_loss(self, X: Tensor, M: Tensor) -> Tensor:  # noqa: N803
        """M [B, T] is 1 for tokens that count"""
        tokens = X[..., 0] if X.dim() == 3 else X
        losses = F.cross_entropy(self(X)[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")
        return (losses * M[:, 1:]).sum() / M[:, 1:].sum()


# AllenNLP: tokens in dicts of dicts, the loss of (source, target) in a dict; without a target it searches with a beam


ALLEN_PAD, ALLEN_START, ALLEN_END = 0, 2, 3


def ids_of(tokens: Any) -> Tensor:
    while isinstance(tokens, dict):
        tokens = tokens["tokens"]
    return tokens


class ComposedSeq2Seq(nn.Module):
    """target_tokens have the start and the end in them; each of them but the first is predicted."""

    pe: Tensor

    def __init__(
        self, vocab: int = 64, dim: int = 32, heads: int = 4, depth: int = 2, beam_size: int = 3, max_steps: int = 10
    ) -> None:
        super().__init__()
        self.dim, self.beam_size, self.max_steps = dim, beam_size, max_steps
        self.source_embedder, self.target_embedder = nn.Embedding(vocab, dim), nn.Embedding(vocab, dim)
        self.register_buffer("pe", sinusoids(50, dim), persistent=False)
        sizes = {"dim_feedforward": 2 * dim, "dropout": 0.1, "batch_first": True}
        self.encoder = nn.ModuleList([nn.TransformerEncoderLayer(dim, heads, **sizes) for _ in range(depth)])
        self.decoder = nn.ModuleList([nn.TransformerDecoderLayer(dim, heads, **sizes) for _ in range(depth)])
        self.output_projection_layer, self.dropout = nn.Linear(dim, vocab), nn.Dropout(0.1)
        normal(self, 0.1)

    def embed(self, embedder: nn.Embedding, ids: Tensor) -> Tensor:
        return self.dropout(embedder(ids) * math.sqrt(self.dim) + self.pe[: ids.size(1)])

    def forward(self, source_tokens: Any, target_tokens: Any = None) -> dict[str, Tensor]:
        source = ids_of(source_tokens)
        source_mask = source != ALLEN_PAD
        source_mask = source_mask | ~source_mask.any(dim=1, keepdim=True)  # a row of padding is seen
        x = self.embed(self.source_embedder, source)
        for layer in self.encoder:
            x = layer(x, src_key_padding_mask=~source_mask)
        if target_tokens is None:
            return self.search(x, source_mask)
        targets = ids_of(target_tokens)
        logits = self.decode(targets[:, :-1], x, source_mask)
        relevant = (targets[:, 1:] != ALLEN_PAD).to(logits.dtype)
        losses = F.cross_entropy(logits.transpose(1, 2), targets[:, 1:], reduction="none")
        return {"loss": (losses * relevant).sum() / relevant.sum().clamp(min=1), "logits": logits}

    def decode(self, previous: Tensor, memory: Tensor, source_mask: Tensor) -> Tensor:
        x, t = self.embed(self.target_embedder, previous), previous.size(1)
        later = torch.ones(t, t, dtype=torch.bool).triu(1)
        for layer in self.decoder:
            x = layer(x, memory, tgt_mask=later, memory_key_padding_mask=~source_mask)
        return self.output_projection_layer(x)

    @torch.no_grad()
    def search(self, memory: Tensor, source_mask: Tensor) -> dict[str, Tensor]:
        """predictions [B, K, up to max_steps] without the start, likeliest first, and log_probabilities [B, K]"""
        b, k = len(memory), self.beam_size
        memory, source_mask = memory.repeat_interleave(k, dim=0), source_mask.repeat_interleave(k, dim=0)
        beams = torch.full((b * k, 1), ALLEN_START)
        totals = memory.new_tensor([0.0] + [-math.inf] * (k - 1)).repeat(b, 1)
        for _ in range(self.max_steps):
            ended = beams[:, -1] == ALLEN_END
            steps = self.decode(beams, memory, source_mask)[:, -1].log_softmax(dim=-1)
            only_end = torch.full_like(steps, -math.inf)
            only_end[:, ALLEN_END] = 0.0
            steps = torch.where(ended[:, None], only_end, steps)
            totals, best = (totals.view(b * k, 1) + steps).view(b, -1).topk(k, dim=-1)
            parent = best // steps.size(-1) + k * torch.arange(b)[:, None]
            beams = torch.cat([beams[parent.flatten()], best.view(-1, 1) % steps.size(-1)], dim=1)
            if bool((beams[:, -1] == ALLEN_END).all()):
                break
        return {"predictions": beams[:, 1:].view(b, k, -1), "log_probabilities": totals}


MODELS: dict[str, Callable[[], Any]] = {
    "ConvBERT": partial(seeded, ConvBertForMaskedLM),
    "a CRF": partial(seeded, CrfForNer),
    "cramming": partial(seeded, CrammedBertForPreTraining),
    "Sockeye": partial(seeded, SockeyeModel),
    "Fusion-in-Decoder": partial(seeded, FiD),
    "copied words": partial(seeded, PointerGenerator),
    "OpenAI's first": partial(seeded, OpenAILM),
    "AllenNLP": partial(seeded, ComposedSeq2Seq),
}
