# %% [markdown]
# # 14. Feed-forward: each word by itself
#
# After attention has mixed the words, the same two-layer network works on each of them alone: it widens the vector,
# cuts off what is negative, and narrows it again.
#
# *15 minutes*

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
        x = self.attention(x)
        return self.feed_forward(x)


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
torch.manual_seed(0)
T, D, F = 5, 64, 256
layer = FeedForward(D, F)
x = torch.randn(1, T, D)
hidden = layer.linear1(x).relu()
print(f"in {tuple(x.shape)}, hidden {tuple(hidden.shape)}, out {tuple(layer(x).shape)}")
print(f"{(hidden == 0).float().mean():.0%} of the hidden numbers are zero")

# %% [markdown]
# **Predict.** Of the parameters of one encoder layer, what share is feed-forward, what share attention?

# %%
encoder_layer = EncoderLayer(D, 8, F)
counts = {name: sum(w.numel() for w in part.parameters()) for name, part in encoder_layer.named_children()}
for name, count in counts.items():
    print(f"{name:13}{count:8,}  {count / sum(counts.values()):.0%}")

# %% [markdown]
# **Predict.** Without the cut at zero, how many matrices would the two be worth?

# %%
product = layer.linear2.weight @ layer.linear1.weight
bias = layer.linear2.weight @ layer.linear1.bias + layer.linear2.bias
without_relu = layer.linear2(layer.linear1(x))
collapsed = (without_relu - (x @ product.T + bias)).abs().max().item()
with_relu = (layer(x) - (x @ product.T + bias)).abs().max().item()
print(f"one matrix in place of two, largest difference: {collapsed:.0e} without the cut, {with_relu:.1f} with it")

# %%
assert counts == {"attention": 4 * D * D + 4 * D, "feed_forward": 2 * D * F + F + D}
assert collapsed < 1e-5 < with_relu
changed = x.clone()
changed[0, 2] += 1.0
assert (layer(changed) != layer(x)).any(-1).tolist() == [[False, False, True, False, False]]
