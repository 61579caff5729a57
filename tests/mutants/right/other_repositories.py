"""Encoder-decoders, encoders, classifiers and odd layers in the habits of well-known repositories: T5, fairseq,
bentrevett's tutorials, the annotated Transformer, ALBERT, DeepNet, Magneto, Transformer-XL, Switch, UniLM, linear
attention, and models whose caller makes the mask."""

import copy
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


def heads_of(x: Tensor) -> Tensor:
    return x.view(*x.shape[:2], HEADS, HEAD).transpose(1, 2)


# T5: a bias by distance shared by all layers, no scale but in the initial values, `labels` shifted inside


class T5Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class T5Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(4))
        nn.init.normal_(self.q.weight, std=(WIDTH * HEAD) ** -0.5)
        for part in (self.k, self.v, self.o):
            nn.init.normal_(part.weight, std=WIDTH**-0.5)

    def forward(self, x: Tensor, memory: Tensor, bias: Tensor) -> Tensor:
        q, k, v = heads_of(self.q(x)), heads_of(self.k(memory)), heads_of(self.v(memory))
        scores = torch.matmul(q, k.transpose(3, 2)) + bias
        return self.o((F.softmax(scores.float(), dim=-1).type_as(scores) @ v).transpose(1, 2).flatten(2))


class T5Block(nn.Module):
    def __init__(self, is_decoder: bool) -> None:
        super().__init__()
        self.attention = nn.ModuleList([T5Attention() for _ in range(2 if is_decoder else 1)])
        self.wi, self.wo = nn.Linear(WIDTH, 64, bias=False), nn.Linear(64, WIDTH, bias=False)
        self.norms = nn.ModuleList([T5Norm() for _ in range(len(self.attention) + 1)])

    def forward(self, x: Tensor, bias: Tensor, memory: Tensor | None = None, memory_bias: Any = None) -> Tensor:
        normed = self.norms[0](x)
        x = x + self.attention[0](normed, normed, bias)
        if memory is not None:
            x = x + self.attention[1](self.norms[1](x), memory, memory_bias)
        return x + self.wo(F.relu(self.wi(self.norms[-1](x))))


