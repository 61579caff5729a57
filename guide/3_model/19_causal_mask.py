# %% [markdown]
# # 19. The causal mask
#
# A decoder that learns to predict the next word must not read it, so every word's scores for later words are set to
# minus infinity, and their weights become zero.
#
# *20 minutes*

# %% tags=["code"]
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% tags=["code"]
def causal_mask(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


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
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv_projection = nn.Linear(d_model, 3 * d_model)
        self.output_projection = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv_projection(x).chunk(3, dim=-1))
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

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_residual(x, self.attention)
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, num_heads, d_ff, dropout) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


# %% tags=["code"]
class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.cross_attention = FeedForward(d_model, d_ff)
        self.feed_forward = FeedForward(d_model, d_ff)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        x = self.attention(x, mask)
        x = self.cross_attention(x)
        return self.feed_forward(x)


# %% tags=["code"]
class Decoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(d_model, num_heads, d_ff) for _ in range(num_layers))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        mask = causal_mask(x.shape[1])
        for layer in self.layers:
            x = layer(x, memory, mask)
        return x


# %% tags=["code"]
class Transformer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.encoder = Encoder(d_model, num_heads, d_ff, dropout, num_layers)
        self.decoder = Decoder(d_model, num_heads, d_ff, num_layers)

    def embed(self, x: Tensor) -> Tensor:
        return self.dropout(x + sinusoidal(torch.arange(x.shape[1]), x.shape[2]))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(self.embed(target), self.encoder(self.embed(source)))


# %%
torch.manual_seed(0)
T = 5
mask = causal_mask(T)
scores = torch.randn(T, T)
weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
for allowed, row in zip(mask, weights, strict=True):
    drawn = "".join("#" if may else "." for may in allowed)
    print(f"{drawn}    " + "".join(f"{weight:6.2f}" for weight in row))

# %% [markdown]
# **Predict.** The fourth of five words is changed. Which of the decoder's output vectors change? And without the
# mask?

# %%
D = 64
layer = MultiHeadAttention(D, num_heads=8)
x = torch.randn(1, T, D)
other = x.clone()
other[0, 3] += 1.0
changed = {}
for name, chosen in (("with the mask", mask), ("without", None)):
    changed[name] = (layer(x, chosen) != layer(other, chosen)).any(-1)[0].tolist()
    print(f"{name:14} " + " ".join("changes" if change else "same   " for change in changed[name]))

# %% [markdown]
# **Predict.** A mask that lowers scores by 10 in place of infinity is as good as this one for these scores. Is it for
# scores eight times as large?

# %%
leaks = {}
print("scores times   weight of the future, -10   -infinity")
for factor in (1, 8):
    lowered = (factor * scores - 10.0 * ~mask).softmax(-1)
    hidden = (factor * scores).masked_fill(~mask, -math.inf).softmax(-1)
    leaks[factor] = [(table * ~mask).sum(-1).max().item() for table in (lowered, hidden)]
    print(f"{factor:12}   {leaks[factor][0]:25.4f}   {leaks[factor][1]:9.4f}")

# %%
assert changed == {"with the mask": [False, False, False, True, True], "without": [True] * 5}
assert (weights * ~mask).sum() == 0
torch.testing.assert_close(weights.sum(-1), torch.ones(T))
assert leaks[1][1] == leaks[8][1] == 0
assert leaks[1][0] < 0.01 < 0.1 < leaks[8][0]
model = Transformer(D, num_heads=8, d_ff=256, dropout=0.0, num_layers=2)
same = model(x, x)[:, :3] == model(x, other)[:, :3]
assert same.all()
