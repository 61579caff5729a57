"""Habits of graykode, RetNet, nGPT, PyTorch's examples, Conformer, Longformer, taggers, mlx-lm, LLMs-from-scratch,
adapters, weight normalisation, local attention, and models that take keyword arguments alone."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from right._seeded import seeded
from right.interfaces import (
    CONTEXT,
    HEAD,
    HEADS,
    LAYERS,
    VOCAB,
    WIDTH,
    Block,
    GatedMLP,
    Stack,
    angles,
    merge,
    mlp,
    rotate,
    small,
    split,
)
from right.interfaces_of_pairs import Attention, FeedForward, causal, sinusoids
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

# graykode's nlp-tutorial: masks from the padding token, logits [B * T, V], and lists of attention


def get_attn_pad_mask(seq_q: Tensor, seq_k: Tensor) -> Tensor:
    return seq_k.eq(0).unsqueeze(1).expand(len(seq_k), seq_q.size(1), seq_k.size(1))


class GraykodeLayer(nn.Module):
    def __init__(self, cross: bool) -> None:
        super().__init__()
        self.attns = nn.ModuleList([Attention() for _ in range(2 if cross else 1)])
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(3 if cross else 2)])
        self.pos_ffn = FeedForward(dropout=0.0)

    def forward(self, x: Tensor, mask: Tensor, memory: Tensor | None = None, memory_mask: Any = None) -> Tensor:
        x = self.norms[0](x + self.attns[0](x, x, ~mask[:, None]))
        if memory is not None:
            x = self.norms[1](x + self.attns[1](x, memory, ~memory_mask[:, None]))
        return self.norms[-1](x + self.pos_ffn(x))


class Graykode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.src_emb, self.tgt_emb = nn.Embedding(VOCAB, WIDTH), nn.Embedding(VOCAB, WIDTH)
        self.pos_emb = nn.Embedding.from_pretrained(sinusoids(CONTEXT + 1, interleaved=True), freeze=True)
        self.encoder = nn.ModuleList([GraykodeLayer(False) for _ in range(LAYERS)])
        self.decoder = nn.ModuleList([GraykodeLayer(True) for _ in range(LAYERS)])
        self.projection = nn.Linear(WIDTH, VOCAB, bias=False)

    def forward(self, enc_inputs: Tensor, dec_inputs: Tensor) -> tuple[Tensor, list[Any], list[Any]]:
        x = self.src_emb(enc_inputs) + self.pos_emb(torch.arange(enc_inputs.size(1)))
        for layer in self.encoder:
            x = layer(x, get_attn_pad_mask(enc_inputs, enc_inputs))
        y, T = self.tgt_emb(dec_inputs) + self.pos_emb(torch.arange(dec_inputs.size(1))), dec_inputs.size(1)  # noqa: N806
        mask = get_attn_pad_mask(dec_inputs, dec_inputs) | ~causal(T)
        for layer in self.decoder:
            y = layer(y, mask, x, get_attn_pad_mask(dec_inputs, enc_inputs))
        logits = self.projection(y)
        return logits.view(-1, logits.size(-1)), [], []


# RetNet: no softmax, but a decay by distance that is another one in each head


class RetNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.qkvg = nn.ModuleList([nn.Linear(WIDTH, 4 * WIDTH, bias=False) for _ in range(LAYERS)])
        self.out = nn.ModuleList([nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)])
        self.ffn, self.norms = nn.ModuleList([mlp() for _ in range(LAYERS)]), nn.ModuleList()
        for _ in range(2 * LAYERS + 1):
            self.norms.append(nn.LayerNorm(WIDTH))
        self.register_buffer("gammas", 1 - torch.exp(torch.linspace(math.log(1 / 8), math.log(1 / 64), HEADS)))
        self.register_buffer("freqs", angles(HEAD), persistent=False)
        small(self)

    def retain(self, i: int, x: Tensor) -> Tensor:
        T = x.shape[1]  # noqa: N806
        q, k, v, g = self.qkvg[i](x).chunk(4, dim=-1)
        cos, sin = self.freqs[:T].cos(), self.freqs[:T].sin()
        q, k, v = rotate(split(q), cos, sin), rotate(split(k), cos, sin), split(v)
        n = torch.arange(T)
        decay = (self.gammas[:, None, None] ** (n[:, None] - n).clamp(min=0)).to(x.dtype) * causal(T)
        y = (q @ k.transpose(-1, -2) * HEAD**-0.5 * decay) @ v
        y = F.layer_norm(y, (HEAD,), eps=1e-6)
        return self.out[i](F.silu(g) * merge(y))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for i in range(LAYERS):
            x = x + self.retain(i, self.norms[2 * i](x))
            x = x + self.ffn[i](self.norms[2 * i + 1](x))
        return self.head(self.norms[-1](x))


# nGPT: everything is of unit length, and moves on the sphere at learned rates


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


class NormalisedGPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte, self.lm_head = nn.Embedding(VOCAB, WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.qkv = nn.ModuleList([nn.Linear(WIDTH, 3 * WIDTH, bias=False) for _ in range(LAYERS)])
        self.proj = nn.ModuleList([nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)])
        self.mlp = nn.ModuleList([GatedMLP() for _ in range(LAYERS)])
        self.alphas = nn.Parameter(torch.full((2 * LAYERS, WIDTH), 0.1))
        self.sqk = nn.Parameter(torch.ones(LAYERS, HEAD))
        self.sz = nn.Parameter(torch.ones(VOCAB))
        self.register_buffer("freqs", angles(HEAD), persistent=False)

    def forward(self, idx: Tensor) -> Tensor:
        h, freqs = unit(self.wte(idx)), self.freqs[: idx.shape[1]]
        for i in range(LAYERS):
            q, k, v = (split(part) for part in self.qkv[i](h).chunk(3, dim=-1))
            q, k = (unit(rotate(part, freqs.cos(), freqs.sin())) * self.sqk[i] for part in (q, k))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=HEAD**0.5)
            h = unit(h + self.alphas[2 * i].abs() * (unit(self.proj[i](merge(y))) - h))
            h = unit(h + self.alphas[2 * i + 1].abs() * (unit(self.mlp[i](h)) - h))
        return F.linear(h, unit(self.lm_head.weight)) * self.sz


class ExamplesTransformer(nn.Transformer):
    """PyTorch's word_language_model as it is now: a subclass of nn.Transformer with time first."""

    def __init__(self) -> None:
        super().__init__(WIDTH, HEADS, num_encoder_layers=LAYERS, num_decoder_layers=0, dim_feedforward=64)
        self.model_type, self.src_mask, self.ninp = "Transformer", None, WIDTH
        self.register_buffer("pe", sinusoids(64, interleaved=True)[:, None])
        self.input_emb = nn.Embedding(VOCAB, WIDTH)
        self.decoder = nn.Linear(WIDTH, VOCAB)
        nn.init.uniform_(self.input_emb.weight, -0.1, 0.1)

    def forward(self, src: Tensor, has_mask: bool = True) -> Tensor:
        if has_mask:
            if self.src_mask is None or self.src_mask.size(0) != len(src):
                self.src_mask = torch.log(torch.tril(torch.ones(len(src), len(src))))
        else:
            self.src_mask = None
        src = self.input_emb(src) * math.sqrt(self.ninp) + self.pe[: len(src)]
        return F.log_softmax(self.decoder(self.encoder(src, mask=self.src_mask)), dim=-1)


