# %% [markdown]
# # 15. Residual: add, do not replace
#
# A layer that adds to its input, where the one before replaced it, leaves a way through which the input reaches the
# output, and the gradient the first layer.
#
# *20 minutes*

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
class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.feed_forward = FeedForward(d_model, d_ff)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return x + self.feed_forward(x)


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

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(target, self.encoder(source))


# %%
from matplotlib import pyplot as plt

# %% [markdown]
# **Predict.** Twelve layers, with and without the sum. By what factor is the gradient at the first layer smaller than
# at the last?


# %%
class ReplacingLayer(EncoderLayer):
    def forward(self, x: Tensor) -> Tensor:
        return self.feed_forward(self.attention(x))


def gradients(layer_class: type[EncoderLayer], num_layers: int = 12) -> list[float]:
    torch.manual_seed(0)
    layers = nn.ModuleList(layer_class(64, 8, 256) for _ in range(num_layers))
    x = torch.randn(4, 10, 64)
    for layer in layers:
        x = layer(x)
    x.square().mean().backward()
    return [layer.feed_forward.linear2.weight.grad.norm().item() for layer in layers]


norms = {"replacing": gradients(ReplacingLayer), "adding": gradients(EncoderLayer)}
print("layer" + "".join(f"{name:>12}" for name in norms))
for layer in (0, 3, 6, 9, 11):
    print(f"{layer + 1:5}" + "".join(f"{values[layer]:12.1e}" for values in norms.values()))

# %%
figure, axes = plt.subplots(figsize=(5, 2.8), layout="constrained")
for (name, values), marker in zip(norms.items(), "os", strict=True):
    axes.semilogy(range(1, 13), values, marker=marker, label=name)
axes.set(xlabel="layer (L = 12)", ylabel="gradient norm")
axes.legend(frameon=False)
figure

# %%
assert norms["replacing"][0] < 1e-3 * norms["replacing"][-1]
assert norms["adding"][0] > 0.1 * norms["adding"][-1]
layer, x = EncoderLayer(64, 8, 256), torch.randn(1, 5, 64)
with torch.no_grad():
    for part in (layer.attention.output_projection, layer.feed_forward.linear2):
        part.weight.zero_()
        part.bias.zero_()
assert torch.equal(layer(x), x)
