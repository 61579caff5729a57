# %% [markdown]
# # 3. Placeholders, to get shapes flowing
#
# Words become vectors, every part of a layer becomes the same small network for now, and the shapes flow through the
# whole diagram before any part is right.
#
# *15 minutes*

# %% tags=["code"]
import torch
from torch import Tensor, nn


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
# **Predict.** One source word is changed. How many of the target's output vectors change? And if one target word is
# changed?


# %%
def changed(before: Tensor, after: Tensor) -> int:
    return int((before != after).any(-1)[0].sum())


other_source, other_target = source.clone(), target.clone()
other_source[0, 1] += 1.0
other_target[0, 1] += 1.0
after_source, after_target = model(other_source, target), model(source, other_target)
print(f"a source word changes {changed(out, after_source)} of {T} output vectors")
print(f"a target word changes {changed(out, after_target)} of {T} output vectors")

# %%
assert out.shape == target.shape
assert changed(out, after_source) == 0
assert changed(out, after_target) == 1
