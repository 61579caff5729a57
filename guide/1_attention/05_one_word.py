# %% [markdown]
# # 5. One word asks all the others
#
# The score of a word is the dot product of its key with the query of the word that asks, divided by the square root
# of their width.
#
# *15 minutes*

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
# **Predict.** Queries and keys of random numbers with mean 0 and variance 1 are made wider and wider. Does the spread
# of their dot products grow like the width, like its square root, or not at all?

# %%
print("width E   spread of q·k   divided by sqrt(E)")
spreads = {}
for width in (4, 16, 64, 256):
    queries, keys = torch.randn(10_000, width), torch.randn(10_000, width)
    dots = (queries * keys).sum(1)
    spreads[width] = dots.std(), (dots / math.sqrt(width)).std()
    print(f"{width:7}   {spreads[width][0]:13.2f}   {spreads[width][1]:18.2f}")

# %%
assert scores.shape == (3,)
torch.testing.assert_close(scores[2], (q[1] * k[2]).sum() / E**0.5)
for width, (raw, scaled) in spreads.items():
    assert abs(raw / width**0.5 - 1) < 0.05
    assert abs(scaled - 1) < 0.05
