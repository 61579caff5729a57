# %% [markdown]
# # 21. The decoder
#
# A decoder layer is an encoder layer with a mask, and with cross-attention in its middle; each of its three parts
# adds to the sum and is normed.
#
# *15 minutes*
#
# The decoder's parts are all there, but they stand one behind the other as in stage 14, before there were residuals:
# each replaces what it is given. Stage 15 showed what that does to a deep stack. The gradient, which tells the first
# layers how to improve, hardly reaches them. So each part gets the same wrapping as in the encoder:
#
# $x \leftarrow \text{norm}(x + \text{dropout}(\text{part}(x)))$
#
# $x$ is the vector of a word, and *part* is self-attention with the mask, then cross-attention, then feed-forward. The
# order has a reason: a word first finds out what was said before it, then asks the source with what it found, and then
# works on the result by itself.

# %% tags=["code"]
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% tags=["code"]
def causal_mask(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


# %% tags=["code"]
def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = attention_scores(q, k)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ v


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

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv_projection(x).chunk(3, dim=-1))
        return self.output_projection(join_heads(attention(q, k, v, mask)))


# %% tags=["code"]
class CrossAttention(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_projection = nn.Linear(d_model, d_model)
        self.kv_projection = nn.Linear(d_model, 2 * d_model)
        self.output_projection = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        q = split_heads(self.query_projection(x), self.num_heads)
        k, v = (split_heads(part, self.num_heads) for part in self.kv_projection(memory).chunk(2, dim=-1))
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


# %% [markdown]
# The residual calls its part with `x` alone. Two of the parts need more, the mask or the memory. `lambda x: …` makes a
# small function of `x` that brings it along.


# %% tags=["code"]
class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.attention_residual = PostNormResidual(d_model, dropout)
        self.cross_attention = CrossAttention(d_model, num_heads)
        self.cross_attention_residual = PostNormResidual(d_model, dropout)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.feed_forward_residual = PostNormResidual(d_model, dropout)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        x = self.attention_residual(x, lambda x: self.attention(x, mask))
        x = self.cross_attention_residual(x, lambda x: self.cross_attention(x, memory))
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Decoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(d_model, num_heads, d_ff, dropout) for _ in range(num_layers))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        mask = causal_mask(x.shape[1])
        for layer in self.layers:
            x = layer(x, memory, mask)
        return x


# %% tags=["code"]
class Transformer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.encoder = Encoder(d_model, num_heads, d_ff, dropout, num_layers)
        self.decoder = Decoder(d_model, num_heads, d_ff, dropout, num_layers)

    def embed(self, x: Tensor) -> Tensor:
        return self.dropout(x + sinusoidal(torch.arange(x.shape[1]), x.shape[2]))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(self.embed(target), self.encoder(self.embed(source)))


# %%
from clearformer.blocks.decoder import Decoder as PackageDecoder
from clearformer.blocks.decoder import DecoderLayer as PackageLayer
from clearformer.blocks.feedforward import FeedForward as PackageFeedForward
from clearformer.blocks.multihead import CrossAttention as PackageCrossAttention
from clearformer.blocks.multihead import MultiHeadAttention as PackageAttention
from clearformer.blocks.norm import LayerNorm as PackageNorm
from clearformer.blocks.residual import PostNormResidual as PackageResidual

# %% [markdown]
# **Predict.** How many more parameters has a decoder layer than an encoder layer, in per cent? Attention has four
# matrices of D by D; feed-forward has two of D by F, and F is 4 D here.

# %%
torch.manual_seed(0)
D, H, F, L = 64, 8, 256, 3
encoder_layer, decoder_layer = EncoderLayer(D, H, F, dropout=0.1), DecoderLayer(D, H, F, dropout=0.1)
counts = [sum(weight.numel() for weight in layer.parameters()) for layer in (encoder_layer, decoder_layer)]
print(f"encoder layer {counts[0]:7,}")
print(f"decoder layer {counts[1]:7,}  {counts[1] / counts[0] - 1:+.0%}")

# %% [markdown]
# An encoder layer has 4 matrices' worth of D by D in attention and 8 in feed-forward, a decoder layer 4 more: a third
# of 12. Biases and the third norm make it 34%.

# %% [markdown]
# **Predict.** Three decoder layers stand on each other, and all of them read the memory. The third of four target words
# is changed. Can that reach the first word by a detour, up a layer, or through the memory? And if a source word is
# changed?

# %%
decoder = Decoder(D, H, F, dropout=0.1, num_layers=L).eval()
x, memory = torch.randn(2, 4, D), torch.randn(2, 7, D)
out = decoder(x, memory)
other_x, other_memory = x.clone(), memory.clone()
other_x[:, 2] += 1.0
other_memory[:, 4] += 1.0
changed = {
    "the third target word": (decoder(other_x, memory) != out)[0].any(-1).tolist(),
    "a vector of the memory": (decoder(x, other_memory) != out)[0].any(-1).tolist(),
}
print("changed                  output vectors")
for name, answers in changed.items():
    print(f"{name:24} " + " ".join("changes" if answer else "same   " for answer in answers))

# %% [markdown]
# There is no detour. In every layer a word takes from earlier places only, so what starts at the third place stays at
# the third and behind it, however many layers there are. And the memory was made by the encoder, which never sees the
# target. A single layer without its mask would be enough to undo this for the whole stack.


# %%
def package_layer() -> PackageLayer:
    return PackageLayer(
        PackageAttention(D, H, causal=True),
        PackageResidual(PackageNorm(D)),
        PackageCrossAttention(D, H),
        PackageResidual(PackageNorm(D)),
        PackageFeedForward(D, F, nn.ReLU()),
        PackageResidual(PackageNorm(D)),
    )


package_decoder = PackageDecoder((package_layer() for _ in range(L)), nn.Identity()).eval()
package_decoder.load_state_dict(decoder.state_dict())
difference = (out - package_decoder(x, memory)).abs().max().item()
print(f"largest difference from clearformer.blocks.decoder.Decoder: {difference:.0e}")

# %% [markdown]
# With the same weights, the package's decoder gives the same vectors up to rounding. What goes in, though, is still
# random numbers, and what comes out are vectors nobody can read. The next stage gives the model words.

# %%
assert counts[1] - counts[0] == 4 * D * D + 4 * D + 2 * D
assert changed == {"the third target word": [False, False, True, True], "a vector of the memory": [True] * 4}
assert difference < 1e-5  # float32 sums in another order
torch.testing.assert_close(decoder(x[:, :2], memory), out[:, :2])
