# %% [markdown]
# # 33. Rotary positions
#
# A query and a key that are turned by their positions have a score that knows only how far apart they are.
#
# *25 minutes*
#
# Stage 17 added a pattern for the position to each word's vector. From there on, what a word is and where it stands
# share one vector, and every head has to tell them apart. What it wants to know is mostly a distance: one word back,
# three words back.
#
# *Rotary* positions (Su et al. 2021, arXiv:2104.09864) turn vectors rather than add to them. A query of two numbers is
# an arrow in a plane. Turn it by an angle that grows with its position, and the key likewise. If both move on by 50
# places, both turn by the same angle more. The angle between them stays, and so does their dot product, the score. With
# $R_p$ for the turn at position $p$:
#
# $(R_p \, q) \cdot (R_s \, k) = q \cdot (R_{s-p} \, k)$
#
# $q$ is the query at position $p$, $k$ the key at position $s$; only $s - p$ is left. A head's vector has E numbers, so
# it is E/2 arrows: element $i$, counted from 0, goes with element $i + E/2$. Each pair turns at a speed of its own, by
# $\theta_i = 10000^{-2i/E}$ radians a place, like the hands of a clock: the first by a whole radian, the last hardly at
# all within a sentence.
#
# Values are not turned: a position is to steer where a head looks, not what it brings. Cross-attention is left alone as
# well, since the places of a target and those of its source are not of one row.

# %% tags=["code"]
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# %% tags=["code"]
PAD = 0


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


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
def rotary(x: Tensor, positions: Tensor) -> Tensor:
    width = x.shape[-1]
    angles = positions[:, None] * 10_000.0 ** (-torch.arange(0, width, 2) / width)
    first, second = x.chunk(2, dim=-1)
    return torch.cat(
        (first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()), dim=-1
    )


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
        past = 0 if cache is None else cache.length
        positions = torch.arange(past, past + x.shape[1])
        q, k = rotary(q, positions), rotary(k, positions)
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
class GatedFeedForward(nn.Module):
    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, 2 * d_ff)
        self.linear2 = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.linear1(x).chunk(2, dim=-1)
        return self.linear2(F.silu(gate) * up)


# %% tags=["code"]
class RMSNorm(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight


# %% tags=["code"]
class PreNormResidual(nn.Module):
    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.norm = RMSNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + self.dropout(sublayer(self.norm(x)))


# %% tags=["code"]
class TokenEmbedding(nn.Module):
    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.scale = math.sqrt(d_model)
        self.weight = nn.Parameter(torch.randn(vocab_size, d_model) / self.scale)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.weight) * self.scale


# %% tags=["code"]
class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.attention_residual = PreNormResidual(d_model, dropout)
        self.feed_forward = GatedFeedForward(d_model, d_ff)
        self.feed_forward_residual = PreNormResidual(d_model, dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.attention_residual(x, lambda x: self.attention(x, mask))
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, num_heads, d_ff, dropout) for _ in range(num_layers))
        self.norm = RMSNorm(d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


# %% tags=["code"]
class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.attention_residual = PreNormResidual(d_model, dropout)
        self.cross_attention = CrossAttention(d_model, num_heads)
        self.cross_attention_residual = PreNormResidual(d_model, dropout)
        self.feed_forward = GatedFeedForward(d_model, d_ff)
        self.feed_forward_residual = PreNormResidual(d_model, dropout)

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
        self.norm = RMSNorm(d_model)

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
        return self.norm(x)


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

    def embed(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.embedding(tokens))

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        mask = padding_mask(source)
        return self.encoder(self.embed(source), mask), mask

    def decode(
        self, target: Tensor, memory: Tensor, memory_mask: Tensor, cache: list[LayerCache] | None = None
    ) -> Tensor:
        x = self.decoder(self.embed(target), memory, memory_mask, cache)
        return F.linear(x, self.embedding.weight)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decode(target, *self.encode(source))


# %%
from matplotlib import pyplot as plt

from clearformer.config import TransformerConfig
from clearformer.models.build import load_weights, weights_of
from clearformer.models.transformer import Transformer as PackageTransformer

# %% [markdown]
# **Predict.** A query at 5 and a key at 2 have a certain score. Both are moved on by 50. Does it change? And if only
# the query is moved?

# %%
torch.manual_seed(0)
q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 1, 1, 16)
scores = {}
for query_at, key_at in ((5, 2), (55, 52), (55, 2)):
    turned = rotary(q, torch.tensor([query_at])), rotary(k, torch.tensor([key_at]))
    scores[query_at, key_at] = (turned[0] * turned[1]).sum().item()
    print(f"query at {query_at:2}, key at {key_at:2}: score {scores[query_at, key_at]:6.3f}")

