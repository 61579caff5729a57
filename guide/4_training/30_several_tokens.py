# %% [markdown]
# # 30. Several tokens at once, and the last proof
#
# Several new tokens behind a cache see all that is kept, and each other only backwards; padding needs its mask at every
# step; and the trained weights give the same logits in the package's model.
#
# *25 minutes*
#
# Not every step has one token. A *prompt*, the beginning that a user gives, is known as a whole, and is read faster at
# once than token by token.
#
# Say 4 tokens are kept and 3 are new. Each new one may see all 4 old ones; among the new ones, each sees itself and
# those before it. The mask is a rectangle, $T$ new rows by $P + T$ columns, where $P$ is the number of tokens in the
# cache:
#
# $\text{new token } i \text{ may see place } j \text{ if } j \leq P + i$
#
# $i$ counts the new tokens from 0, and $j$ all places from 0. With $P = 0$ this is the square of stage 19; with one new
# token it is a row in which nothing is hidden.

# %% tags=["code"]
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# %% tags=["code"]
PAD, BEGIN, END = 0, 1, 2


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% [markdown]
# `tril(past)` moves the diagonal to the right by the length of the cache. If that is forgotten, a mask of 3 by 3 meets
# scores of 3 by 7 and fails, which is the lucky case.


# %% tags=["code"]
def causal_mask(length: int, past: int = 0) -> Tensor:
    return torch.ones(length, past + length, dtype=torch.bool).tril(past)


# %% tags=["code"]
def padding_mask(tokens: Tensor) -> Tensor:
    return (tokens != PAD)[:, None, None, :]


# %% tags=["code"]
def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = attention_scores(q, k)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ v


# %% tags=["code"]
def split_heads(x: Tensor, num_heads: int) -> Tensor:
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


# %% tags=["code"]
class LayerCache:
    def __init__(self) -> None:
        self.past: tuple[Tensor, Tensor] | None = None
        self.memory: tuple[Tensor, Tensor] | None = None

    @property
    def length(self) -> int:
        return 0 if self.past is None else self.past[0].shape[2]

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.past is not None:
            k, v = torch.cat((self.past[0], k), dim=2), torch.cat((self.past[1], v), dim=2)
        self.past = k, v
        return k, v


# %% tags=["code"]
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv_projection = nn.Linear(d_model, 3 * d_model)
        self.output_projection = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: LayerCache | None = None) -> Tensor:
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv_projection(x).chunk(3, dim=-1))
        if cache is not None:
            k, v = cache.extend(k, v)
        return self.output_projection(join_heads(attention(q, k, v, mask)))


# %% tags=["code"]
class CrossAttention(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_projection = nn.Linear(d_model, d_model)
        self.kv_projection = nn.Linear(d_model, 2 * d_model)
        self.output_projection = nn.Linear(d_model, d_model)

    def keys_values(self, memory: Tensor, cache: LayerCache | None) -> tuple[Tensor, Tensor]:
        if cache is not None and cache.memory is not None:
            return cache.memory
        k, v = (split_heads(part, self.num_heads) for part in self.kv_projection(memory).chunk(2, dim=-1))
        if cache is not None:
            cache.memory = k, v
        return k, v

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None, cache: LayerCache | None = None) -> Tensor:
        q = split_heads(self.query_projection(x), self.num_heads)
        k, v = self.keys_values(memory, cache)
        return self.output_projection(join_heads(attention(q, k, v, mask)))


# %% tags=["code"]
class FeedForward(nn.Module):
    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, d_ff)
        self.linear2 = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.linear1(x).relu())


# %% tags=["code"]
class LayerNorm(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5) * self.weight + self.bias


# %% tags=["code"]
class PostNormResidual(nn.Module):
    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.norm = LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return self.norm(x + self.dropout(sublayer(x)))


# %% tags=["code"]
class TokenEmbedding(nn.Module):
    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.scale = math.sqrt(d_model)
        self.weight = nn.Parameter(torch.randn(vocab_size, d_model) / self.scale)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.weight) * self.scale


# %% tags=["code"]
def sinusoidal(positions: Tensor, d_model: int) -> Tensor:
    wavelengths = 10_000.0 ** (torch.arange(0, d_model, 2) / d_model)
    angles = positions[:, None] / wavelengths
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


# %% tags=["code"]
class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.attention_residual = PostNormResidual(d_model, dropout)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.feed_forward_residual = PostNormResidual(d_model, dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.attention_residual(x, lambda x: self.attention(x, mask))
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, num_heads, d_ff, dropout) for _ in range(num_layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return x


# %% tags=["code"]
class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.attention_residual = PostNormResidual(d_model, dropout)
        self.cross_attention = CrossAttention(d_model, num_heads)
        self.cross_attention_residual = PostNormResidual(d_model, dropout)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.feed_forward_residual = PostNormResidual(d_model, dropout)

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor,
        memory_mask: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        x = self.attention_residual(x, lambda x: self.attention(x, mask, cache))
        x = self.cross_attention_residual(x, lambda x: self.cross_attention(x, memory, memory_mask, cache))
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Decoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(d_model, num_heads, d_ff, dropout) for _ in range(num_layers))

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        memory_mask: Tensor | None = None,
        cache: list[LayerCache] | None = None,
    ) -> Tensor:
        mask = causal_mask(x.shape[1], 0 if cache is None else cache[0].length)
        for index, layer in enumerate(self.layers):
            x = layer(x, memory, mask, memory_mask, None if cache is None else cache[index])
        return x


