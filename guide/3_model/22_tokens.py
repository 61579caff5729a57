# %% [markdown]
# # 22. Tokens in, logits out
#
# A table gives every token its vector on the way in, and the same table, used the other way round, gives every token a
# score on the way out.
#
# *20 minutes*
#
# So far random vectors stood for words. Text comes in pieces called *tokens*: words, parts of words or characters. Each
# of the $V$ tokens of the *vocabulary* has a number. As an input it is no good, for token 7 is not more than token 3 in
# any way. So the model keeps a table, the *embedding*, of $V$ rows and $D$ columns, and a token's vector is its row,
# learned like any parameter.
#
# At the other end a vector has to become a choice among $V$ tokens. Its dot product with a token's row is that token's
# score, its *logit*:
#
# $z_i = h \cdot e_i$
#
# $h$ is the decoder's vector at one place, $e_i$ the row of token $i$, $z_i$ its logit. A softmax of the logits gives
# the probabilities of the next token. One might learn a second table for this; the paper uses the first one twice, and
# saves $V \cdot D$ parameters.

# %% tags=["code"]
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


# %% [markdown]
# The two uses ask for numbers of different size. The rows have elements of about $1/\sqrt{D}$, so that logits, sums of
# $D$ products, come out at about one. On the way in the rows are multiplied by $\sqrt{D}$, or the positions would drown
# them. `F.embedding` picks the rows.


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
        x = self.decoder(self.embed(target), self.encoder(self.embed(source)))
        return F.linear(x, self.embedding.weight)


# %%
from matplotlib import pyplot as plt

# %%
torch.manual_seed(0)
V, D, H = 1_000, 64, 8
model = Transformer(V, D, H, d_ff=256, dropout=0.0, num_layers=2)
source, target = torch.randint(V, (32, 7)), torch.randint(V, (32, 10))
logits = model(source, target).detach()
print(f"source {tuple(source.shape)}, target {tuple(target.shape)}, logits {tuple(logits.shape)}")


def size(x: Tensor) -> float:
    return x.square().mean().sqrt().item()


sizes = {
    "rows of the table": size(model.embedding.weight),
    "token vectors": size(model.embedding(source)),
    "positions": size(sinusoidal(torch.arange(7), D)),
    "logits": size(logits),
}
for name, value in sizes.items():
    print(f"size of {name:18} {value:.2f}")

# %% [markdown]
# Without the factor, a token's elements would be 0.12 beside positions of 0.71: the model would know where a word
# stands and hardly which word it is.

# %% [markdown]
# **Predict.** At each place, take the token with the largest logit. Nothing has been learned yet: are these tokens as
# good as drawn from a hat, or is there a rule in them?

# %%
repeats = (logits.argmax(-1) == target).float().mean().item()
print(f"the token that stands at this place in the target: {repeats:.0%} of the guesses")

# %%
read = logits.gather(-1, target[..., None]).flatten()
figure, axes = plt.subplots(figsize=(5.2, 2.6), layout="constrained")
axes.hist(logits.flatten(), bins=60, density=True, color="0.75", label="all tokens")
axes.hist(read, bins=20, density=True, histtype="step", color="black", label="the token just read")
axes.set(xlabel="logit", ylabel="density")
axes.legend(frameon=False)
figure

# %% [markdown]
# The model repeats what it has just read. Every residual lets the token's vector through, so much of it comes out at
# the top, where it is compared with its own row. Training has to teach the model to say something else.

# %% [markdown]
# **Predict.** The *loss* says how far the model is from right: $-\ln p$, where $p$ is the probability it gave to the
# right token. A blind guess gives each of the 1,000 tokens the same. What is its loss? Is that of the untrained model
# smaller or larger?

# %%
labels = torch.randint(V, target.shape)
loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten()).item()
wasted = logits.softmax(-1).gather(-1, target[..., None]).mean().item()
print(f"blind guess, ln {V:,}   {math.log(V):.2f}")
print(f"untrained model      {loss:.2f}")
print(f"probability it spends on repeating: {wasted:.0%}")

# %% [markdown]
# Larger: to be sure of the wrong thing is worse than to know nothing. A first loss somewhat above $\ln V$ is what a
# healthy model of this kind has; many times $\ln V$ would mean that the logits are too large, for example because
# $\sqrt{D}$ stands once too often.
#
# All rows of this batch were of one length. Sentences are not, and the next stage is about that.

# %%
assert logits.shape == (32, 10, V)
assert math.log(V) < loss < math.log(V) + 1
assert repeats > 0.5
one_hot = F.one_hot(source, V).float() @ model.embedding.weight * math.sqrt(D)
torch.testing.assert_close(model.embedding(source), one_hot)
assert sum(name == "embedding.weight" for name, _ in model.named_parameters()) == 1
other = target.clone()
other[0, 3] = (other[0, 3] + 1) % V
assert torch.equal(model(source, other)[0, :3], logits[0, :3])
