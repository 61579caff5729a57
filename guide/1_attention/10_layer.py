# %% [markdown]
# # 10. The layer, and its proof
#
# A module keeps the three matrices where an optimizer finds them, and with the same weights it computes what the
# package's block computes.
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
class SingleHeadAttention(nn.Module):
    def __init__(self, d_model: int, head_width: int) -> None:
        super().__init__()
        self.query_projection = nn.Linear(d_model, head_width, bias=False)
        self.key_projection = nn.Linear(d_model, head_width, bias=False)
        self.value_projection = nn.Linear(d_model, head_width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return attention(self.query_projection(x), self.key_projection(x), self.value_projection(x))


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
from clearformer.blocks.attention import SingleHeadAttention as PackageHead

# %%
torch.manual_seed(0)
B, T, D, E = 2, 5, 16, 4
head = SingleHeadAttention(D, E)
x = torch.randn(B, T, D)
out = head(x)
print(f"in {tuple(x.shape)}, out {tuple(out.shape)}")
for name, weight in head.named_parameters():
    print(f"{name:24} {tuple(weight.shape)}")

# %% [markdown]
# **Predict.** One word of one sentence is changed. How many output vectors of that sentence change, and how many of
# the other?

# %%
other = x.clone()
other[0, 2] += 1.0
changed = (head(other) != out).any(-1).sum(-1).tolist()
print(f"first sentence: {changed[0]} of {T} vectors; second sentence: {changed[1]} of {T}")

# %%
package_head = PackageHead(D, E)
package_head.load_state_dict(head.state_dict())
difference = (out - package_head(x, x)).abs().max().item()
print(f"largest difference from clearformer.blocks.attention.SingleHeadAttention: {difference:.0e}")

# %%
assert changed == [T, 0]
assert sum(weight.numel() for weight in head.parameters()) == 3 * D * E
assert difference < 1e-5  # float32 sums in another order
