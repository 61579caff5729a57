# %% [markdown]
# # 27. What it learned, beside a model that learned nothing
#
# A model has learned something when it is better on examples it never saw than the same model before training.
#
# *15 minutes*
#
# A loss near zero on 32 dates can mean two things: the model has found out how dates are written, or it has 32 answers
# by heart. To tell these apart, we ask for dates that were never shown.
#
# A number by itself says little: is 98% right much? It depends on what is to be had without learning. So an untrained
# model of the same sizes stands beside the trained one. A third line, for dates from the training, shows how much of
# the success is memory: if it is clearly better than that of unseen dates, the model *overfits*, which means that it
# learns its examples rather than the rule.
#
# We measure two things, both with the right earlier tokens given, as in training. The loss takes into account how sure
# the model is. The share of right tokens counts how often its first choice is right.

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


# %% tags=["code"]
def mean_loss(model: Transformer, source: Tensor, target: Tensor) -> Tensor:
    logits = model(source, target[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD)


# %% tags=["code"]
def train(
    model: Transformer,
    source: Tensor,
    target: Tensor,
    steps: int,
    batch_size: int = 64,
    peak: float = 3e-3,
    warmup: int = 50,
) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=peak, betas=(0.9, 0.98), eps=1e-9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / warmup, 1 - step / steps))
    losses = []
    for _ in range(steps):
        rows = torch.randint(len(source), (batch_size,))
        loss = mean_loss(model, source[rows], target[rows])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


# %% [markdown]
# `torch.no_grad()` saves the bookkeeping for gradients, and `model.eval()` switches dropout off, which must not disturb
# a measurement. (The models here have none; the line belongs there all the same.)


# %% tags=["code"]
@torch.no_grad()
def evaluate(model: Transformer, source: Tensor, target: Tensor) -> tuple[float, float]:
    model.eval()
    loss = mean_loss(model, source, target).item()
    right = model(source, target[:, :-1]).argmax(-1) == target[:, 1:]
    real = target[:, 1:] != PAD
    return loss, right[real].float().mean().item()


# %%
import os

from matplotlib import pyplot as plt

from clearformer.data.dates import dates

FULL = os.environ.get("CLEARFORMER_GUIDE") != "short"

# %%
corpus = dates()
tokenizer = Tokenizer(text for pair in corpus.train for text in pair)
train_pairs, test_pairs = ([pair for pair in part if len(pair[0]) <= 11] for part in (corpus.train, corpus.test))
source, target = (batch(texts, tokenizer) for texts in zip(*train_pairs, strict=True))
test_source, test_target = (batch(texts, tokenizer) for texts in zip(*test_pairs[:200], strict=True))
print(f"{len(train_pairs):,} dates of at most 11 characters to learn from; {len(test_source)} others to be judged by")
config = Config(tokenizer.vocab_size, d_model=64, num_heads=4, d_ff=256, dropout=0.0, num_layers=2)

# %% [markdown]
# Short dates only, so that the training takes half a minute or so.

# %% [markdown]
# **Predict.** How often is the untrained model's choice right? And that of the trained one, on dates it has never seen
# and on dates it has?

# %%
torch.manual_seed(0)
untrained, model = Transformer(config), Transformer(config)
losses = train(model, source, target, steps=400 if FULL else 5)
results = {
    "untrained, unseen dates": evaluate(untrained, test_source, test_target),
    "trained, unseen dates": evaluate(model, test_source, test_target),
    "trained, dates it saw": evaluate(model, source[:200], target[:200]),
}
print(f"{'':24}{'loss':>7}{'right':>7}")
for name, (loss, right) in results.items():
    print(f"{name:24}{loss:7.3f}{right:7.1%}")

# %% [markdown]
# The untrained model is right about once in thirty tokens, the trained one nearly always, and on unseen dates as often
# as on those it saw. So it has learned how dates are written. In 400 steps of 64 dates it met each of the 19,319 little
# more than once on average, too seldom to learn them by heart.

# %% [markdown]
# **Predict.** A target like `2034-02-23` has eleven places with its end. At which of them is the trained model wrong
# most often? And at which is even the untrained one right?

# %%
with torch.no_grad():
    hits = [
        (m(test_source, test_target[:, :-1]).argmax(-1) == test_target[:, 1:]).float().mean(0)
        for m in (untrained, model)
    ]
places = ["Y", "Y", "Y", "Y", "-", "M", "M", "-", "D", "D", "END"]
print("".join(f"{place:>6}" for place in places))
for shares in hits:
    print("".join(f"{share:6.0%}" for share in shares))

# %%
figure, axes = plt.subplots(figsize=(5.5, 2.6), layout="constrained")
for shares, shift, shade, name in zip(hits, (-0.2, 0.2), ("1", "0.6"), ("untrained", "trained"), strict=True):
    axes.bar(torch.arange(11).numpy() + shift, 100 * shares.numpy(), 0.4, color=shade, edgecolor="black", label=name)
axes.set_xticks(range(11), places)
axes.set(xlabel="place in the target (T)", ylabel="right tokens (%)")
axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
figure

# %% [markdown]
# Most of a date is copied from the source. But the first digit of the month and of the day may be a 0 that is not
# written there, or the month may be a name, so these two places are the hardest: 97% and 98%.
#
# The untrained model repeats the token it reads. That is right where a digit stands twice, as in 1995 or 2003, and
# never at the first place, since no date begins with `BEGIN`. Without its bars we might have taken such a habit for a
# little knowledge.
#
# So far the model was given the right earlier tokens. Next it has to live on its own.

# %%
untrained_loss, untrained_right = results["untrained, unseen dates"]
loss, right = results["trained, unseen dates"]
assert loss < untrained_loss
assert hits[0].mean() < 0.2
if FULL:
    assert right > 0.95 > 0.2 > untrained_right