class T5(nn.Module):
    pad_token_id = decoder_start_token_id = 0

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Embedding(VOCAB, WIDTH)
        self.encoder = nn.ModuleList([T5Block(False) for _ in range(LAYERS)])
        self.decoder = nn.ModuleList([T5Block(True) for _ in range(LAYERS)])
        self.norms = nn.ModuleList([T5Norm(), T5Norm()])
        self.relative = nn.ModuleList([nn.Embedding(16, HEADS), nn.Embedding(16, HEADS)])

    def bias_of(self, side: int, T: int, mask: Tensor) -> Tensor:  # noqa: N803
        """[B, H, T, T]: 16 buckets of distances, half of them for each direction in the encoder."""
        distance = torch.arange(T)[None, :] - torch.arange(T)[:, None]
        both, past = distance.abs().clamp(max=7) + 8 * (distance > 0), (-distance).clamp(min=0, max=15)
        buckets = both if side == 0 else past
        bias = self.relative[side](buckets).permute(2, 0, 1)[None]
        return bias.masked_fill(~mask, torch.finfo(bias.dtype).min)

    def _shift_right(self, labels: Tensor) -> Tensor:
        shifted = labels.new_zeros(labels.shape)
        shifted[:, 1:], shifted[:, 0] = labels[:, :-1].clone(), self.decoder_start_token_id
        return shifted.masked_fill(shifted == -100, self.pad_token_id)

    def forward(
        self,
        input_ids: Tensor,
        decoder_input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        if decoder_input_ids is None:
            decoder_input_ids = self._shift_right(labels)
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        seen = attention_mask.bool()[:, None, None, :]
        S, T = input_ids.shape[1], decoder_input_ids.shape[1]  # noqa: N806
        memory, bias = self.shared(input_ids), self.bias_of(0, S, seen)
        for block in self.encoder:
            memory = block(memory, bias)
        memory = self.norms[0](memory)
        x, bias = self.shared(decoder_input_ids), self.bias_of(1, T, torch.ones(T, T, dtype=torch.bool).tril())
        hidden = torch.zeros(seen.shape, dtype=x.dtype).masked_fill(~seen, torch.finfo(x.dtype).min)
        for block in self.decoder:
            x = block(x, bias, memory, hidden)
        logits = F.linear(self.norms[1](x) * WIDTH**-0.5, self.shared.weight)
        out = {"logits": logits}
        if labels is not None:
            out["loss"] = F.cross_entropy(logits.view(-1, VOCAB), labels.view(-1), ignore_index=-100)
        return out


# parts for the models below


def clones(module: nn.Module, N: int) -> nn.ModuleList:  # noqa: N803
    return nn.ModuleList([copy.deepcopy(module) for _ in range(N)])


class MultiHeadAttentionLayer(nn.Module):
    """bentrevett's: returns the attention too; `mask` is 1 or True where a key may be attended."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.fc_q, self.fc_k, self.fc_v, self.fc_o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.dropout, self.scale = nn.Dropout(dropout), math.sqrt(HEAD)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        Q, K, V = heads_of(self.fc_q(query)), heads_of(self.fc_k(key)), heads_of(self.fc_v(value))  # noqa: N806
        energy = torch.matmul(Q, K.permute(0, 1, 3, 2)) / self.scale
        if mask is not None:
            energy = energy.masked_fill(mask == 0, -1e10)
        attention = torch.softmax(energy, dim=-1)
        x = torch.matmul(self.dropout(attention), V).permute(0, 2, 1, 3).contiguous().view(len(query), -1, WIDTH)
        return self.fc_o(x), attention


class Feedforward(nn.Sequential):
    def __init__(self, activation: nn.Module | None = None, width: int = 64) -> None:
        super().__init__(nn.Linear(WIDTH, width), activation or nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, WIDTH))


class EncoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn_layer_norm, self.ff_layer_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.self_attention, self.positionwise_feedforward = MultiHeadAttentionLayer(), Feedforward()
        self.dropout = nn.Dropout(0.1)

    def forward(self, src: Tensor, src_mask: Tensor | None) -> Tensor:
        _src, _ = self.self_attention(src, src, src, src_mask)
        src = self.self_attn_layer_norm(src + self.dropout(_src))
        return self.ff_layer_norm(src + self.dropout(self.positionwise_feedforward(src)))


class DecoderLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norms, self.dropout = clones(nn.LayerNorm(WIDTH), 3), nn.Dropout(0.1)
        self.self_attention, self.encoder_attention = MultiHeadAttentionLayer(), MultiHeadAttentionLayer()
        self.positionwise_feedforward = Feedforward()

    def forward(self, trg: Tensor, enc_src: Tensor, trg_mask: Tensor, src_mask: Tensor) -> tuple[Tensor, Tensor]:
        trg = self.norms[0](trg + self.dropout(self.self_attention(trg, trg, trg, trg_mask)[0]))
        _trg, attention = self.encoder_attention(trg, enc_src, enc_src, src_mask)
        trg = self.norms[1](trg + self.dropout(_trg))
        return self.norms[2](trg + self.dropout(self.positionwise_feedforward(trg))), attention


class Embedded(nn.Module):
    """Scaled tokens and learned positions."""

    def __init__(self) -> None:
        super().__init__()
        self.tok_embedding, self.pos_embedding = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.dropout = nn.Dropout(0.1)
        nn.init.normal_(self.tok_embedding.weight, std=WIDTH**-0.5)
        nn.init.normal_(self.pos_embedding.weight, std=0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        pos = torch.arange(0, tokens.shape[1]).unsqueeze(0).repeat(len(tokens), 1)
        return self.dropout(self.tok_embedding(tokens) * math.sqrt(WIDTH) + self.pos_embedding(pos))


# bentrevett's seq2seq: masks made from the padding tokens, logits and attention returned


class Seq2Seq(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.src_pad_idx, self.trg_pad_idx = 1, 1
        self.encoder_embedding, self.decoder_embedding = Embedded(), Embedded()
        self.encoder_layers, self.decoder_layers = clones(EncoderLayer(), LAYERS), clones(DecoderLayer(), LAYERS)
        self.fc_out = nn.Linear(WIDTH, VOCAB)
        for name, weight in self.named_parameters():
            if weight.dim() > 1 and "embedding" not in name:
                nn.init.xavier_uniform_(weight)

    def make_src_mask(self, src: Tensor) -> Tensor:
        return (src != self.src_pad_idx).unsqueeze(1).unsqueeze(2)

    def make_trg_mask(self, trg: Tensor) -> Tensor:
        trg_len = trg.shape[1]
        trg_sub_mask = torch.tril(torch.ones((trg_len, trg_len), device=trg.device)).bool()
        return (trg != self.trg_pad_idx).unsqueeze(1).unsqueeze(2) & trg_sub_mask

    def forward(self, src: Tensor, trg: Tensor) -> tuple[Tensor, Tensor]:
        src_mask, trg_mask = self.make_src_mask(src), self.make_trg_mask(trg)
        enc_src, trg = self.encoder_embedding(src), self.decoder_embedding(trg)
        for layer in self.encoder_layers:
            enc_src = layer(enc_src, src_mask)
        for layer in self.decoder_layers:
            trg, attention = layer(trg, enc_src, trg_mask, src_mask)
        return self.fc_out(trg), attention


# fairseq: lengths beside the source, the target called `prev_output_tokens`, logits with a dict of extras, time first
# inside


class FairseqModel(nn.Module):
    padding_idx = 1

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens, self.embed_scale = nn.Embedding(VOCAB, WIDTH, padding_idx=1), math.sqrt(WIDTH)
        nn.init.normal_(self.embed_tokens.weight, std=WIDTH**-0.5)
        nn.init.zeros_(self.embed_tokens.weight[1].data)
        angles = torch.arange(CONTEXT + 2)[:, None] * torch.exp(torch.arange(16) * -(math.log(10000) / 15))
        table = torch.cat([angles.sin(), angles.cos()], dim=1)
        table[1] = 0.0
        self.register_buffer("embed_positions", table)
        settings: dict[str, Any] = {"d_model": WIDTH, "nhead": HEADS, "dim_feedforward": 64}
        self.encoder = clones(nn.TransformerEncoderLayer(**settings), LAYERS)
        self.decoder = clones(nn.TransformerDecoderLayer(**settings), LAYERS)

    def embed(self, tokens: Tensor) -> Tensor:
        """[T, B, D]; positions count from behind the padding index, and padding has none."""
        real = tokens.ne(self.padding_idx)
        positions = (torch.cumsum(real, dim=1) * real) + self.padding_idx
        return (self.embed_scale * self.embed_tokens(tokens) + self.embed_positions[positions]).transpose(0, 1)

    def forward(
        self, src_tokens: Tensor, src_lengths: Tensor, prev_output_tokens: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        padding = src_tokens.eq(self.padding_idx)[:, : int(src_lengths.max())]
        memory = self.embed(src_tokens)
        for layer in self.encoder:
            memory = layer(memory, src_key_padding_mask=padding)
        x = self.embed(prev_output_tokens)
        future = torch.triu(torch.full((len(x), len(x)), float("-inf")), 1)
        for layer in self.decoder:
            x = layer(x, memory, tgt_mask=future, memory_key_padding_mask=padding)
        return F.linear(x.transpose(0, 1), self.embed_tokens.weight), {"attn": None, "inner_states": [x]}


# the annotated Transformer, in which log-probabilities are made by another module that `forward` leaves to the caller


class Generator(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Linear(WIDTH, VOCAB)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.proj(x), dim=-1)


class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.src_embed, self.tgt_embed, self.generator = Embedded(), Embedded(), Generator()
        self.encoder, self.decoder = clones(EncoderLayer(), LAYERS), clones(DecoderLayer(), LAYERS)

    def forward(self, src: Tensor, tgt: Tensor, src_mask: Tensor, tgt_mask: Tensor) -> Tensor:
        return self.decode(self.encode(src, src_mask), src_mask, tgt, tgt_mask)

    def encode(self, src: Tensor, src_mask: Tensor) -> Tensor:
        x = self.src_embed(src)
        for layer in self.encoder:
            x = layer(x, src_mask)
        return x

    def decode(self, memory: Tensor, src_mask: Tensor, tgt: Tensor, tgt_mask: Tensor) -> Tensor:
        x = self.tgt_embed(tgt)
        for layer in self.decoder:
            x, _ = layer(x, memory, tgt_mask, src_mask)
        return x


# ALBERT: a narrow embedding, one layer for all, a masked language model's head


class AlbertMLM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pad_token_id = 0
        self.word_embeddings, self.position_embeddings = nn.Embedding(VOCAB, 16), nn.Embedding(CONTEXT, 16)
        self.layer_norm, self.mapping_in = nn.LayerNorm(16, eps=1e-12), nn.Linear(16, WIDTH)
        self.layer, self.dense = EncoderLayer(), nn.Linear(WIDTH, 16)
        self.head_norm, self.bias = nn.LayerNorm(16), nn.Parameter(torch.zeros(VOCAB))
        for table in (self.word_embeddings, self.position_embeddings):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        if attention_mask is None:
            attention_mask = (input_ids != self.pad_token_id).long()
        x = self.word_embeddings(input_ids) + self.position_embeddings(torch.arange(input_ids.size(1)))
        x = self.mapping_in(self.layer_norm(x))
        for _ in range(3):
            x = self.layer(x, attention_mask[:, None, None, :])
        return F.linear(self.head_norm(F.gelu(self.dense(x))), self.word_embeddings.weight, self.bias)


# classifiers: a token in front, and a mean over what is no padding


class TextClassifier(nn.Module):
    """`pool`: "cls" puts a learned vector in front, "mean" takes the mean over real tokens."""

    def __init__(self, pool: str = "cls", num_labels: int = 4) -> None:
        super().__init__()
        self.pad_idx, self.pool = 0, pool
        self.embedding, self.cls_token = nn.Embedding(VOCAB, WIDTH, padding_idx=0), None
        self.pos = nn.Parameter(torch.randn(1, CONTEXT + 1, WIDTH) * 0.02)
        if pool == "cls":
            self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.layers, self.norm = clones(EncoderLayer(), LAYERS), nn.LayerNorm(WIDTH)
        self.classifier = nn.Sequential(
            nn.Dropout(0.1), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, num_labels)
        )

    def forward(self, text: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        real, x = text != self.pad_idx, self.embedding(text)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
            real = torch.cat([real.new_ones(len(x), 1), real], dim=1)
        x = x + self.pos[:, : x.size(1)]
        for layer in self.layers:
            x = layer(x, real[:, None, None])
        x = self.norm(x)
        weights = real[..., None].to(x.dtype)
        pooled = x[:, 0] if self.pool == "cls" else (x * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        out = {"logits": self.classifier(pooled)}
        return out if labels is None else out | {"loss": F.cross_entropy(out["logits"], labels)}


# decoders with one odd layer each


class OddBlock(nn.Module):
    """`kind`: deep (DeepNorm), sub (Magneto's norms inside), relative (Transformer-XL), linear (no softmax), prefix,
    cosine (scores of unit vectors times a learned number a head)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.alpha, beta = kind, (2 * LAYERS) ** 0.25, (8 * LAYERS) ** -0.25
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 64), nn.Linear(64, WIDTH)
        self.norms = clones(nn.LayerNorm(WIDTH), 2)
        if kind == "deep":
            for part in (self.fc1, self.fc2, self.out):
                nn.init.xavier_normal_(part.weight, gain=beta)
        if kind == "sub":
            self.inner_attn_ln, self.ffn_layernorm = nn.LayerNorm(WIDTH), nn.LayerNorm(64)
        if kind == "relative":
            self.r_emb = nn.Parameter(torch.randn(CONTEXT, HEADS, HEAD) * 0.02)
            self.r_w_bias, self.r_r_bias = (
                nn.Parameter(torch.zeros(HEADS, 1, HEAD)),
                nn.Parameter(torch.zeros(HEADS, 1, HEAD)),
            )
        if kind == "cosine":
            self.logit_scale = nn.Parameter(torch.log(10 * torch.ones(HEADS, 1, 1)))

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        T = x.shape[1]  # noqa: N806
        q, k, v = (heads_of(part) for part in self.qkv(x).chunk(3, dim=-1))
        if self.kind == "linear":
            q, k = F.elu(q) + 1, F.elu(k) + 1
            kv = torch.einsum("bhtd,bhte->bhtde", k, v).cumsum(dim=2)
            z = 1 / torch.einsum("bhtd,bhtd->bht", q, k.cumsum(dim=2))
            return self.out(torch.einsum("bhtd,bhtde,bht->bhte", q, kv, z).transpose(1, 2).flatten(2))
        if self.kind == "relative":
            rel = torch.einsum("bhtd,rhd->bhtr", q + self.r_r_bias, self.r_emb[:T].flip(0))
            rel = F.pad(rel, (1, 0)).view(len(x), HEADS, T + 1, T)[:, :, 1:].reshape(len(x), HEADS, T, T)
            scores = ((q + self.r_w_bias) @ k.transpose(-1, -2) + rel) / HEAD**0.5
        elif self.kind == "cosine":
            scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-1, -2)
            scores = scores * self.logit_scale.clamp(max=math.log(100.0)).exp()
        else:
            scores = q @ k.transpose(-1, -2) / HEAD**0.5
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
        out = (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)
        return self.out(self.inner_attn_ln(out) if self.kind == "sub" else out)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.kind == "deep":
            x = self.norms[0](self.alpha * x + self.attend(x, mask))
            return self.norms[1](self.alpha * x + self.fc2(F.gelu(self.fc1(x))))
        x = x + self.attend(self.norms[0](x), mask)
        hidden = F.gelu(self.fc1(self.norms[1](x)))
        return x + self.fc2(self.ffn_layernorm(hidden) if self.kind == "sub" else hidden)