class LossFirst(nn.Module):
    """`loss, logits = model(x, y)`, and None for the loss where there are no targets."""

    def __init__(self) -> None:
        super().__init__()
        self.stack, self.head = Stack(0.1), nn.Linear(WIDTH, VOCAB)

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor | None, Tensor]:
        logits = self.head(self.stack(x))
        loss = None if y is None else F.cross_entropy(logits.view(-1, VOCAB), y.view(-1))
        return loss, logits


class CausalConformer(nn.Module):
    """Half a feed-forward before and after, and between attention and it a convolution over the past."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.pos = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.fc = nn.Linear(WIDTH, VOCAB)
        self.ffs = nn.ModuleList([mlp() for _ in range(2 * LAYERS)])
        self.attns = nn.ModuleList([nn.MultiheadAttention(WIDTH, HEADS, batch_first=True) for _ in range(LAYERS)])
        self.point = nn.ModuleList([nn.Conv1d(WIDTH, 2 * WIDTH, 1) for _ in range(LAYERS)])
        self.depth = nn.ModuleList([nn.Conv1d(WIDTH, WIDTH, 3, groups=WIDTH) for _ in range(LAYERS)])
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(5 * LAYERS)])

    def convolve(self, i: int, x: Tensor) -> Tensor:
        x = F.glu(self.point[i](x.transpose(1, 2)), dim=1)
        return F.silu(self.depth[i](F.pad(x, (2, 0)))).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        future = ~causal(x.shape[1])
        x = self.embed(x) + self.pos(torch.arange(x.shape[1]))
        for i in range(LAYERS):
            n = self.norms[5 * i : 5 * i + 5]
            x = x + 0.5 * self.ffs[2 * i](n[0](x))
            y = n[1](x)
            x = x + self.attns[i](y, y, y, attn_mask=future, need_weights=False)[0]
            x = x + self.convolve(i, n[2](x))
            x = n[4](x + 0.5 * self.ffs[2 * i + 1](n[3](x)))
        return self.fc(x)


class LongformerMLM(nn.Module):
    """A window around each token, and tokens that see all and are seen by all."""

    def __init__(self) -> None:
        super().__init__()
        self.stack, self.lm_head = Stack(), nn.Linear(WIDTH, VOCAB)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        global_attention_mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        T, zeros = input_ids.shape[1], torch.zeros_like(input_ids)  # noqa: N806
        real = (zeros + 1 if attention_mask is None else attention_mask).bool()
        everywhere = (zeros if global_attention_mask is None else global_attention_mask).bool()
        near = (torch.arange(T)[:, None] - torch.arange(T)).abs() <= 5
        seen = (near | everywhere[:, None, :] | everywhere[:, :, None]) & real[:, None, :]
        x = self.stack.wte(input_ids) + self.stack.wpe(torch.arange(T))
        mask = torch.zeros((), dtype=x.dtype).masked_fill(~seen[:, None], torch.finfo(x.dtype).min)
        for block in self.stack.blocks:
            x = block(x, mask)
        return {"logits": self.lm_head(self.stack.ln_f(x))}


class Encoded(nn.Module):
    """Hidden states [B, T, D] that see both sides, and no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = Stack(0.1)

    def forward(self, ids: Tensor, real: Tensor | None) -> Tensor:
        x = self.stack.wte(ids) + self.stack.wpe(torch.arange(ids.shape[1]))
        real = torch.ones_like(ids) if real is None else real
        mask = torch.zeros((), dtype=x.dtype).masked_fill(real[:, None, None] == 0, torch.finfo(x.dtype).min)
        for block in self.stack.blocks:
            x = block(x, mask)
        return self.stack.ln_f(x)


