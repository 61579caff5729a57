"""torch.nn's own parts, and models that people build of them."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from right._seeded import seeded
from torch import Tensor, nn

VOCAB, CONTEXT, WIDTH, HEADS, LAYERS = 41, 24, 32, 4, 2


def layer(family: type[nn.Module], **settings: Any) -> nn.Module:
    return family(**{"d_model": WIDTH, "nhead": HEADS, "dim_feedforward": 64, "batch_first": True} | settings)


def encoder(**settings: Any) -> nn.Module:
    return nn.TransformerEncoder(layer(nn.TransformerEncoderLayer, **settings), LAYERS, enable_nested_tensor=False)


def decoder(**settings: Any) -> nn.Module:
    return nn.TransformerDecoder(layer(nn.TransformerDecoderLayer, **settings), LAYERS)


def pair(**settings: Any) -> nn.Module:
    return layer(nn.Transformer, num_encoder_layers=LAYERS, num_decoder_layers=LAYERS, **settings)


class PositionalEncoding(nn.Module):
    """Sines and cosines, added along the first axis as in the tutorial [T, B, D], or along the second."""

    def __init__(self, batch_first: bool, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout, self.batch_first = nn.Dropout(dropout), batch_first
        position = torch.arange(CONTEXT).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, WIDTH, 2) * (-math.log(10000.0) / WIDTH))
        pe = torch.zeros(CONTEXT, WIDTH)
        pe[:, 0::2], pe[:, 1::2] = torch.sin(position * div_term), torch.cos(position * div_term)
        self.register_buffer("pe", pe)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + (self.pe[: x.size(1)] if self.batch_first else self.pe[: x.size(0), None]))


class TutorialLM(nn.Module):
    """Tokens [B, T] are turned to [T, B] inside; the causal mask is made in every call."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, WIDTH)
        self.pos_encoder = PositionalEncoding(batch_first=False)
        self.transformer_encoder = encoder(batch_first=False)
        self.linear = nn.Linear(WIDTH, VOCAB)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.uniform_(self.linear.weight, -0.1, 0.1)
        nn.init.zeros_(self.linear.bias)

    def forward(self, src: Tensor) -> Tensor:
        x = self.pos_encoder(self.embedding(src.T) * math.sqrt(WIDTH))
        mask = nn.Transformer.generate_square_subsequent_mask(len(x))
        return self.linear(self.transformer_encoder(x, mask, is_causal=True)).transpose(0, 1)


class CausalLM(nn.Module):
    """A GPT of encoder layers, with learned positions, padding by its token, and a loss that shifts by itself."""

    def __init__(self, norm_first: bool = True, pad_id: int | None = None) -> None:
        super().__init__()
        self.pad_id = pad_id
        self.tokens = nn.Embedding(VOCAB, WIDTH, padding_idx=pad_id)
        self.places = nn.Embedding(CONTEXT, WIDTH)
        self.layers = encoder(norm_first=norm_first, activation="gelu")
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCAB)
        for table in (self.tokens, self.places):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> Any:
        T = input_ids.size(1)  # noqa: N806
        x = self.tokens(input_ids) + self.places(torch.arange(T, device=input_ids.device))
        future = torch.ones(T, T, dtype=torch.bool, device=input_ids.device).triu(1)
        padding = None if self.pad_id is None else input_ids == self.pad_id
        logits = self.head(self.norm(self.layers(x, mask=future, src_key_padding_mask=padding)))
        if labels is None:
            return logits
        loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return {"loss": loss, "logits": logits}


class DecoderOnly(nn.Module):
    """Decoder layers that attend to a few learned vectors beside the past."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCAB, WIDTH), nn.Parameter(torch.randn(CONTEXT, WIDTH) * 0.02)
        self.memory = nn.Parameter(torch.randn(1, 4, WIDTH) * 0.5)
        self.layers = decoder(norm_first=True)
        self.head = nn.Linear(WIDTH, VOCAB)

    def forward(self, x: Tensor) -> Tensor:
        T = x.size(1)  # noqa: N806
        future = nn.Transformer.generate_square_subsequent_mask(T)
        memory = self.memory.expand(len(x), -1, -1)
        return self.head(self.layers(self.tokens(x) + self.places[:T], memory, tgt_mask=future))


class Attention(nn.Module):
    """nn.MultiheadAttention in a block of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.1, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH), nn.Dropout(0.1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        normed = self.norm_1(x)
        x = x + self.attention(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.norm_2(x))


class MultiheadGPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList([Attention() for _ in range(LAYERS)])
        self.ln_f, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCAB, bias=False)
        self.register_buffer("mask", torch.full((CONTEXT, CONTEXT), float("-inf")).triu(1), persistent=False)
        for table in (self.wte, self.wpe):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, idx: Tensor) -> Tensor:
        T = idx.size(1)  # noqa: N806
        x = self.wte(idx) + self.wpe.weight[:T]
        for block in self.blocks:
            x = block(x, self.mask[:T, :T])
        return self.head(self.ln_f(x))


