# %% [markdown]
# # 4. Query, key and value
#
# Three matrices make three vectors of every word: what it looks for, what it offers to be found by, and what it gives
# when found.
#
# *15 minutes*

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
# **Predict.** The same function is given all three words at once, a matrix of three rows. What comes back?

# %%
all_q, all_k, all_v = query_key_value(x, w_query, w_key, w_value)
print("queries of all words", tuple(all_q.shape))
print(f"row 1 is the query of {words[1]!r}:", torch.equal(all_q[1], q))

# %%
assert q.shape == k.shape == v.shape == (E,)
by_hand = torch.stack([sum(x[1, d] * w_query[d, e] for d in range(D)) for e in range(E)])
torch.testing.assert_close(q, by_hand)
torch.testing.assert_close(all_q[1], q)
torch.testing.assert_close(all_v[2], x[2] @ w_value)
