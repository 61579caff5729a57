# %% [markdown]
# # 8. Every word asks at once
#
# A loop over words is a product of matrices: the scores of all queries with all keys are one table, and the softmax
# takes each row for itself.
#
# *15 minutes*
#
# Only `cat` has asked so far. Every word must, and a loop over the words would do it: T words ask, S words are asked,
# and with a sentence of a thousand words a million dot products would be computed one by one, by Python.
#
# But a table of dot products is what a product of matrices *is*. Let the queries be the rows of a matrix $Q$, with T
# rows and E columns, and the keys the rows of $K$, with S rows. The product of two matrices takes the rows of the first
# and the columns of the second. So $K$ is first turned on its side, which is written $K^T$ and called its *transpose*:
# `k.transpose(-2, -1)` exchanges the last axis and the last but one. Then
#
# $Q K^T / \sqrt{E}$
#
# is a table with T rows and S columns. Row $t$, column $s$ holds the score that word $t$ gives to word $s$. In this
# part both are words of the same sentence, so T is S.
#
# A softmax must now be taken of each row for itself, for a row is the choice of one word. `max(-1)` and `sum(-1)` work
# along the last axis, from left to right. `keepdim=True` keeps that axis, with length 1, so that the result fits each
# number of its row.


# %% tags=["code"]
import math

import torch
from torch import Tensor, nn


# %% tags=["code"]
def query_key_value(x: Tensor, w_query: Tensor, w_key: Tensor, w_value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x @ w_query, x @ w_key, x @ w_value


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% tags=["code"]
def softmax(scores: Tensor) -> Tensor:
    powers = (scores - scores.max(-1, keepdim=True).values).exp()
    return powers / powers.sum(-1, keepdim=True)


# %% tags=["code"]
def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = softmax(attention_scores(q, k))
    return torch.stack([weight * value for weight, value in zip(weights, v, strict=True)]).sum(0)


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
import numpy as np
from matplotlib import pyplot as plt

# %%
words = ["the", "cat", "sat"]
x = torch.tensor([[1.0, 0.0, 0.0, 0.2], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.1]])
torch.manual_seed(0)
D, E = 4, 3
w_query, w_key, w_value = (torch.randn(D, E) for _ in range(3))

q, k, v = query_key_value(x, w_query, w_key, w_value)
scores = attention_scores(q, k)
weights = softmax(scores)
for name, table in (("scores", scores), ("weights", weights)):
    print(f"{name:10}" + "".join(f"{word:>7}" for word in words))
    for word, row in zip(words, table, strict=True):
        print(f"{word:>10}" + "".join(f"{number:7.2f}" for number in row))

# %% [markdown]
# The row of `cat` is the one we know. Shares in such a table are called *attention weights*, and it is the picture of
# attention that one sees most often: rows ask, columns are asked, dark is much.


# %%
figure, axes = plt.subplots(figsize=(3.4, 2.8), layout="constrained")
axes.imshow(weights.numpy(), cmap="Greys", vmin=0, vmax=1)
axes.set_xticks(range(3), words)
axes.set_yticks(range(3), words)
axes.set(xlabel="is asked (S)", ylabel="asks (T)")
for (row, column), weight in np.ndenumerate(weights.numpy()):
    axes.text(column, row, f"{weight:.2f}", ha="center", va="center", color="white" if weight > 0.6 else "black")
figure

# %% [markdown]
# **Predict.** Rows of the table of weights sum to one. Do its columns?


# %%
print("sums of rows   ", " ".join(f"{total:.2f}" for total in weights.sum(1)))
print("sums of columns", " ".join(f"{total:.2f}" for total in weights.sum(0)))

# %% [markdown]
# They need not. Every word has the same amount to give away, one; what a word receives depends on how much it is
# wanted. `the` is wanted most, by itself and by `sat`. The table is not symmetrical either: `sat` gives `the` more than
# half, and `the` gives `sat` little, because what a word looks for and what it is found by are made by different
# matrices.
#
# The slip to fear is a softmax along the wrong axis, or over the whole table. The shape is right, every number lies
# between zero and one, and nothing complains. The sums of the rows show it in one line.
#
# The weights of all words are there. Now all words take.


# %%
one_by_one = torch.stack([torch.stack([query @ key for key in k]) / E**0.5 for query in q])
torch.testing.assert_close(scores, one_by_one)
torch.testing.assert_close(weights, scores.softmax(-1))
torch.testing.assert_close(weights.sum(1), torch.ones(3))
assert (weights.sum(0) - 1).abs().max() > 0.1