class OddDecoder(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.tok, self.head = kind, nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB)
        self.pos = None if kind == "relative" else nn.Embedding(CONTEXT, WIDTH)
        self.blocks, self.norm = nn.ModuleList([OddBlock(kind) for _ in range(LAYERS)]), nn.LayerNorm(WIDTH)

    def hidden(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.tok(tokens)
        if self.pos is not None:
            x = x + self.pos(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x, mask)
        return x if self.kind == "deep" else self.norm(x)

    def forward(self, tokens: Tensor) -> Tensor:
        T = tokens.shape[1]  # noqa: N806
        return self.head(self.hidden(tokens, torch.ones(T, T, dtype=torch.bool).tril()))


class DeepDecoder(OddDecoder):
    """DeepNorm ends with a norm, so the decoder has none of its own."""

    def __init__(self) -> None:
        super().__init__("deep")
        del self.norm


class PrefixLM(OddDecoder):
    """UniLM: all of the prefix is seen by all of it; without a prefix the model is causal."""

    def forward(self, tokens: Tensor, prefix_len: int = 0) -> Tensor:
        T = tokens.shape[1]  # noqa: N806
        mask = torch.ones(T, T, dtype=torch.bool).tril()
        mask[:, :prefix_len] = True
        return self.head(self.hidden(tokens, mask))


class MaskFromCaller(OddDecoder):
    """`forward(x, mask)`: the caller says who sees whom, by True or 1 where one may attend, or by what is added."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.head(self.hidden(x, mask if self.kind == "additive" else mask.bool()))


# mixtures of experts


class SwitchDecoder(OddDecoder):
    """Switch: the best expert alone, times its gate; a loss that balances them is returned beside the logits."""

    def __init__(self, dense: bool) -> None:
        super().__init__("plain")
        self.dense, self.gates = dense, clones(nn.Linear(WIDTH, 3), LAYERS)
        self.experts = nn.ModuleList([clones(Feedforward(nn.GELU(), 48), 3) for _ in range(LAYERS)])
        for gate in self.gates:
            nn.init.normal_(gate.weight, std=0.1)
        for block in self.blocks:
            del block.fc1, block.fc2

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        T = tokens.shape[1]  # noqa: N806
        mask = torch.ones(T, T, dtype=torch.bool).tril()
        x, balance = self.tok(tokens) + self.pos(torch.arange(T)), torch.zeros(())
        for block, gate, experts in zip(self.blocks, self.gates, self.experts, strict=True):
            x = x + block.attend(block.norms[0](x), mask)
            h = block.norms[1](x)
            probs = gate(h).softmax(dim=-1)
            chosen = F.one_hot(probs.argmax(-1), 3).to(probs.dtype)
            balance = balance + 3 * (chosen.mean((0, 1)) * probs.mean((0, 1))).sum()
            weights = probs if self.dense else probs * chosen
            x = x + sum(weights[..., i : i + 1] * expert(h) for i, expert in enumerate(experts))
        return self.head(self.norm(x)), balance


MODELS: dict[str, Callable[[], nn.Module]] = {
    "T5": partial(seeded, T5),
    "bentrevett's seq2seq": partial(seeded, Seq2Seq),
    "fairseq": partial(seeded, FairseqModel),
    "annotated Transformer, generator beside": partial(seeded, EncoderDecoder),
    "ALBERT": partial(seeded, AlbertMLM),
    "classifier, token in front": partial(seeded, TextClassifier),
    "classifier, mean of real tokens": partial(seeded, TextClassifier, "mean"),
    "DeepNorm": partial(seeded, DeepDecoder),
    "Magneto": partial(seeded, OddDecoder, "sub"),
    "Transformer-XL's distances": partial(seeded, OddDecoder, "relative"),
    "linear attention": partial(seeded, OddDecoder, "linear"),
    "cosine attention": partial(seeded, OddDecoder, "cosine"),
    "prefix language model": partial(seeded, PrefixLM, "prefix"),
    "mask from the caller": partial(seeded, MaskFromCaller, "zeros and ones"),
    "additive mask from the caller": partial(seeded, MaskFromCaller, "additive"),
    "switch": partial(seeded, SwitchDecoder, False),
    "dense experts": partial(seeded, SwitchDecoder, True),
}
