# %% [markdown]
# # 3. Placeholders, to get shapes flowing
#
# Words become vectors, every part of a layer becomes the same small network for now, and the shapes flow through the
# whole diagram before any part is right.
#
# *15 minutes*
#
# Nobody can calculate with the string `cat`. So each word becomes a *vector*, a list of numbers; the paper takes 512.
# Training will choose them, and until then we draw them at random. The library that calculates with them is PyTorch.
# Its `Tensor` is a table of numbers with any number of axes, and the lengths of the axes are its *shape*. Several
# sentences are computed together, in a *batch*, so the encoder's input has three axes. Each length has a letter, the
# same in all of this guide:
#
# | letter | length of |
# | --- | --- |
# | B | a batch: sentences computed together |
# | T, S | a target and a source sentence, in words |
# | D | a word's vector, the *width* of the model |
#
# What do we put into the boxes? Attention will take seven stages to build. Instead of waiting for it, we fill every box
# with something that has the right shape and will be replaced: two boxes in a layer of the encoder, three in one of the
# decoder.
#
# The placeholder is the smallest neural network there is. `nn.Linear` makes a new vector $y$ out of the old vector $x$:
# each new number is a sum of all old ones, each times a *weight*, and a constant is added, the *bias*:
# $y_j = b_j + \sum_i w_{ji} x_i$. Then `relu` replaces negative numbers by zero. Weights and biases are the
# *parameters*, the numbers that training will change.


# %% tags=["code"]
import torch
from torch import Tensor, nn

# %% [markdown]
# Three habits of PyTorch appear here. A part that has parameters inherits from `nn.Module` and calls
# `super().__init__()`. Its computation stands in `forward`, which runs when the object is called. A list of parts is an
# `nn.ModuleList`, so that the parameters inside can be found.


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
torch.manual_seed(0)
B, S, T, D = 2, 5, 3, 512
model = Transformer(d_model=D, num_layers=6)
source, target = torch.randn(B, S, D), torch.randn(B, T, D)
out = model(source, target)
for name, x in (("source", source), ("target", target), ("out", out)):
    print(f"{name:6}  {tuple(x.shape)}")
print(f"{sum(weight.numel() for weight in model.parameters()):,} parameters")

# %% [markdown]
# What comes out has the target's shape. `torch.randn` draws the vectors, and the seed makes it draw the same ones in
# every run. The parameters are those of thirty placeholders: six layers of two, and six of three.

# %% [markdown]
# **Predict.** One source word is changed. How many of the target's three output vectors change? And if one target word
# is changed? The answer is in the three `forward` methods.


# %%
def changed(before: Tensor, after: Tensor) -> int:
    return int((before != after).any(-1)[0].sum())


other_source, other_target = source.clone(), target.clone()
other_source[0, 1] += 1.0
other_target[0, 1] += 1.0
after_source, after_target = model(other_source, target), model(source, other_target)
print(f"a source word changes {changed(out, after_source)} of {T} output vectors")
print(f"a target word changes {changed(out, after_target)} of {T} output vectors")

# %% [markdown]
# The source changes nothing: `DecoderLayer.forward` takes the memory and does not use it. A target word changes its own
# vector alone, because the placeholder works on each word for itself. So this model has the right shapes everywhere and
# could not translate a single sentence. A shape that fits says little. The question *what changes when I change this
# word?* says a lot; we will ask it again in stage 10, and of the finished model.
#
# What is missing is a part in which words look at each other. The next seven stages build it.


# %%
assert out.shape == target.shape
assert changed(out, after_source) == 0
assert changed(out, after_target) == 1
