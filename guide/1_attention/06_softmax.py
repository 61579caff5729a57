# %% [markdown]
# # 6. Softmax of one word's scores
#
# A softmax turns scores into shares that are positive and sum to one, and the larger score always gets the larger
# share.
#
# *15 minutes*
#
# `cat` has given three scores: −0.46 to `the`, −0.32 to itself, 0.63 to `sat`. It is to take a part from each word, so
# we need shares: none negative, and all together one.
#
# The first thing to try is to divide each score by their sum. The table below shows what comes of it. The sum of these
# scores is negative, so signs turn round: the best word is given a share of less than nothing. Before dividing, every
# score must become positive, and the order must stay.
#
# The exponential function does both: $e^s$ is positive for every $s$, and grows with it. Dividing by the sum of all of
# them gives the *softmax*:
#
# $p_s = e^{\text{score}_s} / \sum_i e^{\text{score}_i}$
#
# Here $p_s$ is the share of word $s$, and the sum runs over all words. Equal steps in the score become equal factors in
# the share, since $e^{a - b} = e^a / e^b$. Therefore only differences between scores count: add 100 to all of them, and
# the shares stay as they are.
#
# The code makes use of that. `exp` of 1000 is infinite for a computer, and infinite divided by infinite is `nan`, not a
# number, which would spread through the whole model. So the largest score is taken away from all of them first. Then
# the largest exponent is 0, and nothing can overflow.


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
# **Predict.** The score of `sat` is larger than that of `cat` by 0.95. Is its share larger by a factor of about 1,
# between 2 and 3, or more than 5?


# %%
words = ["the", "cat", "sat"]
x = torch.tensor([[1.0, 0.0, 0.0, 0.2], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.1]])
torch.manual_seed(0)
D, E = 4, 3
w_query, w_key, w_value = (torch.randn(D, E) for _ in range(3))

q, k, v = query_key_value(x, w_query, w_key, w_value)
scores = attention_scores(q[1], k)
shares = softmax(scores)
print(f"{words[1]!r} asks   score   score / sum   softmax")
for word, score, share in zip(words, scores, shares, strict=True):
    print(f"{word:>10} {score:7.2f} {score / scores.sum():13.2f} {share:9.2f}")
print(f"       sum {scores.sum():7.2f}               {shares.sum():9.2f}")
print(f"sat / cat: a difference of {scores[2] - scores[1]:.2f}, a factor of {shares[2] / shares[1]:.2f}")

# %% [markdown]
# The factor is $e^{0.95}$, between 2 and 3. `sat` is given more than half, and the other two still have about a fifth
# each: a softmax prefers, and leaves nobody out entirely. Hence its name, a soft maximum.

# %% [markdown]
# **Predict.** All scores are multiplied by 4, as if the division by the square root had been forgotten at E = 16. Do
# the shares come closer together or drift apart?


# %%
print("scores times" + "".join(f"{word:>7}" for word in words))
sharpened = {}
for factor in (0, 1, 4, 16):
    sharpened[factor] = softmax(factor * scores)
    print(f"{factor:12}" + "".join(f"{share:7.2f}" for share in sharpened[factor]))

# %% [markdown]
# They drift apart. Times 4, `sat` has 0.97; times 16, all of it to two places. Times 0, all are equal. So the size of
# the scores says how decided the choice is. That is what the square root of the last stage is for: a choice that is
# made before anything has been learned is hard to undo, because shares so near to 0 and 1 hardly move when the scores
# do.
#
# Next, `cat` takes from each word according to its share.


# %%
torch.testing.assert_close(shares, scores.softmax(-1))
torch.testing.assert_close(shares.sum(), torch.tensor(1.0))
assert shares.argmax() == scores.argmax()
torch.testing.assert_close(shares[2] / shares[1], (scores[2] - scores[1]).exp())
assert sharpened[16].max() > sharpened[4].max() > sharpened[1].max() > sharpened[0].max()
torch.testing.assert_close(softmax(scores + 100), shares)
assert softmax(torch.tensor([1000.0, 0.0])).isfinite().all()