# %% [markdown]
# Only the distance counts. The picture shows how, for a query and a key that are all ones, so that each pair is an
# arrow of the same length in both.

# %%
E, distances = 16, torch.linspace(0, 60, 601)
turned = rotary(torch.ones(len(distances), E), distances)
products = turned * turned[0]
pairs = products[:, : E // 2] + products[:, E // 2 :]
figure, axes = plt.subplots(figsize=(5.5, 3), layout="constrained")
for pair, style in ((0, ":"), (2, "--"), (7, "-.")):
    axes.plot(distances, pairs[:, pair], f"k{style}", linewidth=1, label=f"pair {pair + 1}")
axes.plot(distances, pairs.mean(1), "k-", linewidth=2, label=f"mean of the {E // 2} pairs")
axes.set(xlabel="distance of query and key (places)", ylabel="dot product")
axes.legend(frameon=False, ncols=2, loc="upper right", bbox_to_anchor=(1, 1.25))
figure

# %% [markdown]
# Pair 1 comes round every six places or so; alone it could hardly tell 6 back from 12 back. Pair 8 hardly moves, so it
# is free to compare what the words are. The mean is largest at distance 0 and lower further off; a model learns the
# length and direction of each arrow, and so may put the peak elsewhere.

# %% [markdown]
# **Predict.** A cached step turns its one new token. Someone forgets the `past`, so that every new token is turned as
# if it stood at 0. Is an error raised? Does the output change?

# %%
sizes = {"vocab_size": 50, "d_model": 64, "num_heads": 8, "d_ff": 256, "dropout": 0.0, "num_layers": 2}
torch.manual_seed(0)
model = Transformer(Config(**sizes)).eval()
source = torch.tensor([[5, 8, 13, 21, 34], [7, 9, 11, PAD, PAD]])
target = torch.tensor([[3, 4, 6, 10], [3, 4, PAD, PAD]])
real = target != PAD


class Forgetful(LayerCache):
    length = 0


@torch.no_grad()
def one_at_a_time(cache_class: type[LayerCache]) -> float:
    memory, memory_mask = model.encode(source)
    cache = [cache_class() for _ in model.decoder.layers]
    parts = [model.decode(part, memory, memory_mask, cache) for part in target.split(1, dim=1)]
    return (torch.cat(parts, dim=1) - model(source, target)).abs().max().item()


cached, forgotten = one_at_a_time(LayerCache), one_at_a_time(Forgetful)
print(f"a token at a time, largest difference: {cached:.0e}; if the past is forgotten: {forgotten:.2f}")

# %% [markdown]
# No error, and another output. The keys in the cache are turned already, and stay so, since a token never changes its
# place. The new one must be turned by its true place too: `cache.length`, read before `extend` makes the cache longer.

# %%
package_model = PackageTransformer(
    TransformerConfig(**sizes, context=32, norm="rms", norm_order="pre", activation="swiglu", positions="rotary")
).eval()
load_weights(package_model, weights_of(model))
with torch.no_grad():
    logits = model(source, target)
    package_logits = package_model(source, target, source != PAD, real)
difference = (logits - package_logits)[real].abs().max().item()
print(f"largest difference from the package's Transformer: {difference:.0e}")

# %% [markdown]
# (The package too pairs elements half a head apart. Other programs pair neighbours; with their weights, the shapes fit
# and the scores are wrong.) The next change is in attention as well, for the sake of the cache.

# %%
tolerance = 1e-5  # float32 sums in another order
assert difference < tolerance
assert cached < tolerance < 0.01 < forgotten
assert abs(scores[5, 2] - scores[55, 52]) < 1e-4 < abs(scores[5, 2] - scores[55, 2])
torch.testing.assert_close(rotary(q, torch.tensor([9])).norm(), q.norm())
torch.testing.assert_close(pairs[:, 0], 2 * distances.cos())
