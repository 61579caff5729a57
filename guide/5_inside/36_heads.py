# %% [markdown]
# # 36. Inside the heads
#
# A head can be drawn, scored and taken out: the first two say where it looks, the third whether the model needs it, and
# a text of another kind says what it has learned.
#
# *30 minutes*
#
# The loss says how well a model does, not how. So we look inside the model of stage 35, on a task that we know
# completely: sixteen random tokens, then the same sixteen again. `repeated` makes the texts; `mean_loss` and `train`
# are much as in part 4.
#
# A famous answer to how a model could do it is: to go on after B, look for an earlier B, and take what stood behind it.
# A head that does so is an *induction head* (Elhage et al. 2021, *A Mathematical Framework for Transformer Circuits*;
# Olsson et al. 2022, arXiv:2209.11895). It needs help, for a key does not know which token stood before it: a head in
# an earlier layer must first bring each token the one before. Such heads have been found in language models of many
# sizes. Does ours have one?

# %% tags=["code"]
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% tags=["code"]
def causal_mask(length: int, past: int = 0) -> Tensor:
    return torch.ones(length, past + length, dtype=torch.bool).tril(past)


# %% tags=["code"]
def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
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
def rotary(x: Tensor, positions: Tensor) -> Tensor:
    width = x.shape[-1]
    angles = positions[:, None] * 10_000.0 ** (-torch.arange(0, width, 2) / width)
    first, second = x.chunk(2, dim=-1)
    return torch.cat(
        (first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()), dim=-1
    )


# %% tags=["code"]
class LayerCache:
    def __init__(self) -> None:
        self.past: tuple[Tensor, Tensor] | None = None

    @property
    def length(self) -> int:
        return 0 if self.past is None else self.past[0].shape[2]

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.past is not None:
            k, v = torch.cat((self.past[0], k), dim=2), torch.cat((self.past[1], v), dim=2)
        self.past = k, v
        return k, v


# %% tags=["code"]
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, num_heads: int, num_kv_heads: int) -> None:
        super().__init__()
        self.heads = num_heads, num_kv_heads, num_kv_heads
        self.qkv_projection = nn.Linear(d_model, sum(self.heads) * (d_model // num_heads))
        self.output_projection = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None, cache: LayerCache | None = None) -> Tensor:
        q, k, v = split_heads(self.qkv_projection(x), sum(self.heads)).split(self.heads, dim=1)
        past = 0 if cache is None else cache.length
        positions = torch.arange(past, past + x.shape[1])
        q, k = rotary(q, positions), rotary(k, positions)
        if cache is not None:
            k, v = cache.extend(k, v)
        return self.output_projection(join_heads(attention(q, k, v, mask)))


# %% tags=["code"]
class GatedFeedForward(nn.Module):
    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, 2 * d_ff)
        self.linear2 = nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.linear1(x).chunk(2, dim=-1)
        return self.linear2(F.silu(gate) * up)


# %% tags=["code"]
class RMSNorm(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Tensor) -> Tensor:
        return x / torch.sqrt(x.square().mean(-1, keepdim=True) + 1e-5) * self.weight


# %% tags=["code"]
class PreNormResidual(nn.Module):
    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.norm = RMSNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + self.dropout(sublayer(self.norm(x)))


# %% tags=["code"]
class TokenEmbedding(nn.Module):
    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.scale = math.sqrt(d_model)
        self.weight = nn.Parameter(torch.randn(vocab_size, d_model) / self.scale)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.embedding(tokens, self.weight) * self.scale


# %% tags=["code"]
class DecoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, num_kv_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads, num_kv_heads)
        self.attention_residual = PreNormResidual(d_model, dropout)
        self.feed_forward = GatedFeedForward(d_model, d_ff)
        self.feed_forward_residual = PreNormResidual(d_model, dropout)

    def forward(self, x: Tensor, mask: Tensor, cache: LayerCache | None = None) -> Tensor:
        x = self.attention_residual(x, lambda x: self.attention(x, mask, cache))
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Decoder(nn.Module):
    def __init__(
        self, d_model: int, num_heads: int, num_kv_heads: int, d_ff: int, dropout: float, num_layers: int
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(d_model, num_heads, num_kv_heads, d_ff, dropout) for _ in range(num_layers)
        )
        self.norm = RMSNorm(d_model)

    def forward(self, x: Tensor, cache: list[LayerCache] | None = None) -> Tensor:
        mask = causal_mask(x.shape[1], 0 if cache is None else cache[0].length)
        for index, layer in enumerate(self.layers):
            x = layer(x, mask, None if cache is None else cache[index])
        return self.norm(x)


