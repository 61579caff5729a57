# %% [markdown]
# # 13. All heads in one product
#
# One matrix computes the queries, keys and values of all heads, and an axis of the tensor, not a loop, tells the
# heads apart.
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
B, T, D, H = 2, 5, 64, 8
E = D // H
x = torch.randn(B, T, D)
layer = MultiHeadAttention(D, H)
qkv = layer.qkv_projection(x)
q = split_heads(qkv.chunk(3, dim=-1)[0], H)
for name, tensor in (("x", x), ("queries, keys, values", qkv), ("queries by head", q), ("joined again", join_heads(q))):
    print(f"{name:22} {tuple(tensor.shape)}")

# %% [markdown]
# **Predict.** Someone splits the heads with `x.reshape(B, H, T, E)`, which has the same shape. Is it the same tensor?

# %%
queries = qkv.chunk(3, dim=-1)[0]
wrong = queries.reshape(B, H, T, E)
print(f"shapes {tuple(wrong.shape)} and {tuple(q.shape)}; equal elements: {(wrong == q).float().mean():.0%}")


# %%
def head_by_head(x: Tensor) -> Tensor:
    outputs = []
    for head in range(H):
        rows = slice(head * E, (head + 1) * E)
        q, k, v = (
            x @ weight[rows].T + bias[rows]
            for weight, bias in zip(
                layer.qkv_projection.weight.chunk(3), layer.qkv_projection.bias.chunk(3), strict=True
            )
        )
        outputs.append(attention(q, k, v))
    return layer.output_projection(torch.cat(outputs, dim=-1))


difference = (layer(x) - head_by_head(x)).abs().max().item()
print(f"largest difference: {difference:.0e}")

# %%
assert difference < 1e-5  # float32 sums in another order
assert torch.equal(join_heads(q), queries)
assert not torch.equal(wrong, q)
