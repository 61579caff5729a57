# %% [markdown]
# # 34. Grouped queries
#
# Several heads that ask may share one set of keys and values, and the cache shrinks by as much.
#
# *15 minutes*
#
# The cache of stage 29 costs memory: a key and a value for every token, head and layer. For a batch of long texts in a
# large model that can be more than the weights, and all of it is read again for each new token.
#
# A query is used once and forgotten. So there can be H heads of queries as before, while groups of them share one set
# of keys and values. G is the number of sets. With G = H every head has its own, as until now; with G = 1 all share
# one, *multi-query attention* (Shazeer 2019, arXiv:1911.02150); between them lies *grouped-query attention* (Ainslie et
# al. 2023, arXiv:2305.13245). Each head still asks its own question, among the keys of its group. The cache holds
#
# $2 \cdot L \cdot B \cdot G \cdot T \cdot E$
#
# numbers: keys and values, for L layers, B texts, G sets, T tokens and the head's width E. The factor H has become a G.
#
# The projection makes H + G + G heads at once, and `split` parts them. In `attention`, `repeat_interleave` repeats each
# set in its place, so that heads 1 to 4 share the first.

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
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
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
    def __init__(self, d_model: int, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self.heads = num_heads, num_kv_heads, num_kv_heads
        self.qkv_projection = nn.Linear(d_model, sum(self.heads) * (d_model // num_heads))
        self.output_projection = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: LayerCache | None = None) -> Tensor:
        q, k, v = split_heads(self.qkv_projection(x), sum(self.heads)).split(self.heads, dim=1)
        past = 0 if cache is None else cache.length
        positions = torch.arange(past, past + x.shape[1])
        q, k = rotary(q, positions), rotary(k, positions)
        if cache is not None:
            k, v = cache.extend(k, v)
        return self.output_projection(join_heads(attention(q, k, v, mask)))


# %% tags=["code"]
class CrossAttention(nn.Module):
    def __init__(self, d_model: int, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.query_projection = nn.Linear(d_model, d_model)
        self.kv_projection = nn.Linear(d_model, 2 * num_kv_heads * (d_model // num_heads))
        self.output_projection = nn.Linear(d_model, d_model)

    def keys_values(self, memory: Tensor, cache: LayerCache | None) -> tuple[Tensor, Tensor]:
        if cache is not None and cache.memory is not None:
            return cache.memory
        k, v = (split_heads(part, self.num_kv_heads) for part in self.kv_projection(memory).chunk(2, dim=-1))
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
    def __init__(self, d_model: int, num_heads: int, num_kv_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads, num_kv_heads)
        self.attention_residual = PreNormResidual(d_model, dropout)
        self.feed_forward = GatedFeedForward(d_model, d_ff)
        self.feed_forward_residual = PreNormResidual(d_model, dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.attention_residual(x, lambda x: self.attention(x, mask))
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(
        self, d_model: int, num_heads: int, num_kv_heads: int, d_ff: int, dropout: float, num_layers: int
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, num_heads, num_kv_heads, d_ff, dropout) for _ in range(num_layers)
        )
        self.norm = RMSNorm(d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


# %% tags=["code"]
class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, num_kv_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads, num_kv_heads)
        self.attention_residual = PreNormResidual(d_model, dropout)
        self.cross_attention = CrossAttention(d_model, num_heads, num_kv_heads)
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
    def __init__(
        self, d_model: int, num_heads: int, num_kv_heads: int, d_ff: int, dropout: float, num_layers: int
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(d_model, num_heads, num_kv_heads, d_ff, dropout) for _ in range(num_layers)
        )
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
    num_kv_heads: int = 2
    d_ff: int = 2048
    dropout: float = 0.1
    num_layers: int = 6


# %% tags=["code"]
class Transformer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        sizes = config.d_model, config.num_heads, config.num_kv_heads, config.d_ff, config.dropout, config.num_layers
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
# **Predict.** Eight heads share two sets of keys and values. By what factor does the cache shrink? By the same factor
# as the attention's parameters, or are these cut by more, or by less?

# %%
print("sets G   cache of 100 tokens   parameters")
sizes_of = {}
for sets in (8, 2, 1):
    layer, cache = MultiHeadAttention(64, 8, sets), LayerCache()
    layer(torch.randn(1, 100, 64), cache=cache)
    sizes_of[sets] = sum(kept.numel() for kept in cache.past), sum(weight.numel() for weight in layer.parameters())
    print(f"{sets:6}   {sizes_of[sets][0]:11,} numbers   {sizes_of[sets][1]:10,}")

# %%
figure, panels = plt.subplots(1, 3, figsize=(7, 1.9), layout="constrained", sharey=True)
for axes, (sets, (numbers, _)) in zip(panels, sizes_of.items(), strict=True):
    places = torch.arange(8.0).unflatten(0, (sets, -1)).mean(1).repeat_interleave(8 // sets).tolist()
    for head, place in enumerate(places):
        axes.plot((head, place), (1, 0), "k-", linewidth=1)
    axes.plot(range(8), [1] * 8, "ko", markerfacecolor="white", clip_on=False)
    axes.plot(places, [0] * 8, "ks", clip_on=False)
    axes.set(title=f"G = {sets}: {numbers:,} numbers", ylim=(-0.2, 1.2), yticks=(0, 1), xticks=())
panels[0].set_yticklabels(("keys, values", "queries"))
figure

# %% [markdown]
# The cache shrinks by four, the parameters by less: the matrices of queries and output are as large as before. So the
# gain is in generation. How large it is, arithmetic says for 80 layers and 64 heads of width 128, the sizes of Llama 3
# 70B (Grattafiori et al. 2024, arXiv:2407.21783), a text of 8,192 tokens, and 2 bytes a number.

# %%
gigabytes = {}
for sets in (64, 8, 1):
    gigabytes[sets] = 2 * 80 * sets * 8192 * 128 * 2 / 1e9
    print(f"G = {sets:2}: {gigabytes[sets]:5.2f} GB of cache for one text")

# %% [markdown]
# That model has G = 8. Why not G = 1? Heads that share keys can tell less apart; in the paper that proposed groups, a
# few sets were nearly as good as one for each head, and nearly as fast as one for all.

# %% [markdown]
# **Predict.** Eight heads, two sets. Someone writes `repeat` for `repeat_interleave`. How many of the eight heads then
# look at the wrong keys?

# %%
sets = torch.tensor([1, 2])
rows = {"repeat_interleave": sets.repeat_interleave(4), "repeat": sets.repeat(4)}
for name, found in rows.items():
    print(f"{name:18} head 1 to 8 look at set", *found.tolist())
wrong = (rows["repeat_interleave"] != rows["repeat"]).sum().item()
print(f"{wrong} heads differ")

# %% [markdown]
# No shape tells it, and a model that is trained so from the start learns its own groups. It goes wrong when weights
# come from a program that groups in the usual way, as in the proof that follows.

# %%
sizes = {"vocab_size": 50, "d_model": 64, "num_heads": 8, "d_ff": 256, "dropout": 0.0, "num_layers": 2}
torch.manual_seed(0)
model = Transformer(Config(**sizes, num_kv_heads=2)).eval()
package_model = PackageTransformer(
    TransformerConfig(
        **sizes, context=32, norm="rms", norm_order="pre", activation="swiglu", positions="rotary", num_kv_heads=2
    )
).eval()
load_weights(package_model, weights_of(model))
source = torch.tensor([[5, 8, 13, 21, 34], [7, 9, 11, PAD, PAD]])
target = torch.tensor([[3, 4, 6, 10], [3, 4, PAD, PAD]])
real = target != PAD
with torch.no_grad():
    logits = model(source, target)
    package_logits = package_model(source, target, source != PAD, real)
difference = (logits - package_logits)[real].abs().max().item()
print(f"largest difference from the package's Transformer: {difference:.0e}")

# %% [markdown]
# The package agrees, in cross-attention as well. Norm, gate, positions, groups: with these four the layers are those of
# today's models. One thing is left that most of them lack.

# %%
assert difference < 1e-5  # float32 sums in another order
assert sizes_of[8][0] == 4 * sizes_of[2][0] == 8 * sizes_of[1][0]
assert wrong == 4
shared = MultiHeadAttention(64, 8, 2)
k = split_heads(shared.qkv_projection(torch.randn(1, 5, 64)), 12).split((8, 2, 2), dim=1)[1]
assert k.shape == (1, 2, 5, 8)
