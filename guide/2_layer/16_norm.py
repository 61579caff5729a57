# %% [markdown]
# # 16. Norm, after the sum or before the part
#
# A norm brings every word's vector to the same size; the paper puts it after the sum, and most models since put it
# before the part, where it leaves the sum alone.
#
# *25 minutes*

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
# **Predict.** Twelve layers of each kind. How large is a word's vector behind the last: without norms, with the norm
# after the sum, with the norm before the part?


# %%
class SumAlone(PostNormResidual):
    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + sublayer(x)


class PreNormResidual(PostNormResidual):
    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        return x + sublayer(self.norm(x))


def sizes_and_gradients(residual: type[PostNormResidual], num_layers: int = 12) -> tuple[list[float], list[float]]:
    torch.manual_seed(0)
    layers = nn.ModuleList(EncoderLayer(64, 8, 256) for _ in range(num_layers))
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
found = {name: sizes_and_gradients(residual) for name, residual in kinds.items()}
print(f"{'':10}{'size of x after layer':^30}{'gradient, last / first':>24}")
print(f"{'':10}" + "".join(f"{layer:10}" for layer in (1, 6, 12)))
for name, (sizes, grads) in found.items():
    print(f"{name:10}" + "".join(f"{sizes[i]:10.2f}" for i in (0, 5, 11)) + f"{grads[-1] / grads[0]:24.2f}")

# %%
figure, axes = plt.subplots(figsize=(5, 2.8), layout="constrained")
for (name, (sizes, _)), marker in zip(found.items(), "^os", strict=True):
    axes.semilogy(range(1, 13), sizes, marker=marker, label=name)
axes.set(xlabel="layer (L = 12)", ylabel="root mean square of x")
axes.legend(frameon=False)
figure

# %%
torch.testing.assert_close(norm(x), nn.functional.layer_norm(x, (4,)))
torch.testing.assert_close(norm(x)[0], norm(x)[1], atol=1e-5, rtol=1e-4)
sizes = {name: sizes[-1] for name, (sizes, _) in found.items()}
assert abs(sizes["post-norm"] - 1) < 1e-3
assert sizes["no norm"] > sizes["pre-norm"] > sizes["post-norm"]
