# %% [markdown]
# # 7. The attention of one word
#
# What a word takes from a sentence is the mean of all values, each weighted by its share.
#
# *10 minutes*

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
def softmax(scores: Tensor) -> Tensor:
    powers = (scores - scores.max()).exp()
    return powers / powers.sum()


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
words = ["the", "cat", "sat"]
x = torch.tensor([[1.0, 0.0, 0.0, 0.2], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.1]])
torch.manual_seed(0)
D, E = 4, 3
w_query, w_key, w_value = (torch.randn(D, E) for _ in range(3))

q, k, v = query_key_value(x, w_query, w_key, w_value)
shares = softmax(attention_scores(q[1], k))
out = attention(q[1], k, v)
print(f"{words[1]!r} asks   share   value")
for word, share, value in zip(words, shares, v, strict=True):
    print(f"{word:>10} {share:7.2f}   " + " ".join(f"{number:5.2f}" for number in value))
print("  weighted mean      " + " ".join(f"{number:5.2f}" for number in out))

# %% [markdown]
# **Predict.** The query is zero, so every score is zero. What does the word take?

# %%
undecided = attention(torch.zeros(E), k, v)
print("query zero   " + " ".join(f"{number:5.2f}" for number in undecided))
print("mean of v    " + " ".join(f"{number:5.2f}" for number in v.mean(0)))

# %%
torch.testing.assert_close(out, shares[0] * v[0] + shares[1] * v[1] + shares[2] * v[2])
torch.testing.assert_close(undecided, v.mean(0))
assert (out <= v.max(0).values).all()
assert (out >= v.min(0).values).all()
