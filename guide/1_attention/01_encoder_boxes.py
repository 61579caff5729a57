# %% [markdown]
# # 1. A stack of empty boxes
#
# The paper's encoder is a stack of six layers, and a stack is a loop: what leaves one layer enters the next.
#
# *10 minutes*

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
# **Predict.** A layer that writes its number on every word takes the place of the second and the fifth. In which
# order do the numbers stand at the end?


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

# %%
assert len({id(layer) for layer in encoder.layers}) == 6
assert encoder(sentence) == sentence
assert numbered(sentence) == ["the-2-5", "cat-2-5", "sat-2-5"]
