# %% [markdown]
# # 18. The encoder, and its proof
#
# Dropout hides a random part of every sum while the model learns and nothing afterwards; with it the encoder is
# whole, and equal to the package's.
#
# *20 minutes*

# %% tags=["code"]
import math
from collections.abc import Callable

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
class LayerNorm(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5) * self.weight + self.bias


# %% tags=["code"]
class PostNormResidual(nn.Module):
    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.norm = LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return self.norm(x + self.dropout(sublayer(x)))


# %% tags=["code"]
def sinusoidal(positions: Tensor, d_model: int) -> Tensor:
    wavelengths = 10_000.0 ** (torch.arange(0, d_model, 2) / d_model)
    angles = positions[:, None] / wavelengths
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)


# %% tags=["code"]
class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.attention_residual = PostNormResidual(d_model, dropout)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.feed_forward_residual = PostNormResidual(d_model, dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_residual(x, self.attention)
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, num_heads, d_ff, dropout) for _ in range(num_layers))

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
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.encoder = Encoder(d_model, num_heads, d_ff, dropout, num_layers)
        self.decoder = Decoder(d_model, d_ff, num_layers)

    def embed(self, x: Tensor) -> Tensor:
        return self.dropout(x + sinusoidal(torch.arange(x.shape[1]), x.shape[2]))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(self.embed(target), self.encoder(self.embed(source)))


# %%
from clearformer.blocks.encoder import Encoder as PackageEncoder
from clearformer.blocks.encoder import EncoderLayer as PackageLayer
from clearformer.blocks.feedforward import FeedForward as PackageFeedForward
from clearformer.blocks.multihead import MultiHeadAttention as PackageAttention
from clearformer.blocks.norm import LayerNorm as PackageNorm
from clearformer.blocks.residual import PostNormResidual as PackageResidual

# %%
torch.manual_seed(0)
x = torch.ones(10_000)
dropout = nn.Dropout(0.1)
dropped = dropout(x)
zeros = (dropped == 0).float().mean()
print(f"in training: {zeros:.1%} are zero, the others {dropped.max():.3f}, mean {dropped.mean():.3f}")
dropout.eval()
print(f"afterwards:  {(dropout(x) == 0).float().mean():.1%} are zero, mean {dropout(x).mean():.3f}")

# %% [markdown]
# **Predict.** The encoder is called twice with the same words. Is the output the same in training? In evaluation?

# %%
D, H, F, L = 64, 8, 256, 3
encoder = Encoder(D, H, F, dropout=0.1, num_layers=L)
x = torch.randn(2, 5, D)
repeats = {}
for mode in ("training", "evaluation"):
    encoder.train(mode == "training")
    repeats[mode] = torch.equal(encoder(x), encoder(x))
    print(f"{mode:10}  the same output twice: {repeats[mode]}")


# %%
def package_layer() -> PackageLayer:
    return PackageLayer(
        PackageAttention(D, H),
        PackageResidual(PackageNorm(D), dropout=0.1),
        PackageFeedForward(D, F, nn.ReLU()),
        PackageResidual(PackageNorm(D), dropout=0.1),
    )


package_encoder = PackageEncoder((package_layer() for _ in range(L)), nn.Identity()).eval()
package_encoder.load_state_dict(encoder.state_dict())
difference = (encoder(x) - package_encoder(x)).abs().max().item()
print(f"{sum(weight.numel() for weight in encoder.parameters()):,} parameters with the same names")
print(f"largest difference from clearformer.blocks.encoder.Encoder: {difference:.0e}")

# %%
assert abs((dropped == 0).float().mean() - 0.1) < 0.02
assert repeats == {"training": False, "evaluation": True}
assert difference < 1e-5  # float32 sums in another order
