# %% [markdown]
# # 17. Positions: where a word stands
#
# Attention does not know the order of words, so a vector of sines and cosines that belongs to the place is added to
# each word.
#
# *20 minutes*
#
# To attention a sentence is a bag of words, as stage 9 has shown. The feed-forward network and the norm work on each
# word by itself, so they know no better. Something must tell a word its place.
#
# The first thing to try is to add the place itself, 0 for the first word, 1 for the second. But then the hundredth word
# drowns in its place. Fractions of the length fail too, since a step would mean more in a short sentence than in a long
# one. What we want are numbers of fixed size, different for each place, with equal steps.
#
# A clock has that. Its hand never leaves the dial, and each minute turns it by the same angle. One hand soon repeats
# itself, so a clock has several, some fast, some slow. The paper takes D / 2 hands, and writes the tip of each as two
# numbers, the sine and the cosine of its angle:
#
# $P_{p, 2i} = \sin(p / 10000^{2i / D})$,  $P_{p, 2i+1} = \cos(p / 10000^{2i / D})$
#
# Here $p$ is the place, counted from 0, and $i$ the number of the hand. Hand 0 turns by an angle of 1 with each word,
# so it is round after $2\pi$ words, a little more than six. Each hand is slower than the one before by the same factor.
# In the code `wavelengths` is the number of words for an angle of 1; a whole turn takes $2\pi$ times as many.
#
# $P_p$ is added to the vector of word $p$ once, before the first layer, by the method `embed`. Adding keeps the width
# at D, and training can find room for both.


# %% tags=["code"]
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% tags=["code"]
def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention_scores(q, k).softmax(-1) @ v


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

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv_projection(x).chunk(3, dim=-1))
        return self.output_projection(join_heads(attention(q, k, v)))


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
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.norm = LayerNorm(d_model)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return self.norm(x + sublayer(x))


# %% tags=["code"]
def sinusoidal(positions: Tensor, d_model: int) -> Tensor:
    wavelengths = 10_000.0 ** (torch.arange(0, d_model, 2) / d_model)
    angles = positions[:, None] / wavelengths
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


# %% tags=["code"]
class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.attention_residual = PostNormResidual(d_model)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.feed_forward_residual = PostNormResidual(d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_residual(x, self.attention)
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, num_heads, d_ff) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


# %% tags=["code"]
class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.attention = FeedForward(d_model, d_ff)
        self.cross_attention = FeedForward(d_model, d_ff)
        self.feed_forward = FeedForward(d_model, d_ff)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = self.attention(x)
        x = self.cross_attention(x)
        return self.feed_forward(x)


# %% tags=["code"]
class Decoder(nn.Module):
    def __init__(self, d_model: int, d_ff: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(d_model, d_ff) for _ in range(num_layers))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, memory)
        return x


# %% tags=["code"]
class Transformer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, num_layers: int) -> None:
        super().__init__()
        self.encoder = Encoder(d_model, num_heads, d_ff, num_layers)
        self.decoder = Decoder(d_model, d_ff, num_layers)

    def embed(self, x: Tensor) -> Tensor:
        return x + sinusoidal(torch.arange(x.shape[1]), x.shape[2])

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(self.embed(target), self.encoder(self.embed(source)))


# %%
from matplotlib import pyplot as plt

# %% [markdown]
# **Predict.** The words of a sentence are put into another order. Do the encoder's vectors change, or only their order?
# And with positions?


# %%
torch.manual_seed(0)
T, D = 6, 64
model = Transformer(D, num_heads=8, d_ff=256, num_layers=2)
x = torch.randn(1, T, D)
order = torch.tensor([3, 0, 5, 1, 2, 4])


def difference(embed: Callable[[Tensor], Tensor]) -> float:
    return (model.encoder(embed(x[:, order])) - model.encoder(embed(x))[:, order]).abs().max().item()


without, with_positions = difference(lambda x: x), difference(model.embed)
print(f"a word's vector changes by {without:.0e} without positions, by {with_positions:.1f} with them")

# %% [markdown]
# Without positions only rounding changes; with them a word's vector is another in another place. The picture shows the
# first 50 positions: on the left four of the 64 elements, as curves; on the right all of them, a row for each position.
# The stripes are slow hands, whose sines stay near 0 and whose cosines stay near 1.


# %%
table = sinusoidal(torch.arange(50), D)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for element, style in zip((0, 8, 16, 32), ("-", "--", "-.", ":"), strict=True):
    axes[0].plot(table[:, element], style, label=f"element {element}")
axes[0].set(xlabel="position (T)", ylabel="added number", ylim=(-1.1, 2.1))
axes[0].legend(frameon=False, ncols=2, loc="upper right")
image = axes[1].imshow(table.numpy(), aspect="auto", cmap="Greys", vmin=-1, vmax=1)
axes[1].set(xlabel="element of the vector (D)", ylabel="position (T)")
figure.colorbar(image)
figure

# %% [markdown]
# **Predict.** The dot product of two positions says how alike they are. Does it depend on where they stand, or on how
# far apart they are?


# %%
print("apart   from 0  from 10  from 30")
for apart in (0, 1, 5, 15):
    print(f"{apart:5}" + "".join(f"{table[start] @ table[start + apart]:9.2f}" for start in (0, 10, 30)))

# %% [markdown]
# Only on how far apart they are: all three columns are equal. For one hand,
# $\sin a \sin b + \cos a \cos b = \cos(a - b)$, and the dot product adds this up over all hands. In the table, places
# close together are more alike than places further off. So a head can learn to look at the word before, wherever that
# is, with what it has: dot products.
#
# The usual slip comes later, when words are generated one at a time, and each is given position 0 because it arrives
# alone. `embed` counts from 0 whatever it is given; part 4 will have to be careful.
#
# The encoder now has all its parts but one.


# %%
assert without < 1e-5 < with_positions
torch.testing.assert_close(table[0], torch.tensor([0.0, 1.0]).repeat(D // 2))
torch.testing.assert_close(table[7, :2], torch.tensor([math.sin(7), math.cos(7)]))
torch.testing.assert_close(table[10] @ table[15], table[30] @ table[35], atol=1e-4, rtol=0)
assert table[0] @ table[0] > table[0] @ table[1] > table[0] @ table[5]
