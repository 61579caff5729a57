# %% [markdown]
# # 11. Eight heads, and one head eight times
#
# Several narrow heads ask several questions at once, but only if each has weights of its own.
#
# *20 minutes*
#
# A head has one softmax a word, and so one question. But a verb may need to know who acts, and also when. One head
# could give half of its attention to each, and what it takes is then the mean of the two values, in which nobody can
# tell any more which came from where.
#
# So we let several heads attend to the same sentence at the same time, each with its own three matrices, and put their
# outputs side by side: `torch.cat` along the last axis. If H heads are each $E = D / H$ wide, the joined vector is as
# wide as the model, and all heads together have as many parameters as one head of full width. The paper takes eight
# heads of width 64, for $D = 512$. Several questions cost no more than one wide one.
#
# With this the encoder's layer loses its first placeholder. In the decoder they stay until part 3.


# %% tags=["code"]
import math

import torch
from torch import Tensor, nn


# %% tags=["code"]
def attention_scores(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])


# %% tags=["code"]
def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return attention_scores(q, k).softmax(-1) @ v


# %% tags=["code"]
class SingleHeadAttention(nn.Module):
    def __init__(self, d_model: int, head_width: int) -> None:
        super().__init__()
        self.query_projection = nn.Linear(d_model, head_width, bias=False)
        self.key_projection = nn.Linear(d_model, head_width, bias=False)
        self.value_projection = nn.Linear(d_model, head_width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return attention(self.query_projection(x), self.key_projection(x), self.value_projection(x))


# %% tags=["code"]
class MultiHeadAttention(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(SingleHeadAttention(d_model, d_model // num_heads) for _ in range(num_heads))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([head(x) for head in self.heads], dim=-1)


# %% tags=["code"]
class FeedForward(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear1(x).relu()


# %% tags=["code"]
class EncoderLayer(nn.Module):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.feed_forward = FeedForward(d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x)
        return self.feed_forward(x)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(self, d_model: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, num_heads) for _ in range(num_layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


# %% tags=["code"]
class DecoderLayer(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.attention = FeedForward(d_model)
        self.cross_attention = FeedForward(d_model)
        self.feed_forward = FeedForward(d_model)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = self.attention(x)
        x = self.cross_attention(x)
        return self.feed_forward(x)


# %% tags=["code"]
class Decoder(nn.Module):
    def __init__(self, d_model: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(d_model) for _ in range(num_layers))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, memory)
        return x


# %% tags=["code"]
class Transformer(nn.Module):
    def __init__(self, d_model: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.encoder = Encoder(d_model, num_heads, num_layers)
        self.decoder = Decoder(d_model, num_layers)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(target, self.encoder(source))


# %%
from matplotlib import pyplot as plt

# %%
torch.manual_seed(0)
B, T, D, H = 1, 5, 64, 8
x = torch.randn(B, T, D)
attention_layer = MultiHeadAttention(D, H)
print(f"{H} heads of width {D // H}: in {tuple(x.shape)}, out {tuple(attention_layer(x).shape)}")

# %% [markdown]
# Here are two ways to get the list of heads wrong. The first is the slip of stage 1, one object named eight times. The
# second keeps it in a plain Python list as well, in place of an `nn.ModuleList`. A published walk-through ends like the
# second: eight heads of the same three matrices, in a list, in a model that runs.


# %%
class OneHeadEightTimes(MultiHeadAttention):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        self.heads = nn.ModuleList([SingleHeadAttention(d_model, d_model // num_heads)] * num_heads)


class HeadsInAList(MultiHeadAttention):
    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__(d_model, num_heads)
        del self.heads
        self.heads = [SingleHeadAttention(d_model, d_model // num_heads)] * num_heads


# %% [markdown]
# **Predict.** All three layers have eight heads in a row, and give outputs of the same shape. How many parameters does
# an optimizer find in each? One head has three matrices of 64 times 8 numbers.


# %%
def count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def equal_heads(layer: MultiHeadAttention) -> int:
    first, *others = layer(x).chunk(H, dim=-1)
    return sum(torch.equal(first, other) for other in others)


layers = {"eight heads": attention_layer, "[head] * 8": OneHeadEightTimes(D, H), "a plain list": HeadsInAList(D, H)}
print(f"{'':14}{'out':>12}{'parameters':>12}{'copies of head 0':>18}")
for name, layer in layers.items():
    print(f"{name:14}{tuple(layer(x).shape)!s:>12}{count(layer):12,}{equal_heads(layer):18}")

# %% [markdown]
# Eight heads have 12,288 parameters. One head eight times has an eighth of them, and seven of its heads are copies of
# the first. The plain list has none, for `nn.Module` does not look into lists.


# %%
def attention_weights(head: SingleHeadAttention) -> Tensor:
    return attention_scores(head.query_projection(x), head.key_projection(x)).softmax(-1)[0].detach()


figure, axes = plt.subplots(2, H, figsize=(7.5, 2.1), layout="constrained", sharex=True, sharey=True)
for row, name in zip(axes, ("eight heads", "[head] * 8"), strict=True):
    for index, (axis, head) in enumerate(zip(row, layers[name].heads, strict=True)):
        axis.imshow(attention_weights(head).detach().numpy(), cmap="Greys", vmin=0, vmax=0.5)
        axis.set(title=f"head {index}" if row is axes[0] else "", xticks=[], yticks=[])
    row[0].set_ylabel(name)
figure

# %% [markdown]
# Each square shows who attends to whom among the five words: rows ask, columns are asked, dark is much. Above are eight
# different questions, below one question eight times.
#
# None of the three raises an error, and every shape is right. Training would not give one head eight times away either;
# the model would only be worse. Two plain checks find it: count the parameters and compare with arithmetic, and see
# whether two heads give the same. `clearformer check` compares the heads of any model.
#
# Every head now fills its own eight places of a word's vector. Next they are mixed.


# %%
assert all(layer(x).shape == x.shape for layer in layers.values())
assert [count(layer) for layer in layers.values()] == [3 * D * D, 3 * D * D // H, 0]
assert [equal_heads(layer) for layer in layers.values()] == [0, H - 1, H - 1]
encoder = Encoder(D, H, num_layers=2)
assert encoder(x).shape == x.shape
