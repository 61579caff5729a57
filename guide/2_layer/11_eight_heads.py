# %% [markdown]
# # 11. Eight heads, and one head eight times
#
# Several narrow heads ask several questions at once, but only if each has weights of its own.
#
# *25 minutes*

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

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([head(x) for head in self.heads], dim=-1)


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
torch.manual_seed(0)
B, T, D, H = 1, 5, 64, 8
x = torch.randn(B, T, D)
attention_layer = MultiHeadAttention(D, H)
print(f"{H} heads of width {D // H}: in {tuple(x.shape)}, out {tuple(attention_layer(x).shape)}")


# %%
class OneHeadEightTimes(MultiHeadAttention):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        self.heads = nn.ModuleList([SingleHeadAttention(d_model, d_model // num_heads)] * num_heads)


class HeadsInAList(MultiHeadAttention):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        del self.heads
        self.heads = [SingleHeadAttention(d_model, d_model // num_heads)] * num_heads


# %% [markdown]
# **Predict.** All three layers have eight heads in a row, and give outputs of the same shape. How many parameters
# does an optimizer find in each?


# %%
def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def equal_heads(layer: MultiHeadAttention) -> int:
    first, *others = layer(x).chunk(H, dim=-1)
    return sum(torch.equal(first, other) for other in others)


layers = {"eight heads": attention_layer, "[head] * 8": OneHeadEightTimes(D, H), "a plain list": HeadsInAList(D, H)}
print(f"{'':14}{'out':>12}{'parameters':>12}{'copies of head 0':>18}")
for name, layer in layers.items():
    print(f"{name:14}{tuple(layer(x).shape)!s:>12}{count(layer):12,}{equal_heads(layer):18}")

# %%
assert all(layer(x).shape == x.shape for layer in layers.values())
assert [count(layer) for layer in layers.values()] == [3 * D * D, 3 * D * D // H, 0]
assert [equal_heads(layer) for layer in layers.values()] == [0, H - 1, H - 1]
encoder = Encoder(D, H, num_layers=2)
assert encoder(x).shape == x.shape
