# %% [markdown]
# # 31. RMSNorm before the part
#
# Newer models norm what goes into each part and leave the sum alone, and their norm divides a vector by its size
# without taking off its mean.
#
# *20 minutes*
#
# Almost every piece of the model of 2017 has been varied since, and a few changes have stayed in nearly all large
# models. This part makes them one at a time. It shows the blocks alone: tokenizer, training and generation are deleted
# at the end of the diff.
#
# The first change is one that stage 16 has measured: *pre-norm*, $x + \text{part}(\text{norm}(x))$ in place of
# $\text{norm}(x + \text{part}(x))$ (Xiong et al. 2020, arXiv:2002.04745). What is to pass by unchanged then meets no
# norm, and nor does the gradient on its way back. But nothing brings the sum itself to size any more, so one more norm
# stands at the end of each stack. It is easily forgotten, and without it no error is raised.
#
# The second change is the norm itself. LayerNorm takes off the mean of a vector's elements, divides by their spread,
# multiplies by a learned weight and adds a learned bias. RMSNorm (Zhang and Sennrich 2019, arXiv:1910.07467) does less:
#
# $y_i = g_i \, x_i \, / \sqrt{\frac{1}{D} \sum_j x_j^2 + \epsilon}$
#
# $x_i$ is an element of the word's vector and $y_i$ the result, D the vector's width, $g_i$ a learned weight, `weight`
# in the code; the small $\epsilon$, 0.00001, keeps the root above zero. The root of the mean of the squares, *root mean
# square* or RMS, is a typical size of the elements.

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
def sinusoidal(positions: Tensor, d_model: int) -> Tensor:
    wavelengths = 10_000.0 ** (torch.arange(0, d_model, 2) / d_model)
    angles = positions[:, None] / wavelengths
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


# %% tags=["code"]
class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.attention_residual = PreNormResidual(d_model, dropout)
        self.feed_forward = FeedForward(d_model, d_ff)
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
        self.feed_forward = FeedForward(d_model, d_ff)
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


# %%
from matplotlib import pyplot as plt

from clearformer.config import TransformerConfig
from clearformer.models.build import load_weights, weights_of
from clearformer.models.transformer import Transformer as PackageTransformer

# %% [markdown]
# **Predict.** Ten is added to all elements of a vector; or all are doubled. Which of the two norms gives the same as
# before, and when?

# %%
x = torch.tensor([1.0, 2.0, 3.0, 4.0])
rms = RMSNorm(4)
norms = {"LayerNorm": lambda x: F.layer_norm(x, (4,)), "RMSNorm": rms}
rows = {"x": x, "x + 10": x + 10, "2 x": 2 * x}
print(f"{'':8}{'LayerNorm':^28}   {'RMSNorm':^28}")
for name, vector in rows.items():
    both = [norm(vector) for norm in norms.values()]
    print(f"{name:8}" + "   ".join("".join(f"{number:7.2f}" for number in normed) for normed in both))

# %%
figure, panels = plt.subplots(1, 2, figsize=(6, 2.6), layout="constrained", sharey=True)
for axes, (name, norm) in zip(panels, norms.items(), strict=True):
    for (label, vector), marker in zip(rows.items(), ("o-", "s--", "x:"), strict=True):
        axes.plot(range(1, 5), norm(vector).tolist(), f"k{marker}", markerfacecolor="none", label=label)
    axes.set(title=name, xlabel="element (D)", xticks=range(1, 5))
panels[0].set_ylabel("result")
panels[1].legend(frameon=False)
figure

# %% [markdown]
# LayerNorm notices neither. RMSNorm notices the shift: with ten added, the four elements are nearly alike, and so are
# the results. Its authors hold that only the factor matters; their models came out as good as with LayerNorm, and
# faster.

# %% [markdown]
# **Predict.** What comes into a pre-norm layer is made ten times as large. What its attention adds to it is then ten
# times as large, the same, or a tenth?

# %%
torch.manual_seed(0)
layer = EncoderLayer(d_model=64, num_heads=8, d_ff=256, dropout=0.0)
x = torch.randn(1, 10, 64)
added = {}
print("size of x   size of what is added   share of the sum")
with torch.no_grad():
    for factor in (1, 10, 100):
        added[factor] = layer.attention_residual(factor * x, layer.attention) - factor * x
        before, size = (part.square().mean().sqrt().item() for part in (factor * x, added[factor]))
        print(f"{before:9.2f}{size:24.3f}{size / before:19.2%}")

# %% [markdown]
# The same, since a factor is lost in the norm. In a pre-norm model the sum grows from layer to layer, as stage 16 has
# drawn, so a late layer must add more to change as much. And the size of the last sum would go straight into the
# logits: hence the last norm.
#
# Now the proof: with this norm at this place, and our weights, the package's model must give our logits.

# %%
sizes = {"vocab_size": 50, "d_model": 64, "num_heads": 8, "d_ff": 256, "dropout": 0.0, "num_layers": 2}
torch.manual_seed(0)
model = Transformer(Config(**sizes)).eval()
package_model = PackageTransformer(TransformerConfig(**sizes, context=32, norm="rms", norm_order="pre")).eval()
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
# They agree up to rounding. The next stage gives feed-forward something that it lacked.

# %%
assert difference < 1e-5  # float32 sums in another order
torch.testing.assert_close(rms(torch.arange(1.0, 5.0)), F.rms_norm(torch.arange(1.0, 5.0), (4,), eps=1e-5))
torch.testing.assert_close(F.layer_norm(rows["x"], (4,)), F.layer_norm(rows["x + 10"], (4,)))
assert (rms(rows["x"]) - rms(rows["x + 10"])).abs().max() > 0.5
torch.testing.assert_close(added[100], added[1], atol=1e-4, rtol=0)
