# %% [markdown]
# # 35. The decoder alone: a GPT
#
# Without a source there is nothing to encode and nothing to cross to: what is left of the program when both are deleted
# is a GPT.
#
# *15 minutes*
#
# A translator reads one text and writes another. Often there is only one: a story to be continued, a question whose
# answer is to follow it. Then the encoder has nothing to read. And two texts can be written one behind the other, with
# a mark between them. So most language models of today have a decoder alone, and do every task by continuing a text.
# The name *GPT*, generative pre-trained transformer, comes from the first well known one (Radford et al. 2018,
# *Improving Language Understanding by Generative Pre-Training*).
#
# Nothing new comes in. From the program go `Encoder` and `EncoderLayer`, `CrossAttention`, the cache's `memory`, and
# the padding mask. What was the decoder's layer is now causal attention and feed-forward, the same two parts as in an
# encoder's layer; the causal mask is all that makes it a decoder. `GPT` is the rest of `Transformer`: embedding,
# decoder, and the table once more for the logits.
#
# Why no padding mask? A GPT mostly learns from pieces of a long text, all of one length. If rows are padded all the
# same, padding stands at the end, and the causal mask hides it. Only padding in front of a text would be seen.

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


# %%
from dataclasses import asdict

from matplotlib import pyplot as plt

from clearformer.config import GPTConfig, TransformerConfig
from clearformer.models import gpt
from clearformer.models.build import load_weights, weights_of
from clearformer.models.transformer import Transformer as PackageTransformer

modern = {"norm": "rms", "activation": "swiglu", "positions": "rotary"}

# %% [markdown]
# **Predict.** Without encoder and cross-attention, about what share of the parameters is left, with the paper's sizes:
# a third, half, or more?

# %%
with torch.device("meta"):
    base = GPT(Config())
    both = PackageTransformer(TransformerConfig(**asdict(Config()), context=512, norm_order="pre", **modern))


def count(model: nn.Module, part: str = "") -> int:
    return sum(weight.numel() for name, weight in model.named_parameters() if part in name)


print(f"{'':18}{'encoder and decoder':>20}{'GPT':>14}")
rows = {"embedding": "embedding", "encoder": "encoder.", "decoder": "decoder.", "  cross-attention": "cross_attention"}
for name, part in (rows | {"all": ""}).items():
    print(f"{name:18}{count(both, part):20,}{count(base, part):14,}")
print(f"left: {count(base) / count(both):.0%}")

# %%
figure, axes = plt.subplots(figsize=(6, 1.9), layout="constrained")
for row, each in enumerate((both, base)):
    crossing, left = count(each, "cross_attention"), 0.0
    parts = {"embedding": count(each, "embedding"), "encoder": count(each, "encoder."),
             "decoder": count(each, "decoder.") - crossing, "cross-attention": crossing}  # fmt: skip
    for (name, number), (shade, hatch) in zip(
        parts.items(), (("0.85", ""), ("1", "//"), ("0.6", ""), ("0", "")), strict=True
    ):
        label = None if row else name
        axes.barh(row, number / 1e6, left=left, color=shade, hatch=hatch, edgecolor="black", label=label)
        left += number / 1e6
axes.set_yticks(range(2), ["encoder and decoder", "GPT"])
axes.invert_yaxis()
axes.set_xlabel("million parameters")
axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.4, 1))
figure

# %% [markdown]
# More than half. The encoder was a third, and cross-attention a few per cent. The table of tokens stays whole, since
# both stacks shared it. The GPT's decoder has exactly as many parameters as the encoder that went, because its layers
# have the same parts.

# %% [markdown]
# **Predict.** The sixth of nine tokens is changed. In which rows do the logits change? And if the tokens come in parts
# of 4, 1, 3 and 1 through the cache, are the logits the same as all at once?

# %%
sizes = {"vocab_size": 50, "d_model": 64, "num_heads": 8, "num_kv_heads": 2, "d_ff": 256, "dropout": 0.0}
torch.manual_seed(0)
model = GPT(Config(**sizes, num_layers=2)).eval()
tokens = torch.randint(50, (2, 9))
other = tokens.clone()
other[:, 5] = (other[:, 5] + 1) % 50
with torch.no_grad():
    logits = model(tokens)
    change = (model(other) - logits).abs().amax((0, 2))
    cache = [LayerCache() for _ in model.decoder.layers]
    parts = [model(part, cache) for part in tokens.split([4, 1, 3, 1], dim=1)]
cached = (torch.cat(parts, dim=1) - logits).abs().max().item()
print("row   " + "".join(f"{row:6}" for row in range(1, 10)))
print("change" + "".join(f"{size:6.2f}" for size in change))
print(f"in parts, through the cache: largest difference {cached:.0e}")

# %% [markdown]
# Rows 1 to 5 stay as they were: none of them sees ahead. Row 6 changes most, since its own token is another. So each
# row answers the question "what comes next?" without a look at the answer.

# %%
package_model = gpt.GPT(GPTConfig(**sizes, num_layers=2, context=32, scale_embeddings=True, **modern)).eval()
load_weights(package_model, weights_of(model))
with torch.no_grad():
    difference = (logits - package_model(tokens)).abs().max().item()
print(f"largest difference from the package's GPT: {difference:.0e}")

# %% [markdown]
# `scale_embeddings` is needed because our table multiplies its vectors by $\sqrt{D}$, as the paper of 2017 does; GPT-2
# does not. With that the two agree.
#
# The program is little more than half as long as at the end of part 4, and it is the kind of model that most people
# mean today. It remains to look at what such a model has learned.

# %%
tolerance = 1e-5  # float32 sums in another order
assert difference < tolerance
assert cached < tolerance
assert change[:5].max() < tolerance < change[5:].min()
assert count(base, "embedding") == 37_000 * 512
assert count(both) - count(base) == count(both, "encoder.") + count(both, "cross_attention")
