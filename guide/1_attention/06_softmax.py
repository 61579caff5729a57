# %% [markdown]
# # 6. Softmax of one word's scores
#
# A softmax turns scores into shares that are positive and sum to one, and the larger score always gets the larger
# share.
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
def softmax(scores: Tensor) -> Tensor:
    powers = (scores - scores.max()).exp()
    return powers / powers.sum()


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


# %% [markdown]
# **Predict.** Which of the three words gets the largest share? Decide by the scores, before you go on.

# %%
words = ["the", "cat", "sat"]
x = torch.tensor([[1.0, 0.0, 0.0, 0.2], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.1]])
torch.manual_seed(0)
D, E = 4, 3
w_query, w_key, w_value = (torch.randn(D, E) for _ in range(3))

q, k, v = query_key_value(x, w_query, w_key, w_value)
scores = attention_scores(q[1], k)
shares = softmax(scores)
print(f"{words[1]!r} asks   score   share")
for word, score, share in zip(words, scores, shares, strict=True):
    print(f"{word:>10} {score:7.2f} {share:7.2f}")
print(f"       sum         {shares.sum():7.2f}")

# %% [markdown]
# **Predict.** All scores are multiplied by 4, as if the division by the square root had been forgotten at E = 16. Do
# the shares come closer together or drift apart?

# %%
print("scores times" + "".join(f"{word:>7}" for word in words))
sharpened = {}
for factor in (0, 1, 4, 16):
    sharpened[factor] = softmax(factor * scores)
    print(f"{factor:12}" + "".join(f"{share:7.2f}" for share in sharpened[factor]))

# %%
torch.testing.assert_close(shares, scores.softmax(-1))
torch.testing.assert_close(shares.sum(), torch.tensor(1.0))
assert shares.argmax() == scores.argmax()
assert sharpened[16].max() > sharpened[4].max() > sharpened[1].max() > sharpened[0].max()
torch.testing.assert_close(softmax(scores + 100), shares)
assert softmax(torch.tensor([1000.0, 0.0])).isfinite().all()
