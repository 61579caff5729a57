# %% [markdown]
# # 25. Data: characters become numbers
#
# A tokenizer gives every character a number, and a batch is a table of such numbers, filled up to the longest row.
#
# *15 minutes*
#
# The model takes numbers of tokens, and we have text. So we need something to learn, and a way to write it in numbers.
#
# Our task is to write dates in the international form: `23.2.2034` becomes `2034-02-23`. It can be learned in a minute,
# an answer is right or wrong, and it is not trivial: the parts change places, months have names, digits are missing.
# All pairs are generated; `5/3/2018` always means the fifth of March. Some are kept apart, so that the model can later
# be asked for dates it has never seen.
#
# What should be a token? If it were a word, every year would be a word of its own, and one that did not occur could be
# neither read nor written. With characters a few dozen tokens are enough for any date. The price is that texts get
# longer, and attention compares every token with every other. Large models take a middle way: tokens are frequent
# pieces of words.
#
# Three tokens stand for no character. `PAD` fills up. `BEGIN` gives the decoder something to start from. `END` is how
# it says that it has finished.

# %% tags=["code"]
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# %% tags=["code"]
PAD, BEGIN, END = 0, 1, 2


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% tags=["code"]
def causal_mask(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()


# %% tags=["code"]
def padding_mask(tokens: Tensor) -> Tensor:
    return (tokens != PAD)[:, None, None, :]


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
@dataclass(frozen=True)
class Config:
    vocab_size: int = 37_000
    d_model: int = 512
    num_heads: int = 8
    d_ff: int = 2048
    dropout: float = 0.1
    num_layers: int = 6


# %% tags=["code"]
class Transformer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        sizes = config.d_model, config.num_heads, config.d_ff, config.dropout, config.num_layers
        self.embedding = TokenEmbedding(config.vocab_size, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = Encoder(*sizes)
        self.decoder = Decoder(*sizes)

    def embed(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        return self.dropout(x + sinusoidal(torch.arange(x.shape[1]), x.shape[2]))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        mask = padding_mask(source)
        memory = self.encoder(self.embed(source), mask)
        x = self.decoder(self.embed(target), memory, mask)
        return F.linear(x, self.embedding.weight)


# %% tags=["code"]
class Tokenizer:
    def __init__(self, texts: Iterable[str]) -> None:
        self.characters = sorted(set("".join(texts)))
        self.ids = {character: number for number, character in enumerate(self.characters, start=END + 1)}
        self.vocab_size = END + 1 + len(self.characters)

    def encode(self, text: str) -> list[int]:
        return [BEGIN, *(self.ids[character] for character in text), END]

    def decode(self, tokens: list[int]) -> str:
        text = tokens[: tokens.index(END)] if END in tokens else tokens
        return "".join(self.characters[token - END - 1] for token in text if token > END)


# %% tags=["code"]
def batch(texts: Iterable[str], tokenizer: Tokenizer) -> Tensor:
    rows = [torch.tensor(tokenizer.encode(text)) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


# %%
from matplotlib import pyplot as plt

from clearformer.data.dates import dates

# %%
corpus = dates()
for source, target in corpus.train[:6]:
    print(f"{source:32} {target}")
print(f"{len(corpus.train):,} pairs to learn from, {len(corpus.test):,} kept apart")

# %% [markdown]
# **Predict.** How many different characters do the dates have, sources and targets together? There are ten digits, and
# names of months and weekdays with large and small letters.

# %%
tokenizer = Tokenizer(text for pair in corpus.train for text in pair)
print(f"{len(tokenizer.characters)} characters: {''.join(tokenizer.characters)}")
print(f"vocabulary V = {tokenizer.vocab_size}, with padding, begin and end")
text = corpus.train[0][1]
print(text, "->", tokenizer.encode(text))

# %% [markdown]
# Not all letters occur: no name has a `k`, a `q` or a `z`. The first and last number of the line are `BEGIN` and `END`.
# Which character has which number makes no difference, as long as it is the same everywhere. A model that is loaded
# with another tokenizer than it was trained with reads nonsense, and does not notice.

# %%
torch.manual_seed(0)
sources = [corpus.train[number][0] for number in torch.randperm(len(corpus.train))[:2048]]
tokens = batch(sources[:32], tokenizer)
figure, axes = plt.subplots(figsize=(5, 3.4), layout="constrained")
axes.imshow((tokens != PAD).numpy(), aspect="auto", cmap="Greys", vmin=0, vmax=1.6)
axes.set(xlabel="place in the source (S)", ylabel="row of the batch (B = 32)")
figure

# %% [markdown]
# A batch as the model gets it: grey are characters, white is padding, as wide as the longest row needs.

# %% [markdown]
# **Predict.** What share of a batch is padding, if it has 4, 32 or 256 rows? Does the share depend on their number?

# %%
shares = {}
for rows in (4, 32, 256):
    batches = [batch(sources[start : start + rows], tokenizer) for start in range(0, 2048, rows)]
    shares[rows] = sum((tokens == PAD).sum().item() for tokens in batches) / sum(tokens.numel() for tokens in batches)
    print(f"{rows:4} rows  {shares[rows]:.0%} padding")

# %% [markdown]
# The more rows, the longer the longest of them, and all are filled up to it. The model computes padding like anything
# else, which is why training programs put sentences of like length into one batch.
#
# Now there are pairs of numbers. The next stage turns them into a loss, and the loss into learning.

# %%
assert all(tokenizer.decode(tokenizer.encode(text)) == text for pair in corpus.test for text in pair)
assert tokens.shape == (32, max(len(source) for source in sources[:32]) + 2)
assert shares[4] < shares[32] < shares[256]
assert not {source for source, _ in corpus.train} & {source for source, _ in corpus.test}
