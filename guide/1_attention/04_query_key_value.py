# %% [markdown]
# # 4. Query, key and value
#
# Three matrices make three vectors of every word: what it looks for, what it offers to be found by, and what it gives
# when found.
#
# *15 minutes*
#
# In "the cat sat because it was tired" the word *it* means little by itself. To know what it means one must look at
# *cat*. So each word must take something from the others. The first thing to try is the mean of all words. But then
# *it* and *the* are given the same, and most of it is not what they need. Each word must choose.
#
# In a library you come with a question, the books stand under their titles, and what you take home is not the title but
# what is in the book. Attention gives every word these three things, each a vector: a *query*, what the word looks for;
# a *key*, under which others find it; and a *value*, which others take from it. A word plays all three parts at once,
# so three vectors are made of its one vector $x$:
#
# $q = x W_Q$,  $k = x W_K$,  $v = x W_V$
#
# A *matrix* $W$ is a table of numbers, here with D rows and E columns. Vector times matrix, `@` in PyTorch, gives a
# vector of E numbers: number $e$ of the query is $q_e = \sum_d x_d W_{de}$, the sum over the word's numbers, each times
# one number of column $e$ of $W_Q$. E may be smaller than D. The matrices are parameters: training will find which
# questions are worth asking. Here they are random, so our words ask nonsense, but in the right way.
#
# Our three words get vectors made by hand: the first three numbers say which word it is, the fourth is a property that
# all of them have, some more, some less.


# %% tags=["code"]
import torch
from torch import Tensor, nn


# %% tags=["code"]
def query_key_value(x: Tensor, w_query: Tensor, w_key: Tensor, w_value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x @ w_query, x @ w_key, x @ w_value


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
words = ["the", "cat", "sat"]
x = torch.tensor([[1.0, 0.0, 0.0, 0.2], [0.0, 1.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.1]])
torch.manual_seed(0)
D, E = 4, 3
w_query, w_key, w_value = (torch.randn(D, E) for _ in range(3))

q, k, v = query_key_value(x[1], w_query, w_key, w_value)
print(f"the word {words[1]!r}   {tuple(x[1].shape)}")
for name, vector in (("query", q), ("key", k), ("value", v)):
    print(f"its {name:5}        {tuple(vector.shape)}  " + " ".join(f"{number:5.2f}" for number in vector))

# %% [markdown]
# From the four numbers of one word come three different vectors of three: it looks for one thing, is found by another
# and gives a third.

# %% [markdown]
# **Predict.** The same function is given all three words at once, a matrix of three rows. What comes back?


# %%
all_q, all_k, all_v = query_key_value(x, w_query, w_key, w_value)
print("queries of all words", tuple(all_q.shape))
print(f"row 1 is the query of {words[1]!r}:", torch.equal(all_q[1], q))

# %% [markdown]
# Matrix times matrix treats every row of the first one as a vector by itself, so three words give three queries,
# without a loop, and row 1 is the one we had. Each query still comes from one word alone; nothing is mixed yet.
#
# What goes wrong here is the side. With words as rows it must be `x @ w`. For one word, where D equals E, `w @ x` runs
# as well, and computes something else.
#
# The layer keeps its placeholder until the part is finished. Next, one word puts its question to the keys of all.


# %%
assert q.shape == k.shape == v.shape == (E,)
by_hand = torch.stack([sum(x[1, d] * w_query[d, e] for d in range(D)) for e in range(E)])
torch.testing.assert_close(q, by_hand)
torch.testing.assert_close(all_q[1], q)
torch.testing.assert_close(all_v[2], x[2] @ w_value)