class Seq2Seq(nn.Module):
    """nn.Transformer between embeddings and an output; `own_masks`: made inside, else given by the caller."""

    def __init__(self, own_masks: bool, norm_first: bool = False) -> None:
        super().__init__()
        self.own_masks, self.pad_idx = own_masks, 0
        self.src_tok_emb, self.tgt_tok_emb = nn.Embedding(VOCAB, WIDTH), nn.Embedding(VOCAB + 2, WIDTH)
        self.positional_encoding = PositionalEncoding(batch_first=True)
        self.transformer = pair(norm_first=norm_first)
        self.generator = nn.Linear(WIDTH, VOCAB + 2)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)


class OwnMasks(Seq2Seq):
    def __init__(self, **settings: Any) -> None:
        super().__init__(own_masks=True, **settings)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        future = torch.ones(tgt.size(1), tgt.size(1), dtype=torch.bool).triu(1)
        out = self.transformer(
            self.positional_encoding(self.src_tok_emb(src) * math.sqrt(WIDTH)),
            self.positional_encoding(self.tgt_tok_emb(tgt) * math.sqrt(WIDTH)),
            tgt_mask=future,
            src_key_padding_mask=src == self.pad_idx,
            memory_key_padding_mask=src == self.pad_idx,
            tgt_key_padding_mask=tgt == self.pad_idx,
        )
        return self.generator(out)


class GivenMasks(Seq2Seq):
    """As in the tutorial on translation: all masks are arguments, True and -inf hide."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(own_masks=False, **settings)

    def forward(
        self,
        src: Tensor,
        trg: Tensor,
        src_mask: Tensor,
        tgt_mask: Tensor,
        src_padding_mask: Tensor,
        tgt_padding_mask: Tensor,
        memory_key_padding_mask: Tensor,
    ) -> Tensor:
        src_emb = self.positional_encoding(self.src_tok_emb(src) * math.sqrt(WIDTH))
        tgt_emb = self.positional_encoding(self.tgt_tok_emb(trg) * math.sqrt(WIDTH))
        outs = self.transformer(
            src_emb,
            tgt_emb,
            src_mask,
            tgt_mask,
            None,
            src_padding_mask,
            tgt_padding_mask,
            memory_key_padding_mask,
        )
        return self.generator(outs)


class MaskedLM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.encoder, self.head = encoder(norm_first=True), nn.Linear(WIDTH, VOCAB)

    def forward(self, tokens: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """`padding_mask` [B, T]: True for padding."""
        x = self.tokens(tokens) + self.places(torch.arange(tokens.size(1), device=tokens.device))
        return self.head(self.encoder(x, src_key_padding_mask=padding_mask))


class Classifier(nn.Module):
    """A class of the first token, of the mean, or of a learned token in front."""

    def __init__(self, pooling: str, num_classes: int = 3) -> None:
        super().__init__()
        self.pooling = pooling
        self.tokens = nn.Embedding(VOCAB, WIDTH)
        self.places = nn.Parameter(torch.randn(CONTEXT + 1, WIDTH) * 0.02)
        self.cls = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02) if pooling == "cls" else None
        self.encoder, self.head = encoder(), nn.Linear(WIDTH, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens)
        if self.cls is not None:
            x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)
        x = self.encoder(x + self.places[: x.size(1)])
        return self.head(x.mean(dim=1) if self.pooling == "mean" else x[:, 0])


MODELS: dict[str, Callable[[], nn.Module]] = {
    "encoder": partial(seeded, encoder),
    "encoder, pre-norm, batch second": partial(seeded, encoder, norm_first=True, batch_first=False),
    "decoder": partial(seeded, decoder),
    "decoder, pre-norm": partial(seeded, decoder, norm_first=True),
    "transformer": partial(seeded, pair),
    "transformer, pre-norm, batch second": partial(seeded, pair, norm_first=True, batch_first=False),
    "tutorial's language model": partial(seeded, TutorialLM),
    "causal encoder, pre-norm": partial(seeded, CausalLM),
    "causal encoder, post-norm": partial(seeded, CausalLM, norm_first=False),
    "causal encoder, padding by its token": partial(seeded, CausalLM, pad_id=0),
    "decoder with a learned memory": partial(seeded, DecoderOnly),
    "multi-head attention in blocks": partial(seeded, MultiheadGPT),
    "translation, own masks": partial(seeded, OwnMasks),
    "translation, own masks, pre-norm": partial(seeded, OwnMasks, norm_first=True),
    "translation, given masks": partial(seeded, GivenMasks),
    "masked language model": partial(seeded, MaskedLM),
    "classifier, first token": partial(seeded, Classifier, "first"),
    "classifier, mean": partial(seeded, Classifier, "mean"),
    "classifier, token in front": partial(seeded, Classifier, "cls"),
}
FAST_PATH = (
    "torch's fast path for inference returns NaN where a padded token on the left may attend to nothing; without it, "
    "after torch.backends.mha.set_fastpath_enabled(False), the same modules pass"
)
KNOWN = {
    name: dict.fromkeys(("batches.left-padding", "batches.padding-unseen", "masks.empty-row"), FAST_PATH)
    for name in ("decoder", "decoder, pre-norm", "transformer", "transformer, pre-norm, batch second")
}
