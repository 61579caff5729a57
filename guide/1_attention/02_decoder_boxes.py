# %% [markdown]
# # 2. A second stack, and the whole diagram
#
# The decoder is a second stack whose every layer is given two things: the words written so far, and the encoder's
# output.
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
source, target = ["le", "chat", "dort"], ["the", "cat"]
model = Transformer(num_layers=6)
print("source", source)
print("target", target)
print("out   ", model(source, target))

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

# %%
assert model(source, target) == target
assert noting.seen == [f"{word}-1-2-3-4-5-6" for word in source]
