# %% [markdown]
# # 5. One word asks all the others
#
# The score of a word is the dot product of its key with the query of the word that asks, divided by the square root of
# their width.
#
# *15 minutes*
#
# `cat` has a query, and every word has a key. We need one number for each word, larger the better its key fits the
# query.
#
# The usual measure of how well two vectors agree is their *dot product*: multiply them number by number and add up,
# $q \cdot k = \sum_e q_e k_e$. Where both numbers have the same sign, the sum grows; where the signs differ, it
# shrinks. Vectors that point the same way have a large dot product, unrelated ones a small one, opposite ones a
# negative one. The score of word $s$ is
#
# $\text{score}_s = q \cdot k_s / \sqrt{E}$
#
# with $q$ the query of the word that asks, $k_s$ the key of word $s$, and E the number of elements in each. Query and
# key must be equally wide; the value, which is not asked yet, need not be.
#
# The square root looks odd, and one would leave it out at first. The experiment below shows what it is for. It needs
# one term: the *spread* of numbers, or standard deviation, says how far from their mean they typically lie.


# %% tags=["code"]
import math

import torch
from torch import Tensor, nn


# %% tags=["code"]
def query_key_value(x: Tensor, w_query: Tensor, w_key: Tensor, w_value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x @ w_query, x @ w_key, x @ w_value


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return torch.stack([q @ key for key in k]) / math.sqrt(q.shape[-1])


# %% tags=["code"]
class FeedForward(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear1(x).relu()


# %% tags=["code"]
class EncoderLayer(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.attention = FeedForward(d_model)
        self.feed_forward = FeedForward(d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x)
        return self.feed_forward(x)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(self, d_model: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


# %% tags=["code"]
class DecoderLayer(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.attention = FeedForward(d_model)
        self.cross_attention = FeedForward(d_model)
        self.feed_forward = FeedForward(d_model)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = self.attention(x)
        x = self.cross_attention(x)
        return self.feed_forward(x)


# %% tags=["code"]
class Decoder(nn.Module):
    def __init__(self, d_model: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(d_model) for _ in range(num_layers))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, memory)
        return x


# %% tags=["code"]
class Transformer(nn.Module):
    def __init__(self, d_model: int, num_layers: int) -> None:
        super().__init__()
        self.encoder = Encoder(d_model, num_layers)
        self.decoder = Decoder(d_model, num_layers)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(target, self.encoder(source))


# %%
words = ["the", "cat", "sat"]
x = torch.tensor([[1.0, 0.0, 0.0, 0.2], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.1]])
torch.manual_seed(0)
D, E = 4, 3
w_query, w_key, w_value = (torch.randn(D, E) for _ in range(3))

q, k, v = query_key_value(x, w_query, w_key, w_value)
scores = attention_scores(q[1], k)
print(f"{words[1]!r} asks, and scores")
for word, score in zip(words, scores, strict=True):
    print(f"{word:>6} {score:6.2f}")

# %% [markdown]
# `sat` fits best, and `the` worst. The matrices are random, so this is chance; after training, a noun may find its verb
# like this. `cat` scores itself as well, like any other word.

# %% [markdown]
# **Predict.** Queries and keys of random numbers with mean 0 and spread 1 are made wider and wider. Does the spread of
# their dot products grow like the width, like its square root, or not at all?


# %%
print("width E   spread of q·k   divided by sqrt(E)")
spreads = {}
for width in (4, 16, 64, 256):
    queries, keys = torch.randn(10_000, width), torch.randn(10_000, width)
    dots = (queries * keys).sum(1)
    spreads[width] = dots.std(), (dots / math.sqrt(width)).std()
    print(f"{width:7}   {spreads[width][0]:13.2f}   {spreads[width][1]:18.2f}")

# %% [markdown]
# Each line is four times as wide as the one above and spreads twice as far: the square root. A dot product of width E
# adds up E products, some positive and some negative, which cancel in part, so the sum grows more slowly than E.
# Divided by $\sqrt{E}$, the spread is about 1 at any width. Without the division a wide model would begin with huge
# scores, and the next stage shows what those do.
#
# Common slips are to divide by E, or by the root of the model's width D instead of the head's. Nothing crashes; the
# scores are too small, and a word finds it harder to prefer one word to another.
#
# Scores are not yet an answer. They can be negative and add up to anything. To mix the words we need shares.


# %%
assert scores.shape == (3,)
torch.testing.assert_close(scores[2], (q[1] * k[2]).sum() / E**0.5)
for width, (raw, scaled) in spreads.items():
    assert abs(raw / width**0.5 - 1) < 0.05
    assert abs(scaled - 1) < 0.05
