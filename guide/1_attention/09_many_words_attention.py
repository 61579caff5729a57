# %% [markdown]
# # 9. The attention of a whole sentence
#
# Weights times values is one more product, so attention of a whole sentence is one line, and the same line serves one
# word and a batch of sentences.
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
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% tags=["code"]
def softmax(scores: Tensor) -> Tensor:
    powers = (scores - scores.max(-1, keepdim=True).values).exp()
    return powers / powers.sum(-1, keepdim=True)


# %% tags=["code"]
def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return softmax(attention_scores(q, k)) @ v


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
out = attention(q, k, v)
print("word    what it takes")
for word, row in zip(words, out, strict=True):
    print(f"{word:6}" + "".join(f"{number:7.2f}" for number in row))

# %%
print("queries        keys           out")
for shape in ((E,), (5, E), (2, 5, E), (2, 4, 5, E)):
    keys = torch.randn(*shape[:-2], 7, E)
    print(f"{shape!s:14} {tuple(keys.shape)!s:14} {tuple(attention(torch.randn(shape), keys, keys).shape)}")

# %% [markdown]
# **Predict.** The words come in another order. Does a word take something else then?

# %%
order = [2, 0, 1]
shuffled = attention(*query_key_value(x[order], w_query, w_key, w_value))
print("word    what it takes in the new order")
for index, row in zip(order, shuffled, strict=True):
    print(f"{words[index]:6}" + "".join(f"{number:7.2f}" for number in row))

# %%
loop = torch.stack([(scores.softmax(0)[:, None] * v).sum(0) for scores in q @ k.T / E**0.5])
torch.testing.assert_close(out, loop)
torch.testing.assert_close(shuffled, out[order])
batch = torch.stack([x, x[order]])
torch.testing.assert_close(attention(*query_key_value(batch, w_query, w_key, w_value)), torch.stack([out, shuffled]))
