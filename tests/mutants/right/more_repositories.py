"""Further habits of repositories: a lecture's character model, activations of another order of axes, a body and a head
in two modules, memory tokens in front, a dictionary as the batch, predictions under names of their own."""

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from right._seeded import seeded
from torch import Tensor, nn

VOCAB, CONTEXT, WIDTH, HEADS, LAYERS = 47, 24, 32, 4, 2


# a lecture's character model: heads in a list, the mask as a buffer named `tril`, everything from module constants


class Head(nn.Module):
    def __init__(self, head_size: int) -> None:
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(WIDTH, head_size, bias=False) for _ in range(3))
        self.register_buffer("tril", torch.tril(torch.ones(CONTEXT, CONTEXT)))
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        _, T, _ = x.shape  # noqa: N806
        k, q = self.key(x), self.query(x)
        wei = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5
        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))
        return self.dropout(F.softmax(wei, dim=-1)) @ self.value(x)


class LectureBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sa = nn.ModuleList([Head(WIDTH // HEADS) for _ in range(HEADS)])
        self.proj, self.drop = nn.Linear(WIDTH, WIDTH), nn.Dropout(0.2)
        self.ffwd = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH), nn.Dropout(0.2))
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.ln1(x)
        x = x + self.drop(self.proj(torch.cat([head(normed) for head in self.sa], dim=-1)))
        return x + self.ffwd(self.ln2(x))


class BigramLanguageModel(nn.Module):
    """Logits [B · T, V] where targets are given, as the lecture leaves them."""

    def __init__(self) -> None:
        super().__init__()
        self.token_embedding_table = nn.Embedding(VOCAB, WIDTH)
        self.position_embedding_table = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*[LectureBlock() for _ in range(LAYERS)])
        self.ln_f, self.lm_head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCAB)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        B, T = idx.shape  # noqa: N806
        x = self.token_embedding_table(idx) + self.position_embedding_table(torch.arange(T))
        logits = self.lm_head(self.ln_f(self.blocks(x)))
        if targets is None:
            return logits, None
        logits = logits.view(B * T, -1)
        return logits, F.cross_entropy(logits, targets.view(B * T))

    def generate(self, idx: Tensor, max_new_tokens: int) -> Tensor:
        for _ in range(max_new_tokens):
            logits, _ = self(idx[:, -CONTEXT:])
            probs = F.softmax(logits[:, -1, :], dim=-1)
            idx = torch.cat((idx, torch.multinomial(probs, num_samples=1)), dim=1)
        return idx


# convolutions of width 1 in place of linear layers: activations [B, D, T]


class ConvBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.GroupNorm(1, WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Conv1d(WIDTH, 3 * WIDTH, 1), nn.Conv1d(WIDTH, WIDTH, 1)
        self.up, self.down = nn.Conv1d(WIDTH, 64, 1), nn.Conv1d(64, WIDTH, 1)

    def norm(self, x: Tensor) -> Tensor:
        """Over the channels of each position; a GroupNorm would mix positions."""
        return self.norm_2(x.transpose(1, 2)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[-1]  # noqa: N806
        q, k, v = (part.unflatten(1, (HEADS, -1)) for part in self.qkv(self.norm(x)).chunk(3, dim=1))
        scores = torch.einsum("bhet,bhes->bhts", q, k) / math.sqrt(q.shape[2])
        weights = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf).softmax(-1)
        x = x + self.out(torch.einsum("bhts,bhes->bhet", weights, v).flatten(1, 2))
        return x + self.down(F.gelu(self.up(self.norm(x))))


class ConvDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.pos = nn.Embedding(VOCAB, WIDTH), nn.Parameter(torch.randn(WIDTH, CONTEXT) * 0.1)
        self.layers, self.to_logits = nn.ModuleList([ConvBlock() for _ in range(LAYERS)]), nn.Conv1d(WIDTH, VOCAB, 1)
        for layer in self.layers:
            del layer.norm_1

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).transpose(1, 2) + self.pos[:, : x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return self.to_logits(x).transpose(1, 2)


# a body that returns a named tuple and a head around it; the encoder of a masked language model, with token types


class BodyOutput(NamedTuple):
    last_hidden_state: Tensor
    pooler_output: Tensor


class Body(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 64, batch_first=True, norm_first=causal, activation="gelu")
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.words, self.places = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.types, self.pooler = nn.Embedding(2, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, ids: Tensor, types: Tensor | None, padding: Tensor | None) -> BodyOutput:
        T = ids.shape[1]  # noqa: N806
        types = torch.zeros_like(ids) if types is None else types
        x = self.words(ids) + self.places(torch.arange(T)) + self.types(types)
        mask = torch.ones(T, T, dtype=torch.bool).triu(1) if self.causal else None
        x = self.layers(x, mask=mask, src_key_padding_mask=padding)
        return BodyOutput(x, torch.tanh(self.pooler(x[:, 0])))


class Pretraining(nn.Module):
    """Masked tokens and the next sentence, as codertimo's BERT returns them: the sentence first."""

    def __init__(self) -> None:
        super().__init__()
        self.bert, self.next_sentence, self.mask_lm = Body(False), nn.Linear(WIDTH, 2), nn.Linear(WIDTH, VOCAB)

    def forward(self, x: Tensor, segment_label: Tensor) -> tuple[Tensor, Tensor]:
        out = self.bert(x, segment_label, x == 0)
        return self.next_sentence(out.pooler_output), self.mask_lm(out.last_hidden_state)


class OrderedOutputs(nn.Module):
    """An OrderedDict with the prediction under a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = Body(True), nn.Linear(WIDTH, VOCAB)
        del self.body.pooler, self.body.types

    def forward(self, tokens: Tensor) -> OrderedDict[str, Tensor]:
        T = tokens.shape[1]  # noqa: N806
        x = self.body.words(tokens) + self.body.places(torch.arange(T))
        x = self.body.layers(x, mask=torch.ones(T, T, dtype=torch.bool).triu(1))
        return OrderedDict(prediction_logits=self.head(x), features=x)


class BatchDict(nn.Module):
    """`forward(batch)` reads a dictionary, as a trainer's collate function makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = OrderedOutputs()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.inner(batch["input_ids"])["prediction_logits"]


class MemoryTokens(nn.Module):
    """Learned vectors in front, which all tokens see and which are cut off again."""

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.body, self.head = nn.Parameter(torch.randn(3, WIDTH)), Body(True), nn.Linear(WIDTH, VOCAB)
        del self.body.pooler, self.body.types
        nn.init.normal_(self.body.words.weight, std=0.5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.body.words(ids) + self.body.places(torch.arange(ids.shape[1]))
        x = torch.cat([self.memory.expand(len(ids), -1, -1), x], dim=1)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        return self.head(self.body.layers(x, mask=mask)[:, 3:])


class Regularised(nn.Module):
    """A loss from a method that wants logits [B, V, T], with a z-loss beside it that is switched off."""

    def __init__(self, z: float = 0.0) -> None:
        super().__init__()
        self.inner, self.z = MemoryTokens(), z

    def forward(self, ids: Tensor) -> Tensor:
        return self.inner(ids)

    def loss(self, ids: Tensor, labels: Tensor) -> Tensor:
        logits = self(ids).transpose(1, 2)
        return F.cross_entropy(logits, labels, ignore_index=-100) + self.z * logits.logsumexp(1).square().mean()


MODELS: dict[str, Callable[[], nn.Module]] = {
    "a lecture's character model": partial(seeded, BigramLanguageModel),
    "convolutions of width one": partial(seeded, ConvDecoder),
    "codertimo's BERT": partial(seeded, Pretraining),
    "an ordered dictionary of outputs": partial(seeded, OrderedOutputs),
    "a dictionary as the batch": partial(seeded, BatchDict),
    "memory tokens in front": partial(seeded, MemoryTokens),
    "a loss of transposed logits": partial(seeded, Regularised),
}
