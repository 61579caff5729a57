# %% [markdown]
# # 32. A gate in the feed-forward layer
#
# One half of the widened vector decides how much of the other half goes through.
#
# *20 minutes*
#
# In the feed-forward layer of stage 14, one number does two jobs: its sign says whether something passes ReLU, and it
# is what passes. Such a layer can add and bend, but two numbers never meet in a product. And where ReLU cuts, no
# gradient tells the weights below how to change.
#
# A *gate* parts the two jobs. The word's vector is widened twice: one result carries the content, the other, the gate,
# says for each element how much of it goes through:
#
# $\text{FFN}(x) = \left(\text{SiLU}(x W_g) \odot x W_u\right) W_d$
#
# $W_g$ and $W_u$, for gate and up, widen the word's vector $x$ from D to F elements; $\odot$ multiplies element by
# element; $W_d$, for down, brings the product back to D. (Biases are left out here.) In the code `linear1` holds $W_g$
# and $W_u$ side by side and `chunk` cuts the result in two. Only the order tells the halves apart.
#
# SiLU takes the place of ReLU: $\text{SiLU}(z) = z \, \sigma(z)$ with $\sigma(z) = 1 / (1 + e^{-z})$, a share that
# rises from 0 to 1 with $z$. The whole is called *SwiGLU* (Shazeer 2020, arXiv:2002.05202): Swish is another name of
# SiLU (Ramachandran et al. 2017, arXiv:1710.05941), and a GLU is a gated linear unit (Dauphin et al. 2016,
# arXiv:1612.08083).

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
# **Predict.** ReLU gives zero for every negative number. What does SiLU give for −1: zero, something below, something
# above? And for −10?

# %%
print("     x    ReLU    SiLU")
for number in (-10.0, -1.0, -0.5, 0.0, 1.0, 10.0):
    x = torch.tensor(number)
    print(f"{number:6.1f}{x.relu():8.2f}{F.silu(x):8.2f}")

# %%
figure, axes = plt.subplots(figsize=(4.5, 2.8), layout="constrained")
x = torch.linspace(-6, 4, 200)
axes.plot(x, x.relu(), "k--", label="ReLU")
axes.plot(x, F.silu(x), "k-", label="SiLU")
axes.set(xlabel="x", ylabel="output")
axes.legend(frameon=False)
figure

# %% [markdown]
# SiLU is a ReLU without the corner, and at nearly every point it has a slope to learn from. Far out the two are the
# same.

# %% [markdown]
# **Predict.** A gated layer has three matrices where the plain one has two. If the plain one has F = 256, what F makes
# the gated one about as large: 128, 170 or 192?

# %%
D, F_ = 64, 256
plain = 2 * D * F_ + F_ + D
gated = sum(weight.numel() for weight in GatedFeedForward(D, F_).parameters())
fair = sum(weight.numel() for weight in GatedFeedForward(D, 2 * F_ // 3).parameters())
print(f"plain, F = {F_}: {plain:,} parameters; gated: {gated:,}; gated with F = {2 * F_ // 3}: {fair:,}")

# %% [markdown]
# Two thirds of 256. With the same F the gated layer could win by its size alone, so the next comparison is between
# equals.

# %% [markdown]
# **Predict.** A plain and a gated layer of about the same size learn to multiply two numbers, drawn around zero. Which
# comes closer? And if the numbers are then three times as large as any they have learned from?


# %%
def errors_of_product(layer: nn.Module, steps: int = 500) -> list[float]:
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(steps):
        x = torch.randn(256, 2)
        loss = F.mse_loss(layer(x)[:, 0], x.prod(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = torch.randn(10_000, 2)
    with torch.no_grad():
        return [(layer(x)[:, 0] - x.prod(-1)).abs().mean().item() for x in (x, 3 * x)]


torch.manual_seed(0)
layers = {"plain": nn.Sequential(nn.Linear(2, 24), nn.ReLU(), nn.Linear(24, 2)), "gated": GatedFeedForward(2, 16)}
print("        parameters   mean error   three times as large")
errors = {name: errors_of_product(layer) for name, layer in layers.items()}
for name, (near, far) in errors.items():
    print(f"{name:8}{sum(weight.numel() for weight in layers[name].parameters()):10}{near:13.3f}{far:23.2f}")

# %% [markdown]
# The gated layer's error is about a tenth of the other's. It has products inside; the plain layer has to put one
# together from straight pieces, and goes on straight beyond the numbers it has seen. This is a toy, and no proof for
# language. There, too, gated layers came out ahead of plain ones of the same size in Shazeer's paper, which says openly
# that it does not know why.

# %%
sizes = {"vocab_size": 50, "d_model": 64, "num_heads": 8, "d_ff": 256, "dropout": 0.0, "num_layers": 2}
torch.manual_seed(0)
model = Transformer(Config(**sizes)).eval()
package_model = PackageTransformer(
    TransformerConfig(**sizes, context=32, norm="rms", norm_order="pre", activation="swiglu")
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
# Equal up to rounding: the package's gate is the first half as well. The next change is how the model knows where a
# word stands.

# %%
assert difference < 1e-5  # float32 sums in another order
assert gated == 3 * D * F_ + 2 * F_ + D
assert abs(fair / plain - 1) < 0.02
assert all(good < bad / 2 for good, bad in zip(errors["gated"], errors["plain"], strict=True))
x = torch.tensor([-1.0, 2.0])
torch.testing.assert_close(F.silu(x), x * torch.sigmoid(x))
