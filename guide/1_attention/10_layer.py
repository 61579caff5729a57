# %% [markdown]
# # 10. The layer, and its proof
#
# A module keeps the three matrices where an optimizer finds them, and with the same weights it computes what the
# package's block computes.
#
# *20 minutes*
#
# Until now three loose variables held the matrices. A layer should own its weights, and training must find them: the
# *optimizer*, the part of a training program that changes weights, is handed `model.parameters()` and knows of nothing
# else.
#
# So attention becomes an `nn.Module`. Its matrices are three `nn.Linear`, which draw their own random numbers to start
# from. `bias=False` leaves out the constant, which the paper's formula does not have. The method `forward` is the last
# six stages in one line. Our own softmax gives way to PyTorch's, which computes the same: the assertions of stages 6
# and 8 have said so.
#
# One detail surprises everybody once. `nn.Linear` from D to E numbers keeps its weight with E rows and D columns, and
# computes $x W^T$. So the shapes printed below are the other way round from those of stage 4, and mean the same.


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
class FeedForward(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear1(x).relu()


# %% tags=["code"]
class EncoderLayer(nn.Module):
    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.attention = FeedForward(d_model)
        self.feed_forward = FeedForward(d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(x)
        return self.feed_forward(x)


# %% tags=["code"]
class Encoder(nn.Module):
    def __init__(self, d_model: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model) for _ in range(num_layers))

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
    def __init__(self, d_model: int, num_layers: int) -> None:
        super().__init__()
        self.encoder = Encoder(d_model, num_layers)
        self.decoder = Decoder(d_model, num_layers)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(target, self.encoder(source))


# %%
from clearformer.blocks.attention import SingleHeadAttention as PackageHead

# %%
torch.manual_seed(0)
B, T, D, E = 2, 5, 16, 4
head = SingleHeadAttention(D, E)
x = torch.randn(B, T, D)
out = head(x)
print(f"in {tuple(x.shape)}, out {tuple(out.shape)}")
for name, weight in head.named_parameters():
    print(f"{name:24} {tuple(weight.shape)}")

# %% [markdown]
# **Predict.** One word of one sentence is changed. How many output vectors of that sentence change, and how many of the
# other?


# %%
other = x.clone()
other[0, 2] += 1.0
changed = (head(other) != out).any(-1).sum(-1).tolist()
print(f"first sentence: {changed[0]} of {T} vectors; second sentence: {changed[1]} of {T}")

# %% [markdown]
# All five, and none. The placeholder of stage 3 changed one vector only. Here every word asks the changed word, and
# takes at least a little of it, since no share is zero; the sentences of a batch stay strangers. This is the part that
# was missing.
#
# The next cell holds a head whose matrices are plain tensors, which looks just as good.


# %%
class HeadOfTensors(nn.Module):
    def __init__(self, d_model: int, head_width: int) -> None:
        super().__init__()
        self.w_query, self.w_key, self.w_value = (torch.randn(d_model, head_width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return attention(x @ self.w_query, x @ self.w_key, x @ self.w_value)


for layer in (head, HeadOfTensors(D, E)):
    count = sum(weight.numel() for weight in layer.parameters())
    print(f"{type(layer).__name__:20} out {tuple(layer(x).shape)}, {count} parameters")

# %% [markdown]
# It computes attention of the right shape, and an optimizer finds nothing in it to train. Its weights would stay as
# random as they began, without any error. What counts is an `nn.Parameter`, and `nn.Linear` makes one.
#
# Now the proof. The package has a block of the same name and with the same names inside, so it can load our weights. It
# does not use our formula: it calls a kernel, a function of PyTorch that computes all of attention in one go.


# %%
package_head = PackageHead(D, E)
package_head.load_state_dict(head.state_dict())
difference = (out - package_head(x, x)).abs().max().item()
print(f"largest difference from clearformer.blocks.attention.SingleHeadAttention: {difference:.0e}")

# %% [markdown]
# The largest difference is far below a millionth. It is not always zero, because numbers have about seven digits here
# and a sum in another order is rounded in another way. (`x` is given twice, since the package's head may take its keys
# from another sentence.) Two programs written differently agree on random weights and random words: that is the kind of
# evidence which ends each part of this guide.
#
# You have built attention. The layer of the encoder has a box waiting for it, but this head gives 4 numbers a word
# where the layer needs 16. The next part begins by putting several heads side by side.


# %%
assert changed == [T, 0]
assert sum(weight.numel() for weight in head.parameters()) == 3 * D * E
assert not list(HeadOfTensors(D, E).parameters())
assert difference < 1e-5  # float32 sums in another order