# %% tags=["code"]
@dataclass(frozen=True)
class Config:
    vocab_size: int = 37_000
    d_model: int = 512
    num_heads: int = 8
    num_kv_heads: int = 2
    d_ff: int = 2048
    dropout: float = 0.1
    num_layers: int = 6


# %% tags=["code"]
class GPT(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        sizes = config.d_model, config.num_heads, config.num_kv_heads, config.d_ff, config.dropout, config.num_layers
        self.embedding = TokenEmbedding(config.vocab_size, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = Decoder(*sizes)

    def forward(self, tokens: Tensor, cache: list[LayerCache] | None = None) -> Tensor:
        x = self.decoder(self.dropout(self.embedding(tokens)), cache)
        return F.linear(x, self.embedding.weight)


# %% tags=["code"]
def repeated(rows: int, half: int, vocab_size: int) -> Tensor:
    tokens = torch.randint(vocab_size, (rows, half))
    return torch.cat((tokens, tokens), dim=1)


# %% tags=["code"]
def mean_loss(model: GPT, tokens: Tensor) -> Tensor:
    logits = model(tokens[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


# %% tags=["code"]
def train(model: GPT, steps: int, peak: float = 3e-3, warmup: int = 50) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), lr=peak, betas=(0.9, 0.98), eps=1e-9)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / warmup, 1 - step / steps))
    losses = []
    for _ in range(steps):
        loss = mean_loss(model, repeated(64, 16, model.embedding.weight.shape[0]))
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

from clearformer.config import GPTConfig
from clearformer.inspection.ablate import ablate
from clearformer.inspection.record import record
from clearformer.inspection.scores import head_scores, induction_scores
from clearformer.models import gpt
from clearformer.models.build import load_weights, weights_of

FULL = os.environ.get("CLEARFORMER_GUIDE") != "short"

# %% [markdown]
# **Predict.** The first sixteen of 32 possible tokens are random, the others repeat them. What is the best loss there
# is, for each half?

# %%
torch.manual_seed(0)
V, H, L, HALF = 32, 4, 2, 16
sizes = {"vocab_size": V, "d_model": 64, "num_heads": H, "num_kv_heads": H, "d_ff": 128, "dropout": 0.0}
model = GPT(Config(**sizes, num_layers=L))
losses = train(model, steps=400 if FULL else 5)
print("step   loss")
for step in (0, 99, 199, 249, 299, 399):
    if step < len(losses):
        print(f"{step + 1:4} {losses[step]:6.2f}")

# %%
package_model = gpt.GPT(
    GPTConfig(
        **sizes,
        num_layers=L,
        context=2 * HALF,
        norm="rms",
        activation="swiglu",
        positions="rotary",
        scale_embeddings=True,
    )
).eval()
load_weights(package_model, weights_of(model))
tokens = repeated(64, HALF, V)


@torch.no_grad()
def halves(model: nn.Module, tokens: Tensor) -> tuple[float, float]:
    half = tokens.shape[1] // 2
    losses = F.cross_entropy(model(tokens[:, :-1]).transpose(1, 2), tokens[:, 1:], reduction="none")
    return losses[:, : half - 1].mean().item(), losses[:, half:].mean().item()


with torch.no_grad():
    difference = (model(tokens) - package_model(tokens)).abs().max().item()
first, second = halves(package_model, tokens)
print(f"best for 31 guesses, 15 blind and 16 known: {15 * math.log(V) / 31:.2f}")
print("a text:", *tokens[0, :HALF].tolist(), "| the same again")
print(f"loss of the first half {first:.2f}, of the second {second:.2f}; blind guess, ln {V}: {math.log(V):.2f}")
print(f"largest difference of the package's model with these weights: {difference:.0e}")

# %% [markdown]
# In the first half nothing can be known: ln 32, or a little more for bold guesses. In the second everything can: zero.
# For 200 steps the model learns next to nothing, and within the next hundred it finds the way.
#
# The first token of the copy is among the sixteen known guesses: in all texts it comes at the same place, so whoever
# counts knows it. Keep that in mind.

# %% [markdown]
# **Predict.** To go on with the copy, a head has to look at the token behind the first occurrence of the present one.
# How many places back is that? Look for a stripe there, in each head.

# %%
with torch.no_grad(), record(package_model, "attention") as trace:
    package_model(tokens[:1])
