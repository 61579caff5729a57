# %% [markdown]
# # 26. Loss, and a tiny set learned by heart
#
# The loss is the mean surprise at the right next token; if a model cannot bring it to nearly zero on a few examples,
# something in it is wrong.
#
# *20 minutes*
#
# To improve, a model needs one number that says how wrong it is. At every place of the target it gives a probability to
# each token that may come next, and the loss is
#
# $\mathcal{L} = -\frac{1}{N} \sum_{t} \ln p(y_t \mid y_1, \dots, y_{t-1}, x)$
#
# $x$ is the source, $y_t$ the token at place $t$ of the target, $p$ the probability that the model gives to it when it
# has read the source and all earlier tokens, and $N$ the number of tokens that are asked for. A right token with
# probability 1 adds nothing, one with 0.01 adds 4.6.
#
# So the decoder is given the target without its last token, and is compared with the target without its first: the same
# row, shifted by one place. The earlier tokens are always the right ones, even if the model would have written others.
#
# PyTorch knows for each parameter how the loss would change if it grew a little: the *gradient*. A step of training
# moves every parameter a little against it.

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


# %% [markdown]
# `ignore_index` leaves the places of `PAD` out. In `train`, *Adam* (Kingma and Ba 2014, arXiv:1412.6980) chooses the
# size of each parameter's step from its last gradients; the *learning rate* scales all of them. It rises to `peak` over
# the first 50 steps, since the gradients of a random model point anywhere, and then falls to zero. A gradient longer
# than 1 is shortened to 1, so that no odd batch does much harm.


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


# %%
import os

from matplotlib import pyplot as plt

from clearformer.data.dates import dates

FULL = os.environ.get("CLEARFORMER_GUIDE") != "short"

# %%
pairs = dates().train[:32]
tokenizer = Tokenizer(text for pair in pairs for text in pair)
source, target = (batch(texts, tokenizer) for texts in zip(*pairs, strict=True))
print("the decoder is given   ", "".join(f"{token:3}" for token in target[0, :-1].tolist()))
print("and is to predict      ", "".join(f"{token:3}" for token in target[0, 1:].tolist()))

# %% [markdown]
# **Predict.** Before the first step, what is the loss, about: zero, like a blind guess among the 53 tokens, or larger?
# And if someone forgets to shift the row, so that the model is to predict the token it is just given?

# %%
torch.manual_seed(0)
model = Transformer(Config(tokenizer.vocab_size, d_model=64, num_heads=4, d_ff=256, dropout=0.0, num_layers=2))
with torch.no_grad():
    logits = model(source, target)
repeats = (logits.argmax(-1) == target)[target != PAD].float().mean().item()
first = mean_loss(model, source, target).item()
unshifted = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD).item()
print(f"blind guess, ln {tokenizer.vocab_size}      {math.log(tokenizer.vocab_size):.2f}")
print(f"untrained model         {first:.2f}")
print(f"the same, not shifted   {unshifted:.2f}")
print(f"{repeats:.0%} of its guesses repeat the token it has just read")

# %% [markdown]
# An untrained model repeats what it reads, so it is far worse than a blind guess at the next token, and nearly perfect
# at the one it has. A program without the shift seems to learn at once, and has nothing to learn. A loss that is much
# too good at the start is as bad a sign as one that does not fall.

# %% [markdown]
# **Predict.** Now it learns these 32 dates, over and over, in 200 steps. What is the loss at the end? Is it a good sign
# if it is nearly zero?

# %%
losses = train(model, source, target, steps=200 if FULL else 5, batch_size=32)
print("step   loss")
for step in (0, 25, 50, 100, 150, 199):
    if step < len(losses):
        print(f"{step + 1:4} {losses[step]:6.3f}")

# %%
figure, axes = plt.subplots(figsize=(5, 2.8), layout="constrained")
axes.semilogy(range(1, len(losses) + 1), losses, label="model")
axes.axhline(math.log(tokenizer.vocab_size), linestyle=":", color="grey", label="blind guess")
axes.set(xlabel="step", ylabel="loss (nats a token)")
axes.legend(frameon=False)
figure

# %% [markdown]
# The unit is the *nat*, since the logarithm is the natural one. In the end the model knows all 32 dates by heart. That
# says that loss, gradients and masks work together, and takes a minute to find out. If it fails, there is no use in a
# longer training.
#
# Whether the model has understood anything is another question, and needs dates it has not seen.

# %%
assert math.log(tokenizer.vocab_size) < first < 2 * math.log(tokenizer.vocab_size)
assert repeats > 0.5
assert unshifted < 1 < first
assert losses[-1] < losses[0]
if FULL:
    assert losses[-1] < 0.05
    other = target.clone()
    other[:, 5:] = tokenizer.encode("-")[1]
    assert torch.equal(model(source, other)[:, :5], model(source, target)[:, :5])