# %% tags=["code"]
@dataclass(frozen=True)
class Config:
    vocab_size: int = 37_000
    d_model: int = 512
    num_heads: int = 8
    d_ff: int = 2048
    dropout: float = 0.1
    num_layers: int = 6


# %% tags=["code"]
class Transformer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        sizes = config.d_model, config.num_heads, config.d_ff, config.dropout, config.num_layers
        self.embedding = TokenEmbedding(config.vocab_size, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = Encoder(*sizes)
        self.decoder = Decoder(*sizes)

    def embed(self, tokens: Tensor, past: int = 0) -> Tensor:
        x = self.embedding(tokens)
        return self.dropout(x + sinusoidal(torch.arange(past, past + x.shape[1]), x.shape[2]))

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        mask = padding_mask(source)
        return self.encoder(self.embed(source), mask), mask

    def decode(
        self, target: Tensor, memory: Tensor, memory_mask: Tensor, cache: list[LayerCache] | None = None
    ) -> Tensor:
        past = 0 if cache is None else cache[0].length
        x = self.decoder(self.embed(target, past), memory, memory_mask, cache)
        return F.linear(x, self.embedding.weight)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decode(target, *self.encode(source))


# %% tags=["code"]
class Tokenizer:
    def __init__(self, texts: Iterable[str]) -> None:
        self.characters = sorted(set("".join(texts)))
        self.ids = {character: number for number, character in enumerate(self.characters, start=END + 1)}
        self.vocab_size = END + 1 + len(self.characters)

    def encode(self, text: str) -> list[int]:
        return [BEGIN, *(self.ids[character] for character in text), END]

    def decode(self, tokens: list[int]) -> str:
        text = tokens[: tokens.index(END)] if END in tokens else tokens
        return "".join(self.characters[token - END - 1] for token in text if token > END)


# %% tags=["code"]
def batch(texts: Iterable[str], tokenizer: Tokenizer) -> Tensor:
    rows = [torch.tensor(tokenizer.encode(text)) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


# %% tags=["code"]
def mean_loss(model: Transformer, source: Tensor, target: Tensor) -> Tensor:
    logits = model(source, target[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)


# %% tags=["code"]
def train(
    model: Transformer,
    source: Tensor,
    target: Tensor,
    steps: int,
    batch_size: int = 64,
    peak: float = 3e-3,
    warmup: int = 50,
) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=peak, betas=(0.9, 0.98), eps=1e-9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / warmup, 1 - step / steps))
    losses = []
    for _ in range(steps):
        rows = torch.randint(len(source), (batch_size,))
        loss = mean_loss(model, source[rows], target[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


# %% tags=["code"]
@torch.no_grad()
def evaluate(model: Transformer, source: Tensor, target: Tensor) -> tuple[float, float]:
    model.eval()
    loss = mean_loss(model, source, target).item()
    right = model(source, target[:, :-1]).argmax(-1) == target[:, 1:]
    real = target[:, 1:] != PAD
    return loss, right[real].float().mean().item()


# %% tags=["code"]
@torch.no_grad()
def generate(model: Transformer, source: Tensor, prompt: Tensor, max_tokens: int = 12) -> Tensor:
    memory, memory_mask = model.encode(source)
    cache = [LayerCache() for _ in model.decoder.layers]
    new = target = prompt
    while target.shape[1] <= max_tokens and not (target == END).any(1).all():
        new = model.decode(new, memory, memory_mask, cache)[:, -1:].argmax(-1)
        target = torch.cat((target, new), dim=1)
    return target


# %%
import os

from clearformer.config import TransformerConfig
from clearformer.data.dates import dates
from clearformer.models.build import load_weights, weights_of
from clearformer.models.transformer import Transformer as PackageTransformer

FULL = os.environ.get("CLEARFORMER_GUIDE") != "short"

# %%
corpus = dates()
tokenizer = Tokenizer(text for pair in corpus.train for text in pair)
train_pairs, test_pairs = ([pair for pair in part if len(pair[0]) <= 11] for part in (corpus.train, corpus.test))
source, target = (batch(texts, tokenizer) for texts in zip(*train_pairs, strict=True))
test_source, test_target = (batch(texts, tokenizer) for texts in zip(*test_pairs[:200], strict=True))
print(f"{len(train_pairs):,} dates of at most 11 characters to learn from; {len(test_source)} others to be judged by")
config = Config(tokenizer.vocab_size, d_model=64, num_heads=4, d_ff=256, dropout=0.0, num_layers=2)

# %%
torch.manual_seed(0)
model = Transformer(config)
losses = train(model, source, target, steps=150 if FULL else 5)
model.eval()
print(f"loss of the last step {losses[-1]:.3f}")

# %%
print("3 new tokens, 4 kept ones:")
for row in causal_mask(3, past=4):
    print("".join("#" if may else "." for may in row))

# %% [markdown]
# **Predict.** The eleven tokens of a target are read in parts of 1, of 3, of 4, or all 11 at once. For which of these
# does it matter that there is a mask?


# %%
@torch.no_grad()
def by_parts(part: int, hide: bool = True) -> float:
    memory, memory_mask = model.encode(test_source)
    target = test_target[:, :-1]
    full = model.decode(target, memory, memory_mask)
    cache = [LayerCache() for _ in model.decoder.layers]
    logits = []
    for new in target.split(part, dim=1):
        x, past = model.embed(new, cache[0].length), cache[0].length
        mask = causal_mask(new.shape[1], past) if hide else torch.ones(new.shape[1], past + new.shape[1]).bool()
        for layer, kept in zip(model.decoder.layers, cache, strict=True):
            x = layer(x, memory, mask, memory_mask, kept)
        logits.append(F.linear(x, model.embedding.weight))
    return (torch.cat(logits, dim=1) - full).abs().max().item()


parts = {part: (by_parts(part), by_parts(part, hide=False)) for part in (1, 3, 4, 11)}
print("largest difference from the whole target at once, masked")
print("tokens at once   with mask   without")
for part, (masked, unmasked) in parts.items():
    print(f"{part:14}   {masked:9.0e}   {unmasked:7.0e}")

# %% [markdown]
# Alone, a token has no later one beside it, so there is nothing to hide. From two on there is, and without the mask
# some logits are off by about ten.

# %% [markdown]
# **Predict.** One token at a time, with a cache, so no causal mask is needed. The sources of the batch are of different
# length. May the mask of their padding be left out as well?


# %%
@torch.no_grad()
def cached_logits(use_mask: bool) -> Tensor:
    memory, memory_mask = model.encode(test_source)
    if not use_mask:
        memory_mask = torch.ones_like(memory_mask)
    cache = [LayerCache() for _ in model.decoder.layers]
    steps = [model.decode(new, memory, memory_mask, cache) for new in test_target[:, :-1].split(1, dim=1)]
    return torch.cat(steps, dim=1)


moved = (cached_logits(True) - cached_logits(False)).abs().amax((1, 2))
padded = (test_source == PAD).any(1)
print(f"sources with padding      {padded.sum():4}   largest difference {moved[padded].max():.2f}")
print(f"sources without padding   {(~padded).sum():4}   largest difference {moved[~padded].max():.2f}")

# %% [markdown]
# It may not. The causal mask hides what comes later, and in a cached step nothing does. Padding is there at every step,
# and cross-attention would read it. So whether masks matter when a model writes has two answers, one for each mask.

# %% [markdown]
# **Predict.** `generate` now takes a prompt. The year of the target is given, and the model writes the rest. How many
# tokens does its first step read at once, and how many its second?

# %%
out = generate(model, test_source[:3], test_target[:3, :5])
for (text, _), row in zip(test_pairs, out.tolist(), strict=False):
    print(f"{text:12} given {tokenizer.decode(row[:5])}, written {tokenizer.decode(row)}")

# %% [markdown]
# `BEGIN` and four digits are read in one step, with the mask; every later step reads one new token. (After 150 steps of
# training, not the 400 of stage 28, month and day are mostly wrong.)
#
# Last, the proof for this part: the weights we have trained go into the package's Transformer.

# %%
package_model = PackageTransformer(
    TransformerConfig(config.vocab_size, context=64, d_model=64, num_heads=4, num_layers=2, d_ff=256, dropout=0.0)
).eval()
load_weights(package_model, weights_of(model))
given = test_target[:, :-1]
real = given != PAD
with torch.no_grad():
    logits = model(test_source, given)
    package_logits = package_model(test_source, given, test_source != PAD, real)
difference = (logits - package_logits)[real].abs().max().item()
print(f"largest difference from the package's Transformer: {difference:.0e}")

# %% [markdown]
# It is the model of 2017, whole, trained and proven. The next part changes what has been changed since, and then looks
# inside to see what the heads have learned.

# %%
tolerance = 1e-4  # float32 sums in another order
assert all(masked < tolerance for masked, _ in parts.values())
assert parts[1][1] < tolerance
assert all(parts[part][1] > 0.01 for part in (3, 4, 11))
assert moved[padded].max() > 0.001
assert (moved[~padded] == 0).all()
assert difference < tolerance
assert torch.equal(out[:, :5], test_target[:3, :5])