figure, axes = plt.subplots(L, H, figsize=(7, 3.8), layout="constrained", sharex=True, sharey=True)
for layer, weights in enumerate(trace.attention.values()):
    for head in range(H):
        axes[layer, head].imshow(weights[0, head].numpy(), cmap="Greys", vmin=0, vmax=1)
        axes[layer, head].set_title(f"layer {layer + 1}, head {head + 1}", fontsize=8)
axes[0, 0].set(xticks=(0, HALF - 1, 2 * HALF - 1), yticks=(0, HALF - 1, 2 * HALF - 1))
figure.supxlabel("key (S)")
figure.supylabel("query (T)")
figure

# %% [markdown]
# Fifteen: the same token stands sixteen back. Heads 2 and 4 of layer 1 have the stripe all along, two others have parts
# of it. They look like induction heads, but in the first layer nothing has told a key yet what stood before it. And the
# stripe begins at query 15, where nothing has been repeated.
#
# The *induction score* is a head's mean weight in the stripe, over several texts, and *previous* its weight one place
# back. Whether the model uses what a head looks at, only an intervention can say: `ablate` puts in place of a head's
# output its mean over all these texts, so that what depended on the text is gone.

# %% [markdown]
# **Predict.** Each head is taken out in turn. Without which will the second half's loss rise most? Is there one with a
# stripe that the model can do without?

# %%
scores = head_scores(package_model, (tokens,))
induction = induction_scores(package_model)
print("layer head   previous   induction   loss of the second half without it")
without = {}
for place in scores:
    with ablate(package_model, place, mean=(tokens,)):
        without[place] = halves(package_model, tokens)[1]
    layer, head = int(place[0].split(".")[2]) + 1, place[1] + 1
    print(f"{layer:5}{head:5}{scores[place]['previous']:11.2f}{induction[place]:12.2f}{without[place]:15.2f}")
strongest = sorted(induction, key=induction.get)[-2:]
for name, places in (("both of the highest score", strongest), ("all others", set(scores) - set(strongest))):
    with ablate(package_model, *places, mean=(tokens,)):
        print(f"without {name}: {halves(package_model, tokens)[1]:.2f}")

# %% [markdown]
# Without head 2 or head 4 of layer 1 the loss rises from 0.07 to 1.33 and 1.56, and without both it is worse than a
# blind guess. Two other heads score a little above a half: without head 1 of layer 1 the loss is 0.22, without head 2
# of layer 2 it does not change. A score says what a head looks at, not whether anything depends on it.
#
# And no head looks at the previous token with more than 0.23 of its weight, though induction needs one that does.

# %% [markdown]
# **Predict.** Have these heads learned to find the copy, or to look fifteen places back? In texts with halves of
# twelve, what is the loss of the second half, about: 0.1, 3.5, or more?

# %%
short = repeated(64, 12, V)
shorter = halves(package_model, short)[1]
with torch.no_grad(), record(package_model, "attention") as trace:
    package_model(short)
weights = trace.attention[strongest[0][0]].mean(0)
back = {distance: weights.diagonal(-distance, -2, -1)[:, -8:].mean(-1) for distance in (11, 15)}
print(f"loss of the second half of 12: {shorter:.2f}; of 16: {second:.2f}; blind guess: {math.log(V):.2f}")
print("layer 1   behind the copy, 11 back   15 back")
for _, head in sorted(strongest):
    print(f"head {head + 1}{back[11][head]:20.2f}{back[15][head]:18.2f}")

# %% [markdown]
# Far more than a blind guess costs: both heads still look fifteen places back. They have not learned to find anything,
# but a distance, which rotary positions make easy and which was right in every text of the training. A drawing and a
# score give an idea of what a head does; a text for which two ideas foresee different things shows which of them is
# true.
#
# What would make a model search? Texts in which counting does not help: let `train` draw the length of the halves anew
# at each step, and give it many more steps.
#
# Here the stages end. They began with empty boxes, and you have seen each filled, proved, trained and opened.
# `clearformer explore` opens the models that you train, and `clearformer check` looks for silent mistakes in any
# transformer, such as the one you write next.

# %%
assert len(scores) == L * H
assert difference < 1e-4  # float32 sums in another order
if FULL:
    assert first > math.log(V) - 0.1
    assert second < 0.5
    assert min(induction[place] for place in strongest) > 0.5
    assert max(without, key=without.get) in strongest
    assert any(induction[place] > 0.5 and without[place] < second + 0.05 for place in induction)
    assert max(without.values()) > second + 0.5
    assert shorter > math.log(V)
    assert all(back[15][head] > 0.5 > 0.1 > back[11][head] for _, head in strongest)
