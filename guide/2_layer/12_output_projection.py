# %% [markdown]
# # 12. Back to the model's width
#
# Side by side, each head fills its own part of a word's vector; one more matrix mixes what they found and returns it to
# the width of the model.
#
# *15 minutes*
#
# With eight heads of width 8 side by side, the numbers 0 to 7 of a word's vector belong to head 0, the numbers 8 to 15
# to head 1, and so on. The shape fits, so one could leave it at that. But then a head can write into its own eight
# places only. If what it found should change number 50, it has no way to do so; and where two heads found the same
# thing, nobody can add up their evidence.
#
# The paper puts one more matrix behind the heads, the *output projection* $W_O$:
#
# $\text{MultiHead}(x) = [o_1, o_2, …, o_H] W_O$
#
# where $o_h$ is the output of head $h$, the brackets set the outputs side by side, and $W_O$ has H · E rows and D
# columns. Every new number is a sum over all numbers of all heads. To *project* is to multiply by such a matrix, no
# more. Whatever H · E is, D numbers come out, as the next part of the layer expects.


# %% tags=["code"]
import math

import torch
from torch import Tensor, nn


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% tags=["code"]
def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention_scores(q, k).softmax(-1) @ v


# %% tags=["code"]
class SingleHeadAttention(nn.Module):
    def __init__(self, d_model: int, head_width: int) -> None:
        super().__init__()
        self.query_projection = nn.Linear(d_model, head_width, bias=False)
        self.key_projection = nn.Linear(d_model, head_width, bias=False)
        self.value_projection = nn.Linear(d_model, head_width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return attention(self.query_projection(x), self.key_projection(x), self.value_projection(x))


# %% tags=["code"]
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(SingleHeadAttention(d_model, d_model // num_heads) for _ in range(num_heads))
        self.output_projection = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.output_projection(torch.cat([head(x) for head in self.heads], dim=-1))


# %% tags=["code"]
class FeedForward(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear1(x).relu()


# %% tags=["code"]
class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.feed_forward = FeedForward(d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x)
        return self.feed_forward(x)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, num_heads) for _ in range(num_layers))

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
    def __init__(self, d_model: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.encoder = Encoder(d_model, num_heads, num_layers)
        self.decoder = Decoder(d_model, num_layers)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(target, self.encoder(source))


# %%
from matplotlib import pyplot as plt

# %% [markdown]
# **Predict.** Only head 3's values are changed; the heads are counted from 0. Which of the 64 output numbers change
# without the projection, and which with it?


# %%
torch.manual_seed(0)
T, D, H = 5, 64, 8
x = torch.randn(1, T, D)
layer = MultiHeadAttention(D, H)


def joined(x: Tensor) -> Tensor:
    return torch.cat([head(x) for head in layer.heads], dim=-1)


with torch.no_grad():
    before = joined(x), layer(x)
    layer.heads[3].value_projection.weight += 0.1
    after = joined(x), layer(x)
changes = torch.stack([(new - old)[0, 0].abs() for old, new in zip(before, after, strict=True)])
places = changes[0].nonzero().flatten()
print(f"heads side by side   {len(places):2} of {D} numbers change, {places.min()} to {places.max()}")
print(f"after the projection {int((changes[1] > 0).sum()):2} of {D} numbers change")


# %%
figure, axes = plt.subplots(figsize=(6, 1.6), layout="constrained")
axes.imshow((changes / changes.amax(1, keepdim=True)).numpy(), aspect="auto", cmap="Greys")
axes.set_yticks([0, 1], ["side by side", "projected"])
axes.set_xlabel("element of the first word's vector (D)")
figure

# %% [markdown]
# Side by side, eight numbers change, 24 to 31, which are the places of head 3. Behind the projection all 64 change,
# some more, some less, as the matrix has it; the darker a stripe, the larger the change. The eight of the first row
# change by equal amounts, since the same number was added to all of the head's value weights.
#
# Here is another way to read the formula. Cut $W_O$ into H pieces of E rows. Then the sum falls apart into one sum for
# each head, so each head writes to all of the word's vector with a piece of matrix of its own, and what the heads write
# is added. Later, when we look inside a trained model, this allows us to ask what a single head contributed.
#
# To forget this matrix is a silent slip, since H · E is D in nearly every model and all shapes still fit. Comparing
# parameters with arithmetic finds it: attention has four matrices of D · D numbers, not three.
#
# Multi-head attention is complete now. It is also slow: eight heads are eight turns of a Python loop.


# %%
E = D // H
assert places.tolist() == list(range(3 * E, 4 * E))
assert (changes[1] > 0).sum() == D
by_hand = joined(x) @ layer.output_projection.weight.T + layer.output_projection.bias
torch.testing.assert_close(layer(x), by_hand)
