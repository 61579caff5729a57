"""N-gram embedding: a token's vector also depends on the two tokens before it, for the cost of two look-ups.

    NGram(x)_t = W_2[hash(x_{t-1}, x_t)] + W_3[hash(x_{t-2}, x_{t-1}, x_t)]

Every window of n tokens is hashed to one of a fixed number of learned rows, like the byte n-grams of Pagnoni et al.
2024 (arXiv:2412.09871, section 3.2.1). Windows may share a row; the layers above can still distinguish them.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

PAST = 2
"""number of earlier tokens that a token's vector depends on"""
MULTIPLIER = 1_000_003
BITS = 40


def ngram_hash(window: Int[Tensor, "n *B T"], buckets: int) -> Int[Tensor, "*B T"]:
    """The row of each window of n tokens, newest first along the first axis. No product overflows 64 bits."""
    mixed = reduce(lambda h, token: ((h ^ (token + 1)) * MULTIPLIER) % 2**BITS, window, torch.ones_like(window[0]))
    return (mixed ^ (mixed >> BITS // 2)) % buckets


class NGramEmbedding(nn.Module):
    """Looks up the last two and the last three tokens in tables of `buckets` rows, which are zero at first."""

    def __init__(self, buckets: int, d_model: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.pairs = nn.Parameter(torch.zeros(buckets, d_model))
        self.triples = nn.Parameter(torch.zeros(buckets, d_model))

    def forward(self, tokens: Int[Tensor, "B past_and_T"]) -> Float[Tensor, "B T D"]:
        """Vectors of `tokens`, except the first PAST, which only serve as context."""
        now, one_ago, two_ago = tokens[:, 2:], tokens[:, 1:-1], tokens[:, :-2]
        pairs = ngram_hash(torch.stack((now, one_ago)), self.buckets)
        triples = ngram_hash(torch.stack((now, one_ago, two_ago)), self.buckets)
        return F.embedding(pairs, self.pairs) + F.embedding(triples, self.triples)


if __name__ == "__main__":
    tokens = torch.tensor([[0, 0, 7, 8, 9, 1, 8, 9]])
    embedding = NGramEmbedding(buckets=1000, d_model=4)
    nn.init.normal_(embedding.pairs)
    vectors = embedding(tokens)[0]
    print("6 tokens, preceded by 2 of padding:", tuple(vectors.shape))
    print("9 has the same vector after 7 8 as after 1 8, as the triples are still zero:", vectors[2].equal(vectors[5]))
