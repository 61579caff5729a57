# %% [markdown]
# # 1. A stack of empty boxes
#
# The paper's encoder is a stack of six layers, and a stack is a loop: what leaves one layer enters the next.
#
# *10 minutes*
#
# A transformer is a program that makes one sequence of words out of another: an English sentence out of a French one,
# or the rest of a text out of its beginning. A paper of 2017, *Attention Is All You Need* (arXiv:1706.03762), describes
# it in a few formulas and one picture made of boxes. In this guide you build all of it. Each stage adds a few lines to
# the program before it and shows what they do. At the end of each part your program is given the same weights as the
# one in this package, and the two must compute the same.
#
# Where does one begin with a picture of boxes? With the boxes. The left half of the picture is the *encoder*. It reads
# the sentence and works out what each word means here, among its neighbours. It consists of six *layers*, all built
# alike, one on top of the other. What happens inside a layer will take us seventeen more stages; until then a layer
# hands on what it is given.
#
# What we know already is how layers are joined. The first is given the sentence, every other is given what the layer
# below it made, and what leaves the last one is the encoder's output. So an encoder is a list and a loop. This works
# because what leaves a layer has the same form as what entered, here a list of words. Six layers could as well be two,
# or sixty.


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


# %%
sentence = ["the", "cat", "sat"]
encoder = Encoder(num_layers=6)
print(f"{len(encoder.layers)} layers")
print("in  ", sentence)
print("out ", encoder(sentence))

# %% [markdown]
# **Predict.** A layer that writes its number on every word takes the place of the second and the fifth. In which order
# do the numbers stand at the end?


# %%
class NumberedLayer(EncoderLayer):
    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, x: list[str]) -> list[str]:
        return [f"{word}-{self.number}" for word in x]


numbered = Encoder(num_layers=6)
numbered.layers[1] = NumberedLayer(2)
numbered.layers[4] = NumberedLayer(5)
print(numbered(sentence))

# %% [markdown]
# First 2, then 5, and on every word. The fifth layer never sees the bare word `cat`; it sees `cat-2`, for the second
# has been there before it. A layer builds on all that is below.

# %% [markdown]
# **Predict.** The program makes its list by `[EncoderLayer() for _ in range(num_layers)]`. Somebody finds
# `[EncoderLayer()] * num_layers` shorter. How many layers are in each list?


# %%
comprehension = [EncoderLayer() for _ in range(6)]
product = [EncoderLayer()] * 6
for name, layers in (("comprehension", comprehension), ("product", product)):
    print(f"{name:14} {len(layers)} entries, {len({id(layer) for layer in layers})} different layers")

# %% [markdown]
# Both lists have six entries, but the shorter line calls `EncoderLayer()` once, and its list names that one layer six
# times. While the boxes are empty nobody notices. Once layers learn, six could learn six things, and one layer six
# times only one. No error is raised, then or now. Stage 11 meets this slip again, where it does real harm.
#
# Next comes the right half of the picture, a second stack. Its layers are given two things instead of one.


# %%
assert len({id(layer) for layer in encoder.layers}) == 6
assert len({id(layer) for layer in product}) == 1
assert encoder(sentence) == sentence
assert numbered(sentence) == ["the-2-5", "cat-2-5", "sat-2-5"]
