# %% [markdown]
# # 16. Norm, after the sum or before the part
#
# A norm brings every word's vector to the same size; the paper puts it after the sum, and most models since put it
# before the part, where it leaves the sum alone.
#
# *25 minutes*
#
# A layer that adds makes vectors larger. Larger vectors make larger queries and keys, and stage 6 has shown what large
# scores do: the softmax gives everything to one word. So a vector must be brought back to a fixed size, whatever size
# it came in.
#
# *Layer normalisation* does this for each word by itself. It takes the mean $m$ of the word's D numbers away from each,
# so that they lie around zero, and divides by their spread:
#
# $\text{LayerNorm}(x) = (x - m) / \sqrt{\text{var}(x) + 10^{-5}} \cdot w + b$
#
# $\text{var}(x)$ is the variance, the mean of the squares of $x - m$; its root is the spread. The small number prevents
# a division by zero. $w$ and $b$ are parameters, one of each for each of the D numbers; they start at one and zero, and
# let training choose another size where that is useful.
#
# Where does the norm go? There are two places. The paper has it after the sum, *post-norm*: $\text{norm}(x + f(x))$.
# Later models have it in front of the part, *pre-norm*: $x + f(\text{norm}(x))$. Our program follows the paper.


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


# %% [markdown]
# Each of a layer's two parts needs a sum and a norm, and a small module does both. It is given the part as an argument,
# `sublayer`: a function from a tensor to a tensor, which is what `Callable[[Tensor], Tensor]` says.


# %% tags=["code"]
class PostNormResidual(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.norm = LayerNorm(d_model)

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return self.norm(x + sublayer(x))


# %% tags=["code"]
class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.attention_residual = PostNormResidual(d_model)
        self.feed_forward = FeedForward(d_model, d_ff)
        self.feed_forward_residual = PostNormResidual(d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_residual(x, self.attention)
        return self.feed_forward_residual(x, self.feed_forward)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, d_ff: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, num_heads, d_ff) for _ in range(num_layers))

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
    def __init__(self, d_model: int, num_heads: int, d_ff: int, num_layers: int) -> None:
        super().__init__()
        self.encoder = Encoder(d_model, num_heads, d_ff, num_layers)
        self.decoder = Decoder(d_model, d_ff, num_layers)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(target, self.encoder(source))


# %%
from matplotlib import pyplot as plt

# %%
x = torch.tensor([[1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]])
norm = LayerNorm(4)
for row, normed in zip(x, norm(x), strict=True):
    print("".join(f"{number:6.0f}" for number in row), "  ->", "".join(f"{number:6.2f}" for number in normed))

# %% [markdown]
# A vector ten times as large gives the same result.

# %% [markdown]
# **Predict.** Twelve layers of each kind. How large is a word's vector behind the last: without norms, with the norm
# after the sum, with the norm before the part? And where does a gradient come through with about the same size in all
# layers?


# %%
class SumAlone(PostNormResidual):
    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + sublayer(x)


class PreNormResidual(PostNormResidual):
    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + sublayer(self.norm(x))


def sizes_and_gradients(residual: type[PostNormResidual], seed: int) -> tuple[list[float], list[float]]:
    torch.manual_seed(seed)
    layers = nn.ModuleList(EncoderLayer(64, 8, 256) for _ in range(12))
    for layer in layers:
        layer.attention_residual, layer.feed_forward_residual = residual(64), residual(64)
        for weight in layer.parameters():
            if weight.dim() == 2:
                nn.init.xavier_uniform_(weight)
    x = torch.randn(4, 10, 64)
    sizes = []
    for layer in layers:
        x = layer(x)
        sizes.append(x.square().mean().sqrt().item())
    (LayerNorm(64)(x) * torch.randn(64)).mean().backward()
    return sizes, [layer.feed_forward.linear2.weight.grad.norm().item() for layer in layers]


kinds = {"no norm": SumAlone, "post-norm": PostNormResidual, "pre-norm": PreNormResidual}
found = {
    name: torch.tensor([sizes_and_gradients(residual, seed) for seed in range(8)]).log().mean(0).exp()
    for name, residual in kinds.items()
}
print(f"{'':10}{'size of x behind layer':^30}{'gradient in layer':^30}")
print(f"{'':10}" + "".join(f"{layer:10}" for layer in (1, 6, 12)) * 2)
for name, (sizes, grads) in found.items():
    print(f"{name:10}" + "".join(f"{values[i]:10.2f}" for values in (sizes, grads) for i in (0, 5, 11)))


# %%
figure, axes = plt.subplots(1, 2, figsize=(7.5, 2.8), layout="constrained")
for values, axis, label in zip((0, 1), axes, ("root mean square of x", "gradient norm"), strict=True):
    for (name, measured), marker in zip(found.items(), "^os", strict=True):
        axis.semilogy(range(1, 13), measured[values], marker=marker, label=name)
    axis.set(xlabel="layer (L = 12)", ylabel=label)
axes[0].legend(frameon=False)
figure

# %% [markdown]
# The size is the root of the mean square of all numbers. All are geometric means over eight seeds, because gradients
# differ much from seed to seed. The weights are drawn so that a matrix leaves a vector about as large as it was
# (`xavier_uniform_`).
#
# Without a norm the vectors grow by a factor in each layer, nearly a straight line in the left picture, and the first
# layers have by far the largest gradients. Post-norm resets the size to 1 behind each part. Pre-norm leaves the sum to
# grow, but slowly: each part reads a vector of size 1 and adds about as much as the part before, whatever has been
# summed up already.
#
# Both norms keep the gradients of all layers within a factor of about two. With post-norm they are largest in the last
# layers, and there larger than pre-norm's. That is held to be the reason why post-norm must begin training with tiny
# steps, as the paper does (Xiong et al. 2020, arXiv:2002.04745); pre-norm can do without. But pre-norm needs one more
# norm behind the last layer, to bring the sum to size, and that one is easily forgotten.
#
# Size is settled. What is still unknown to every part of the encoder is the order of the words.


# %%
torch.testing.assert_close(norm(x), nn.functional.layer_norm(x, (4,)))
torch.testing.assert_close(norm(x)[0], norm(x)[1], atol=1e-5, rtol=1e-4)
sizes = {name: sizes[-1] for name, (sizes, _) in found.items()}
assert abs(sizes["post-norm"] - 1) < 1e-3
assert sizes["no norm"] > sizes["pre-norm"] > sizes["post-norm"]
assert found["no norm"][1, 0] > 5 * found["no norm"][1, -1]
assert found["post-norm"][1, -1] > found["pre-norm"][1, -1]
