# %% [markdown]
# # 20. Cross-attention: the decoder reads the source
#
# The decoder asks and the encoder answers: queries come from the target, keys and values from the source.
#
# *15 minutes*
#
# The decoder is given `memory`, the vectors that leave the encoder, and does nothing with them. Whatever the French
# said, it would write the same English. The mean of the source vectors would be a summary, but the same one for every
# target word, whichever source word it needs.
#
# Attention already takes from many vectors what one of them asks for. Nothing in it demands that the words that ask and
# those that answer are the same. So queries are made from the target, keys and values from the memory:
#
# $Q = X W_q, \qquad K = M W_k, \qquad V = M W_v$
#
# $X$ holds the $T$ vectors of the target, $M$ the $S$ vectors of the memory, and the three $W$ are learned matrices.
# The scores $QK^\top$ are a table of $T$ rows and $S$ columns: each target word shares out its weight among the source
# words. Every decoder layer reads the same memory, the encoder's finished output.

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


# %% [markdown]
# Two matrices where self-attention has one: keys and values are still made together, but queries come from other
# vectors.


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


# %% tags=["code"]
class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.cross_attention = CrossAttention(d_model, num_heads)
        self.feed_forward = FeedForward(d_model, d_ff)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        x = self.attention(x, mask)
        x = self.cross_attention(x, memory)
        return self.feed_forward(x)


# %% tags=["code"]
class Decoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(d_model, num_heads, d_ff) for _ in range(num_layers))

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
        self.decoder = Decoder(d_model, num_heads, d_ff, num_layers)

    def embed(self, x: Tensor) -> Tensor:
        return self.dropout(x + sinusoidal(torch.arange(x.shape[1]), x.shape[2]))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(self.embed(target), self.encoder(self.embed(source)))


# %%
from matplotlib import pyplot as plt

# %%
torch.manual_seed(0)
B, S, T, D, H = 1, 7, 4, 64, 8
layer = CrossAttention(D, H)
x, memory = torch.randn(B, T, D), torch.randn(B, S, D)
q = split_heads(layer.query_projection(x), H)
k, v = (split_heads(part, H) for part in layer.kv_projection(memory).chunk(2, dim=-1))
weights = attention_scores(q, k).softmax(-1)
for name, tensor in (("queries", q), ("keys", k), ("values", v), ("weights", weights), ("out", layer(x, memory))):
    print(f"{name:8} {tuple(tensor.shape)}")

# %% [markdown]
# The weights are (B, H, T, S), a table of 4 by 7 for each of eight heads. What comes out has T rows again.
#
# Training makes queries and keys such that words of one meaning find each other. Here we do it by hand: a word's vector
# has a 2.5 at the place of its meaning, and zeros elsewhere.

# %% [markdown]
# **Predict.** `le chat noir dort` becomes `the black cat is sleeping`. Where in the table of 5 rows and 4 columns are
# the large weights? Are they on the diagonal?

# %%
french, english = ["le", "chat", "noir", "dort"], ["the", "black", "cat", "is", "sleeping"]
keys = 2.5 * torch.eye(4)
queries = keys[[0, 2, 1, 3, 3]]
alignment = attention_scores(queries, keys).softmax(-1)
figure, axes = plt.subplots(figsize=(3.6, 3.2), layout="constrained")
axes.imshow(alignment.numpy(), cmap="Greys", vmin=0, vmax=1)
for row, weights_of_word in enumerate(alignment.tolist()):
    for column, weight in enumerate(weights_of_word):
        axes.text(column, row, f"{weight:.2f}", color="white" if weight > 0.5 else "black", ha="center", va="center")
axes.set(xlabel="source (S)", ylabel="target (T)")
axes.set_xticks(range(len(french)), french)
axes.set_yticks(range(len(english)), english)
figure

# %% [markdown]
# The adjective has changed its place, so the weights leave the diagonal; `is` and `sleeping` both look at `dort`.

# %% [markdown]
# **Predict.** In stage 3, where every part was a placeholder, a source word changed none of the output vectors. How
# many of the four does it change now?

# %%
model = Transformer(D, H, d_ff=256, dropout=0.0, num_layers=2)
other = memory.clone()
other[0, 1] += 1.0
changed = int((model(memory, x) != model(other, x)).any(-1).sum())
print(f"a source word changes {changed} of {T} output vectors")

# %% [markdown]
# All: each takes from every vector of the memory, over which the encoder has spread the change.

# %% [markdown]
# **Predict.** Does cross-attention need a causal mask? If it did, the first two target words would come out otherwise
# when the last two are taken away.

# %%
shorter = layer(x[:, :2], memory)
difference = (layer(x, memory)[:, :2] - shorter).abs().max().item()
print(f"the first two words, with and without the other two: largest difference {difference:.0e}")

# %% [markdown]
# This is rounding. The source is all there before the first word is written, so nothing in it is the future.
#
# A causal mask given to cross-attention by mistake does not fit if T and S differ. If they are equal, nothing
# complains, and the first target word sees one source word only.
#
# The decoder has its three parts now. They still replace their input, where the encoder's add to it.

# %%
assert weights.shape == (B, H, T, S)
assert changed == T
assert difference < 1e-5  # float32 sums in another order
assert alignment.argmax(-1).tolist() == [0, 2, 1, 3, 3]
torch.testing.assert_close(layer(x, memory), layer.output_projection(join_heads(weights @ v)))
