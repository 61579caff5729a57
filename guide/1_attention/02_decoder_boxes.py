# %% [markdown]
# # 2. A second stack, and the whole diagram
#
# The decoder is a second stack whose every layer is given two things: the words written so far, and the encoder's
# output.
#
# *10 minutes*
#
# The encoder reads, and something has to write. That is the *decoder*, the right half of the paper's picture. It writes
# one word at a time: given the source sentence and the words it has written so far, it says what the next word should
# be. Then it is called again, with one word more.
#
# Both are needed. A decoder that saw nothing but its own words would write fluent English about anything at all. One
# that saw nothing but the source would not know how far it has come. So a layer of the decoder takes two arguments:
# `x`, the target words so far, which change from layer to layer as in the encoder, and `memory`, what the encoder made
# of the source. The decoder can look things up in it as often as it likes.
#
# The code is the last stage's with one more argument. The layers are still empty, so nobody looks into the memory yet.
# `Transformer` joins the two halves in one line, and that line is worth reading twice.


# %% tags=["code"]
class EncoderLayer:
    def __call__(self, x: list[str]) -> list[str]:
        return x


# %% tags=["code"]
class Encoder:
    def __init__(self, num_layers: int) -> None:
        self.layers = [EncoderLayer() for _ in range(num_layers)]

    def __call__(self, x: list[str]) -> list[str]:
        for layer in self.layers:
            x = layer(x)
        return x


# %% tags=["code"]
class DecoderLayer:
    def __call__(self, x: list[str], memory: list[str]) -> list[str]:
        return x


# %% tags=["code"]
class Decoder:
    def __init__(self, num_layers: int) -> None:
        self.layers = [DecoderLayer() for _ in range(num_layers)]

    def __call__(self, x: list[str], memory: list[str]) -> list[str]:
        for layer in self.layers:
            x = layer(x, memory)
        return x


# %% tags=["code"]
class Transformer:
    def __init__(self, num_layers: int) -> None:
        self.encoder = Encoder(num_layers)
        self.decoder = Decoder(num_layers)

    def __call__(self, source: list[str], target: list[str]) -> list[str]:
        return self.decoder(target, self.encoder(source))


# %%
from matplotlib import pyplot as plt

# %%
source, target = ["le", "chat", "dort"], ["the", "cat"]
model = Transformer(num_layers=6)
print("source", source)
print("target", target)
print("out   ", model(source, target))

# %% [markdown]
# Two target words go in, so two come out. In the finished model, what comes out in the place of `cat` will be a guess
# at the word that follows it.

# %% [markdown]
# **Predict.** A decoder layer that notes what it is given stands third of six. Does it see the source as the first
# encoder layer got it, as the third encoder layer left it, or as the last one left it?


# %%
class SigningLayer(EncoderLayer):
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, x: list[str]) -> list[str]:
        return [f"{word}-{self.number}" for word in x]


class NotingLayer(DecoderLayer):
    def __call__(self, x: list[str], memory: list[str]) -> list[str]:
        self.seen = memory
        return x


model.encoder.layers = [SigningLayer(number) for number in range(1, 7)]
noting = model.decoder.layers[2] = NotingLayer()
model(source, target)
print("the third decoder layer is given", noting.seen)

# %% [markdown]
# All six encoder layers have signed before any decoder layer sees the source. Two stacks of equal height suggest that
# the third layer here feeds the third layer there, and many drawings look like it. But `self.encoder(source)` is
# computed to its end first, and then the same memory goes to every layer of the decoder. The dashed arrows in the
# picture show it.


# %%
figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
for number in range(1, 7):
    for column, name in ((0, "encoder"), (1, "decoder")):
        box = {"boxstyle": "round", "facecolor": "white"}
        axes.text(column, number, f"{name} layer {number}", bbox=box, ha="center", va="center")
        axes.annotate("", (column, number - 0.25), (column, number - 0.75), arrowprops={"arrowstyle": "->"})
    axes.annotate("", (0.74, number), (0.26, 6), arrowprops={"arrowstyle": "->", "linestyle": "--"})
axes.annotate("out", (1, 6.25), (1, 7), ha="center", arrowprops={"arrowstyle": "<-"})
for name, place in {"source": (0, 0), "target": (1, 0), "memory": (0.5, 6.5)}.items():
    axes.text(*place, name, ha="center")
axes.set(xlim=(-0.5, 1.5), ylim=(-0.2, 7.3))
axes.axis("off")
figure

# %% [markdown]
# So the source is read once, and the decoder, which runs anew for every word it writes, goes on using the same memory.
# A common slip is to hand the decoder `source` where `self.encoder(source)` is meant. With empty layers, and with
# untrained ones too, nothing looks wrong; a layer that notes what it is given tells at once.
#
# The boxes stand as in the paper. They do not compute anything yet, and with words as strings they cannot. The next
# stage turns words into numbers.


# %%
assert model(source, target) == target
assert noting.seen == [f"{word}-1-2-3-4-5-6" for word in source]
