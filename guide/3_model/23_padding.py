# %% [markdown]
# # 23. Padding: sentences of different length
#
# A batch is a rectangle, so short sentences are filled up with a token that nobody may attend to.
#
# *15 minutes*
#
# A model learns from many sentences at once, a *batch*, since one large product is much faster than many small ones. A
# tensor is a rectangle, though, and sentences are of different length. So the short ones are filled up with a token
# that means nothing, number 0, called `PAD`.
#
# To the model, `PAD` is a token like any other: it has a key and a value, and gets its share of every word's attention.
# Then what a sentence means depends on how long the other sentences of its batch are. The remedy is a mask as in stage
# 19, made from the tokens themselves: no word may ask a `PAD`.

# %% tags=["code"]
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# %% tags=["code"]
PAD = 0


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% tags=["code"]
def causal_mask(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


# %% tags=["code"]
def padding_mask(tokens: Tensor) -> Tensor:
    return (tokens != PAD)[:, None, None, :]


# %% [markdown]
# The mask has the shape (B, 1, 1, S). The scores are (B, H, T, S), and where the mask has a 1, PyTorch repeats it along
# that axis (this is called *broadcasting*): all heads and all words that ask use the same mask, each sentence its own.


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

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        q = split_heads(self.query_projection(x), self.num_heads)
        k, v = (split_heads(part, self.num_heads) for part in self.kv_projection(memory).chunk(2, dim=-1))
        return self.output_projection(join_heads(attention(q, k, v, mask)))


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
class TokenEmbedding(nn.Module):
    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.scale = math.sqrt(d_model)
        self.weight = nn.Parameter(torch.randn(vocab_size, d_model) / self.scale)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.weight) * self.scale


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

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.attention_residual(x, lambda x: self.attention(x, mask))
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, num_heads, d_ff, dropout) for _ in range(num_layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return x


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

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        x = self.attention_residual(x, lambda x: self.attention(x, mask))
        x = self.cross_attention_residual(x, lambda x: self.cross_attention(x, memory, memory_mask))
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Decoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(d_model, num_heads, d_ff, dropout) for _ in range(num_layers))

    def forward(self, x: Tensor, memory: Tensor, memory_mask: Tensor | None = None) -> Tensor:
        mask = causal_mask(x.shape[1])
        for layer in self.layers:
            x = layer(x, memory, mask, memory_mask)
        return x


# %% tags=["code"]
class Transformer(nn.Module):
    def __init__(
        self, vocab_size: int, d_model: int, num_heads: int, d_ff: int, dropout: float, num_layers: int
    ) -> None:
        super().__init__()
        self.embedding = TokenEmbedding(vocab_size, d_model)
        self.dropout = nn.Dropout(dropout)
        self.encoder = Encoder(d_model, num_heads, d_ff, dropout, num_layers)
        self.decoder = Decoder(d_model, num_heads, d_ff, dropout, num_layers)

    def embed(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return self.dropout(x + sinusoidal(torch.arange(x.shape[1]), x.shape[2]))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = padding_mask(source)
        memory = self.encoder(self.embed(source), mask)
        x = self.decoder(self.embed(target), memory, mask)
        return F.linear(x, self.embedding.weight)


# %%
from matplotlib import pyplot as plt

# %%
torch.manual_seed(0)
V = 50
model = Transformer(V, d_model=64, num_heads=8, d_ff=256, dropout=0.0, num_layers=2)
source = torch.tensor([[5, 8, 13, 21, 34], [7, 9, 11, PAD, PAD]])
target = torch.tensor([[3, 4, 6, 10], [3, 4, PAD, PAD]])
for tokens, mask in zip(source.tolist(), padding_mask(source)[:, 0, 0], strict=True):
    print("".join(f"{token:4}" for token in tokens), "   ", "".join("#" if may else "." for may in mask))

# %% [markdown]
# The mask goes to two places: to the encoder, and to the decoder's cross-attention, which reads the source as well.

# %% [markdown]
# **Predict.** The second sentence alone, without padding, against the same sentence in the batch: are the logits of
# its two target words the same? And if the mask is left out?


# %%
@torch.no_grad()
def difference(source: Tensor, target: Tensor, use_mask: bool) -> float:
    mask = padding_mask(source) if use_mask else None
    memory = model.encoder(model.embed(source), mask)
    batched = F.linear(model.decoder(model.embed(target), memory, mask), model.embedding.weight)
    alone = model(torch.tensor([[7, 9, 11]]), torch.tensor([[3, 4]]))
    return (batched[-1, :2] - alone[0]).abs().max().item()


masked, unmasked = difference(source, target, True), difference(source, target, False)
print(f"largest difference: {masked:.0e} with the mask, {unmasked:.2f} without")

# %%
lengths = range(21)
filled = [F.pad(torch.tensor([[7, 9, 11]]), (0, length), value=PAD) for length in lengths]
figure, axes = plt.subplots(figsize=(5, 2.8), layout="constrained")
for name, use_mask, marker in (("without the mask", False, "o"), ("with the mask", True, "s")):
    axes.plot(lengths, [difference(row, target[1:], use_mask) for row in filled], marker=marker, label=name)
axes.set(xlabel="PAD tokens behind a source of 3", ylabel="difference of logits", xticks=range(0, 21, 4))
axes.legend(frameon=False)
figure

# %% [markdown]
# With the mask only rounding is left, however much padding there is. Without it, two `PAD` are enough to move a logit
# by 0.56, where logits are of size one. No error says so; the usual sign is a model whose answers depend on the batch.

# %% [markdown]
# **Predict.** Nothing hides the `PAD` of the target. Another token is written in their place. Do the logits of the two
# real words change?

# %%
other = target.clone()
other[1, 2:] = 17
with torch.no_grad():
    moved = (model(source, other) - model(source, target))[1].abs().amax(-1)
print("logits change by  " + "".join(f"{number:6.2f}" for number in moved))

# %% [markdown]
# They do not: padding stands behind the words, so to them it is the future, and the causal mask hides it already. The
# two rows at the padded places are nonsense, and are left out when the loss is computed.

# %% [markdown]
# **Predict.** A sentence is nothing but padding. What are the weights of a row in which everything is hidden?

# %%
row = torch.randn(5).masked_fill(torch.ones(5, dtype=torch.bool), -math.inf)
print(row.softmax(-1).tolist())

# %% [markdown]
# `nan`, "not a number", is what zero divided by zero gives, and whatever it meets becomes `nan` too; after one training
# step that is the whole model. From stage 25 on every sentence has a token for its beginning and one for its end, so
# none is empty. The model is complete, and next it is counted and proven.

# %%
assert masked < 1e-5  # float32 sums in another order
assert unmasked > 0.01
assert difference(filled[-1], target[1:], True) < 1e-5
assert moved[:2].tolist() == [0, 0]
assert (moved[2:] > 0).all()
assert row.softmax(-1).isnan().all()
