# %% [markdown]
# # 19. The causal mask
#
# A decoder that learns to predict the next word must not read it, so every word's scores for later words are set to
# minus infinity, and their weights become zero.
#
# *20 minutes*
#
# An encoder's sentence is given. A decoder writes: after `the cat` it has to find `sleeps`. It learns from finished
# sentences, asked at every place for the word that comes next: one run, $T$ questions. But attention as we have it lets
# `the` look at `cat`, so the answer lies beside the question. The model would learn to copy its neighbour, and would
# fail when it had to write by itself.
#
# So a word may take from itself and from the words before it. A *mask* says so: a table of yes and no, with a row for
# each word that asks and a column for each that is asked. This one is *causal*: nothing depends on what comes later.
# Where it says no, the score becomes $-\infty$:
#
# $w_{ts} = e^{a_{ts}} / \sum_{r \leq t} e^{a_{tr}} \; \text{ for } s \leq t, \quad w_{ts} = 0 \; \text{ for } s > t$
#
# $t$ is the place of the word that asks, $s$ that of the word that is asked, $a_{ts}$ the score, $w_{ts}$ the weight,
# and $r$ runs over the places that may be asked. Since $e^{-\infty} = 0$, a hidden word adds nothing to the sum either,
# and the other weights still make one.

# %% tags=["code"]
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% [markdown]
# `tril` keeps the lower left triangle, the diagonal included. The mask comes before the softmax; behind it, the hidden
# words would have had their part in the sum already.


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
from matplotlib import pyplot as plt

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
# The mask, and the weights of random scores. The first word has nobody but itself.

# %% [markdown]
# **Predict.** The fourth of five words is changed. Which of the layer's five output vectors change with the mask, and
# which without it?

# %%
D = 64
layer = MultiHeadAttention(D, num_heads=8)
x = torch.randn(1, T, D)


@torch.no_grad()
def change(place: int, mask: Tensor | None) -> Tensor:
    other = x.clone()
    other[0, place] += 1.0
    return (layer(other, mask) - layer(x, mask))[0].norm(dim=-1)


kinds = {"with the mask": mask, "without": None}
changed = {name: (change(3, chosen) > 0).tolist() for name, chosen in kinds.items()}
for name, answers in changed.items():
    print(f"{name:14} " + " ".join("changes" if answer else "same   " for answer in answers))

# %% [markdown]
# With the mask, the first three vectors stay the same to the last bit. The picture shows it for every word in turn; a 0
# stands where nothing changed at all.

# %%
figure, both = plt.subplots(1, 2, figsize=(6, 3), layout="constrained", sharey=True)
for axes, (name, chosen) in zip(both, kinds.items(), strict=True):
    sizes = torch.stack([change(place, chosen) for place in range(T)], dim=1)
    axes.imshow(sizes.numpy(), cmap="Greys", vmin=0)
    for row, column in (sizes == 0).nonzero().tolist():
        axes.text(column, row, "0", ha="center", va="center")
    axes.set(title=name, xlabel="the word that is changed", xticks=range(T), yticks=range(T))
    axes.set_xticklabels(range(1, T + 1))
    axes.set_yticklabels(range(1, T + 1))
both[0].set_ylabel("output vector (T)")
figure

# %% [markdown]
# **Predict.** Some programs lower a hidden score by a large number, in place of infinity. Say it is 10: how much weight
# does the future get at most, in any of the five rows? And when all scores are eight times as large?

# %%
leaks = {}
print("scores times   weight of the future, -10   -infinity")
for factor in (1, 8):
    lowered = (factor * scores - 10.0 * ~mask).softmax(-1)
    hidden = (factor * scores).masked_fill(~mask, -math.inf).softmax(-1)
    leaks[factor] = [(table * ~mask).sum(-1).max().item() for table in (lowered, hidden)]
    print(f"{factor:12}   {leaks[factor][0]:25.4f}   {leaks[factor][1]:9.4f}")

# %% [markdown]
# The future gets 0.0006 of a row at most, which looks like nothing. But scores grow while a model learns, and eight
# times as large they give the future nearly the whole of one row. No error is raised, and the model looks better than
# it is. Infinity holds at any size. (In a row where everything is hidden it gives zero divided by zero; stage 23 meets
# one.)
#
# Does a model need the mask when it writes, and no later word exists? That is a question for stage 29. What the decoder
# lacks first is a look at the source.

# %%
assert changed == {"with the mask": [False, False, False, True, True], "without": [True] * 5}
assert (weights * ~mask).sum() == 0
torch.testing.assert_close(weights.sum(-1), torch.ones(T))
assert leaks[1][1] == leaks[8][1] == 0
assert leaks[1][0] < 0.01 < 0.1 < leaks[8][0]
model = Transformer(D, num_heads=8, d_ff=256, dropout=0.0, num_layers=2)
other = x.clone()
other[0, 3] += 1.0
same = model(x, x)[:, :3] == model(x, other)[:, :3]
assert same.all()
