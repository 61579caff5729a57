# %% [markdown]
# # 29. The cache of keys and values
#
# The keys and values of written tokens never change, so they are kept, and a step computes one token instead of all;
# alone, a new token needs no mask, since the future is not there yet.
#
# *25 minutes*
#
# To write its tenth token, `generate` runs all nine before it through the decoder once more. What of that is needed?
#
# Only the last place is used, and of the earlier tokens it needs the keys and values, in every layer. Here the causal
# mask pays a second time: an earlier token has never looked at a later one, so its keys and values stay the same,
# whatever is added. They are kept in a *cache*, and a step computes one token:
#
# $K \leftarrow [K; k_t], \quad V \leftarrow [V; v_t], \quad \text{out}_t = \text{softmax}(q_t K^\top / \sqrt{E}) \, V$
#
# $q_t$, $k_t$, $v_t$ are query, key and value of the new token, $K$ and $V$ hold those of all tokens so far, to which
# the semicolon adds a row, and $E$ is the width of a head. An encoder could not do this: there a new token changes all
# others.

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


# %% tags=["code"]
def causal_mask(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


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


# %% [markdown]
# `past` are keys and values of the target, to which each step adds; `memory` those of the source, computed once. The
# new token has to be told its position too: `embed` counts on from the length of the cache. To begin at zero in every
# step is a common mistake, and raises no error.


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
        mask = causal_mask(x.shape[1])
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
def generate(model: Transformer, source: Tensor, max_tokens: int = 12) -> Tensor:
    memory, memory_mask = model.encode(source)
    cache = [LayerCache() for _ in model.decoder.layers]
    target = torch.full((len(source), 1), BEGIN)
    while target.shape[1] <= max_tokens and not (target == END).any(1).all():
        logits = model.decode(target[:, -1:], memory, memory_mask, cache)
        target = torch.cat((target, logits[:, -1:].argmax(-1)), dim=1)
    return target


# %%
import os

from matplotlib import pyplot as plt

from clearformer.data.dates import dates

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

# %% [markdown]
# **Predict.** Step by step with a cache against the whole sequence at once with a mask: how far apart are the logits
# of step 1, 5, 10?


# %%
@torch.no_grad()
def step_differences(source: Tensor, target: Tensor) -> list[float]:
    memory, memory_mask = model.encode(source)
    full = model.decode(target, memory, memory_mask)
    cache = [LayerCache() for _ in model.decoder.layers]
    steps = [model.decode(target[:, t : t + 1], memory, memory_mask, cache) for t in range(target.shape[1])]
    return [(step[:, 0] - full[:, t]).abs().max().item() for t, step in enumerate(steps)]


differences = step_differences(test_source, test_target)
print("step   largest difference")
for step in (1, 5, 10):
    print(f"{step:4}   {differences[step - 1]:.0e}")

# %% [markdown]
# Rounding, and it does not grow. The mask of a cached step has one row, for the one token that asks, and hides nothing:
# all that is in the cache is past. So a single new token needs no mask.

# %% [markdown]
# **Predict.** Someone concludes that a model which writes needs no mask, and leaves it out, but keeps no cache and
# computes all tokens at every step: only the last place is used, and it may see everything anyway. Is its vector the
# same? With one layer? With two?


# %%
@torch.no_grad()
def last_place(use_mask: bool, num_layers: int) -> Tensor:
    memory, memory_mask = model.encode(test_source)
    x = model.embed(test_target[:, :8])
    mask = causal_mask(8) if use_mask else torch.ones(8, 8, dtype=torch.bool)
    for layer in model.decoder.layers[:num_layers]:
        x = layer(x, memory, mask, memory_mask)
    return x[:, -1]


leaks = {n: (last_place(True, n) - last_place(False, n)).abs().max().item() for n in (1, 2)}
for num_layers, leak in leaks.items():
    print(f"layers {num_layers}   the last vector changes by {leak:.1f}")

# %% [markdown]
# With one layer it is. With two it is not: without the mask the *earlier* tokens look forward in the first layer and
# come out as other vectors, whose keys and values the last token reads in the second. So the mask does matter when a
# model writes. The cache can do without, because it keeps every earlier token as it was before the later ones came, and
# that is just what the mask is for.

# %% [markdown]
# **Predict.** Without a cache a step computes all tokens so far. How many does that make for a text of 12? Of 1,000?

# %%
print("length     without     with a cache")
for length in (12, 100, 1000):
    print(f"{length:6}  {length * (length + 1) // 2:10,}  {length:15,}")

# %%
computed = torch.ones(12, 12).tril()
figure, both = plt.subplots(1, 2, figsize=(6, 3), layout="constrained", sharey=True)
for axes, (name, table) in zip(
    both, (("without a cache", computed), ("with a cache", computed / 4 + 0.75 * torch.eye(12))), strict=True
):
    axes.imshow(table.numpy(), cmap="Greys", vmin=0, vmax=1.2, extent=(0.5, 12.5, 12.5, 0.5))
    axes.set(title=name, xlabel="token (T)", xticks=range(1, 13, 2), yticks=range(1, 13, 2))
both[0].set_ylabel("step")
figure

# %%
cache = [LayerCache() for _ in model.decoder.layers]
with torch.no_grad():
    memory, memory_mask = model.encode(test_source)
    for t in range(3):
        model.decode(test_target[:, t : t + 1], memory, memory_mask, cache)
keys, values = cache[0].past
print(f"after 3 steps, keys {tuple(keys.shape)}, of the source {tuple(cache[0].memory[0].shape)}")

# %% [markdown]
# Dark is computed, light is read from the cache. The cost is memory: keys and values of shape (B, H, T, E) for every
# layer. In large models this limits how many texts can be written at once, and stage 34 makes it smaller.
#
# A step of one token needs no mask; does a step of several?

# %%
assert max(differences) < 1e-4  # float32 sums in another order
assert keys.shape[2] == cache[0].length == 3
assert causal_mask(1).all()
assert leaks[1] < 1e-4 < 0.01 < leaks[2]
