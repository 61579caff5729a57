"""A GPT that is one class with all it needs: its mask, its losses, a step with a cache, and greedy writing."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.recognise import recognise
from clearformer.checks.subject import Subject

PAD = 0

KeysAndValues = tuple[Tensor, Tensor]


class Attention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor, past: KeysAndValues | None) -> tuple[Tensor, KeysAndValues]:
        q, k, v = self.split(self.query(x)), self.split(self.key(x)), self.split(self.value(x))
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2)), (k, v)


class Layer(nn.Module):
    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, num_heads)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, past: KeysAndValues | None) -> tuple[Tensor, KeysAndValues]:
        attended, present = self.attention(self.norm_1(x), mask, past)
        x = x + self.dropout(attended)
        return x + self.dropout(self.feed_forward(self.norm_2(x))), present


class LanguageModel(nn.Module):
    def __init__(self, vocab_size: int = 23, context: int = 24, width: int = 32, num_layers: int = 2) -> None:
        super().__init__()
        self.context, self.pad_idx = context, PAD
        self.tokens, self.positions = nn.Embedding(vocab_size, width), nn.Embedding(context, width)
        self.layers = nn.ModuleList([Layer(width, 4, 0.1) for _ in range(num_layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab_size, bias=False)
        for table in (self.tokens, self.positions, self.head):
            nn.init.normal_(table.weight, std=0.02)

    def run(
        self, ids: Tensor, mask: Tensor, cache: list[KeysAndValues] | None, position_ids: Tensor | None = None
    ) -> tuple[Tensor, list[KeysAndValues]]:
        """Hidden states of the tokens, which follow those in the cache, and all keys and values."""
        start = 0 if cache is None else cache[0][0].shape[2]
        if start + ids.shape[1] > self.context:
            raise ValueError(f"at most {self.context} tokens were expected, found {start + ids.shape[1]}")
        where = torch.arange(start, start + ids.shape[1]) if position_ids is None else position_ids
        x = self.tokens(ids) + self.positions(where)
        presents = []
        for index, layer in enumerate(self.layers):
            x, present = layer(x, mask, None if cache is None else cache[index])
            presents.append(present)
        return self.norm(x), presents

    def causal_mask(self, queries: int, keys: int) -> Tensor:
        return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)

    def forward(self, ids: Tensor, position_ids: Tensor | None = None) -> Tensor:
        """Logits [B, T, V]."""
        return self.head(self.run(ids, self.causal_mask(ids.shape[1], ids.shape[1]), None, position_ids)[0])

    def next_logits(self, ids: Tensor) -> Tensor:
        """Logits [B, V] of the token that follows."""
        return self.head(self.run(ids, self.causal_mask(ids.shape[1], ids.shape[1]), None)[0][:, -1])

    def loss(self, ids: Tensor) -> Tensor:
        """Each token predicts the next one, unless that is padding."""
        return self.token_loss(self(ids[:, :-1]), ids[:, 1:])

    def token_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=self.pad_idx)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:  # noqa: ARG002
        inputs, targets = batch
        losses = F.cross_entropy(self(inputs).transpose(1, 2), targets, reduction="none")
        real = targets != self.pad_idx
        return (losses * real).sum() / real.sum()

    def decode_step(self, ids: Tensor, cache: list[KeysAndValues] | None) -> tuple[Tensor, list[KeysAndValues]]:
        """Logits [B, T, V] of tokens that follow those in the cache, and the cache extended by them."""
        past = 0 if cache is None else cache[0][0].shape[2]
        x, cache = self.run(ids, self.causal_mask(ids.shape[1], past + ids.shape[1]), cache)
        return self.head(x), cache

    def next_token(self, token: Tensor, cache: list[KeysAndValues] | None) -> tuple[Tensor, list[KeysAndValues]]:
        """Logits [B, V] of one token [B] that follows those in the cache, and the cache extended by it."""
        logits, extended = self.decode_step(token[:, None], cache)
        return logits[:, -1], extended

    @torch.no_grad()
    def generate(self, ids: Tensor, max_new_tokens: int) -> Tensor:
        for _ in range(max_new_tokens):
            logits = self(ids[:, -self.context :])[:, -1]
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
        return ids

    @torch.no_grad()
    def sample(self, ids: Tensor, max_new_tokens: int, temperature: float = 1.0) -> Tensor:
        """The new tokens alone, computed with a cache."""
        logits, cache = self.decode_step(ids, None)
        new: list[Tensor] = []
        while len(new) < max_new_tokens:
            new.append(torch.multinomial((logits[:, -1] / temperature).softmax(-1), 1))
            if len(new) < max_new_tokens:
                logits, cache = self.decode_step(new[-1], cache)
        return torch.cat(new, dim=1)


def subject() -> Subject:
    torch.manual_seed(0)
    return recognise(LanguageModel())
