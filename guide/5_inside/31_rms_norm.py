# %% [markdown]
# # 31. RMSNorm before the part
#
# Newer models norm what goes into each part and leave the sum alone, and their norm divides a vector by its size
# without taking off its mean.
#
# *20 minutes*
#
# The model of 2017 is complete. Since then almost every piece of it has been varied, and a few changes have stayed in
# nearly all large models. This part makes them one at a time. It shows the blocks alone, so the tokenizer, training and
# generation are deleted, some seventy lines at the end of the diff; they would work with the next models as they stand.
#
# The first change is one that stage 16 has measured. The paper puts the norm behind the sum:
# $\text{norm}(x + \text{part}(x))$. Then even what was to pass by unchanged goes through a norm, at every sum, and so
# does the gradient on its way back. *Pre-norm* moves the norm to the entrance of the part:
# $x + \text{part}(\text{norm}(x))$. Now the way of $x$ is free from the first layer to the last. But nothing brings the
# sum itself to size any more, so one more norm stands at the end of each stack, `norm` in `Encoder` and `Decoder`. It
# is easily forgotten, and without it no error is raised.
#
# The second change is the norm itself. LayerNorm takes off the mean of a vector's elements, divides by their spread,
# multiplies by a learned weight and adds a learned bias. RMSNorm does less:
#
# $y_i = g_i \, x_i \, / \sqrt{\frac{1}{D} \sum_j x_j^2 + \epsilon}$
#
# $x_i$ is an element of the word's vector and $y_i$ the result, D the vector's width, $g_i$ a learned weight, `weight`
# in the code; the small $\epsilon$, 0.00001, keeps the root above zero. The root of the mean of the squares, *root mean
# square* or RMS, is a typical size of the elements. Without a bias, the norm has half the parameters.

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
from clearformer.config import TransformerConfig
from clearformer.models.build import load_weights, weights_of
from clearformer.models.transformer import Transformer as PackageTransformer

# %% [markdown]
# **Predict.** Ten is added to all elements of a vector; or all are doubled. Which of the two norms gives the same as
# before, and when?

# %%
x = torch.tensor([1.0, 2.0, 3.0, 4.0])
rms = RMSNorm(4)
rows = {"x": x, "x + 10": x + 10, "2 x": 2 * x}
print(f"{'':8}{'LayerNorm':^28}   {'RMSNorm':^28}")
for name, vector in rows.items():
    both = F.layer_norm(vector, (4,)), rms(vector)
    print(f"{name:8}" + "   ".join("".join(f"{number:7.2f}" for number in normed) for normed in both))

# %% [markdown]
# LayerNorm notices neither. RMSNorm does not notice the factor, but it notices the shift: with ten added, the four
# elements are nearly alike, and so are the results. Its authors hold that only the factor matters, and their models
# came out as good as with LayerNorm and were faster.

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
# The same, since the part sees its input through the norm, where a factor is lost. Only its share of the sum shrinks.
# In a pre-norm model the sum grows from layer to layer, as stage 16 has drawn, so a late layer must add more than an
# early one to change as much. And the size of the last sum would go straight into the logits: hence the last norm.
#
# Now the proof, as at the end of part 3: the package's model is told to use this norm at this place, is given our
# weights, and must give our logits.

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
# They agree up to rounding. The norm has changed its formula and its place; the parts between the norms are still those
# of 2017. The next stage gives feed-forward something that it lacked.

# %%
assert difference < 1e-5  # float32 sums in another order
torch.testing.assert_close(rms(torch.arange(1.0, 5.0)), F.rms_norm(torch.arange(1.0, 5.0), (4,), eps=1e-5))
torch.testing.assert_close(F.layer_norm(rows["x"], (4,)), F.layer_norm(rows["x + 10"], (4,)))
assert (rms(rows["x"]) - rms(rows["x + 10"])).abs().max() > 0.5
torch.testing.assert_close(added[100], added[1], atol=1e-4, rtol=0)