class Sentiment(nn.Module):
    """One number a text."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.fc = Encoded(), nn.Linear(WIDTH, 1)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return self.fc(self.encoder(input_ids, attention_mask)[:, 0]).squeeze(-1)


class Tagger(nn.Module):
    """Five labels for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.dropout, self.classifier = Encoded(), nn.Dropout(0.1), nn.Linear(WIDTH, 5)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> dict[str, Tensor]:
        logits = self.classifier(self.dropout(self.encoder(input_ids, attention_mask)))
        if labels is None:
            return {"logits": logits}
        return {"loss": F.cross_entropy(logits.view(-1, 5), labels.view(-1), ignore_index=-100), "logits": logits}


class QuestionAnswering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.qa_outputs = Encoded(), nn.Linear(WIDTH, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        start, end = self.qa_outputs(self.encoder(input_ids, attention_mask)).unbind(-1)
        return {"start_logits": start, "end_logits": end}


# mlx-lm: a list of caches, objects that are written to in place; logits alone are returned


class LayerCache:
    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.offset = 0

    def update_and_fetch(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        self.keys = keys if self.keys is None else torch.cat([self.keys, keys], dim=2)
        self.values = values if self.values is None else torch.cat([self.values, values], dim=2)
        self.offset += keys.shape[2]
        return self.keys, self.values


class MlxModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(VOCAB, WIDTH)
        self.layers = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm = nn.LayerNorm(WIDTH)
        small(self)

    def make_cache(self) -> list[LayerCache]:
        return [LayerCache() for _ in self.layers]

    def forward(self, inputs: Tensor, cache: list[LayerCache] | None = None) -> Tensor:
        h, offset, T = self.embed_tokens(inputs), 0 if cache is None else cache[0].offset, inputs.shape[1]  # noqa: N806
        freqs = angles(HEAD, offset + T)[offset:]
        seen = torch.ones(T, offset + T, dtype=torch.bool).tril(offset)
        for i, layer in enumerate(self.layers):
            q, k, v = (split(part) for part in layer.qkv(layer.ln_1(h)).chunk(3, dim=-1))
            q, k = (rotate(part, freqs.cos(), freqs.sin()) for part in (q, k))
            if cache is not None:
                k, v = cache[i].update_and_fetch(k, v)
            h = h + layer.out(merge(F.scaled_dot_product_attention(q, k, v, attn_mask=seen)))
            h = h + layer.mlp(layer.ln_2(h))
        return F.linear(self.norm(h), self.embed_tokens.weight)


class FromScratch(nn.Module):
    """LLMs-from-scratch: a dictionary of settings, and a cache on the module that is used where asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.cfg = {"vocab_size": VOCAB, "context_length": CONTEXT, "emb_dim": WIDTH, "drop_rate": 0.1}
        self.tok_emb = nn.Embedding(self.cfg["vocab_size"], self.cfg["emb_dim"])
        self.pos_emb = nn.Embedding(self.cfg["context_length"], self.cfg["emb_dim"])
        self.drop_emb = nn.Dropout(self.cfg["drop_rate"])
        self.trf_blocks = nn.ModuleList([Block(self.cfg["drop_rate"]) for _ in range(LAYERS)])
        self.final_norm, self.out_head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.cache: list[tuple[Tensor, Tensor] | None] = [None] * LAYERS
        self.current_pos = 0

    def reset_kv_cache(self) -> None:
        self.cache, self.current_pos = [None] * LAYERS, 0

    def forward(self, in_idx: Tensor, use_cache: bool = False) -> Tensor:
        T, start = in_idx.shape[1], self.current_pos if use_cache else 0  # noqa: N806
        self.current_pos = start + T if use_cache else self.current_pos
        x = self.drop_emb(self.tok_emb(in_idx) + self.pos_emb(torch.arange(start, start + T)))
        for i, block in enumerate(self.trf_blocks):
            q, k, v = (split(part) for part in block.qkv(block.ln_1(x)).chunk(3, dim=-1))
            if use_cache:
                old = self.cache[i]
                k, v = (k, v) if old is None else (torch.cat([old[0], k], dim=2), torch.cat([old[1], v], dim=2))
                self.cache[i] = (k, v)
            seen = torch.ones(T, k.shape[2], dtype=torch.bool).tril(k.shape[2] - T)
            scores = (q @ k.transpose(2, 3) / k.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
            x = x + block.dropout(block.out(merge(scores.softmax(dim=-1) @ v)))
            x = x + block.dropout(block.mlp(block.ln_2(x)))
        return self.out_head(self.final_norm(x))


class NoMemory(nn.Module):
    """nn.TransformerDecoder without an encoder: its memory is one vector of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.pos = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 64, batch_first=True)
        self.decoder, self.fc = nn.TransformerDecoder(layer, LAYERS), nn.Linear(WIDTH, VOCAB)

    def forward(self, tgt: Tensor) -> Tensor:
        x = self.embedding(tgt) + self.pos(torch.arange(tgt.shape[1]))
        memory = torch.zeros(len(tgt), 1, WIDTH, dtype=x.dtype)
        return self.fc(self.decoder(x, memory, tgt_mask=~causal(tgt.shape[1])))


class LocalAttention(nn.Module):
    """Blocks of four tokens that see themselves and the block before; other lengths are padded inside."""

    size = 4

    def __init__(self) -> None:
        super().__init__()
        self.stack, self.to_logits = Stack(), nn.Linear(WIDTH, VOCAB)

    def attend(self, block: Block, x: Tensor) -> Tensor:
        T, w = x.shape[1], self.size  # noqa: N806
        x = F.pad(x, (0, 0, 0, -T % w))
        q, k, v = (split(part).unflatten(2, (-1, w)) for part in block.qkv(x).chunk(3, dim=-1))
        k, v = (torch.cat([F.pad(part, (0, 0, 0, 0, 1, 0))[:, :, :-1], part], dim=3) for part in (k, v))
        places = torch.arange(x.shape[1]).view(-1, w)
        keys = torch.cat([places - w, places], dim=1)
        seen = (keys[:, None, :] <= places[:, :, None]) & (keys[:, None, :] >= 0)
        scores = (q @ k.transpose(-1, -2) * HEAD**-0.5).masked_fill(~seen, -torch.finfo(x.dtype).max)
        return block.out(merge((scores.softmax(dim=-1) @ v).flatten(2, 3)))[:, :T]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stack.wte(x) + self.stack.wpe(torch.arange(x.shape[1]))
        for block in self.stack.blocks:
            x = x + self.attend(block, block.ln_1(x))
            x = x + block.mlp(block.ln_2(x))
        return self.to_logits(self.stack.ln_f(x))


class KeywordsOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stack, self.head = Stack(0.1), nn.Linear(WIDTH, VOCAB)

    def forward(self, *, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(self.stack(input_ids))
        if labels is None:
            return {"logits": logits}
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": logits}


class LayerDropped(nn.Module):
    """`model(**batch)`; in training a layer is left out now and then."""

    def __init__(self, rate: float = 0.2) -> None:
        super().__init__()
        self.stack, self.head, self.rate = Stack(0.1), nn.Linear(WIDTH, VOCAB), rate

    def forward(self, **batch: Tensor) -> Tensor:
        ids = batch["input_ids"]
        x = self.stack.wte(ids) + self.stack.wpe(torch.arange(ids.shape[1]))
        for block in self.stack.blocks:
            if not self.training or torch.rand(()) >= self.rate:
                x = block(x)
        return self.head(self.stack.ln_f(x))


class WeightNormed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stack, self.head = Stack(0.1), weight_norm(nn.Linear(WIDTH, VOCAB))
        for block in self.stack.blocks:
            weight_norm(block.qkv)
            weight_norm(block.out)

    def forward(self, idx: Tensor) -> Tensor:
        return self.head(self.stack(idx))


class LoRALinear(nn.Module):
    def __init__(self, linear: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.linear, self.scaling = linear.requires_grad_(False), 2.0
        self.lora_A = nn.Parameter(torch.randn(rank, linear.in_features) / rank)
        self.lora_B = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + x @ self.lora_A.T @ self.lora_B.T * self.scaling


class Adapted(nn.Module):
    """A frozen model of which adapters alone are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.stack, self.head = Stack().requires_grad_(False), nn.Linear(WIDTH, VOCAB).requires_grad_(False)
        for block in self.stack.blocks:
            block.qkv, block.out = LoRALinear(block.qkv), LoRALinear(block.out)

    def forward(self, idx: Tensor) -> Tensor:
        return self.head(self.stack(idx))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "graykode's tutorial": partial(seeded, Graykode),
    "RetNet": partial(seeded, RetNet),
    "nGPT": partial(seeded, NormalisedGPT),
    "a subclass of nn.Transformer": partial(seeded, ExamplesTransformer),
    "the loss first": partial(seeded, LossFirst),
    "a causal Conformer": partial(seeded, CausalConformer),
    "Longformer": partial(seeded, LongformerMLM),
    "one number a text": partial(seeded, Sentiment),
    "a tagger": partial(seeded, Tagger),
    "question answering": partial(seeded, QuestionAnswering),
    "mlx-lm": partial(seeded, MlxModel),
    "LLMs-from-scratch": partial(seeded, FromScratch),
    "a decoder without memory": partial(seeded, NoMemory),
    "local attention": partial(seeded, LocalAttention),
    "keywords only": partial(seeded, KeywordsOnly),
    "a batch of keywords, layers dropped": partial(seeded, LayerDropped),
    "weight normalisation": partial(seeded, WeightNormed),
    "LoRA": partial(seeded, Adapted),
}
KNOWN = {
    "a decoder without memory": {
        "parameters.gradients": "its memory is zeros, so that nothing comes of the matrices of cross-attention, as the "
        "report says: only their biases learn"
    }
}
