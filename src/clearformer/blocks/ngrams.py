"""N-gram embedding: a token's vector says what came just before it too, at the cost of a look-up.

    NGram(x)_t = W_2[hash(x_{t-1}, x_t)] + W_3[hash(x_{t-2}, x_{t-1}, x_t)]

Every window of n tokens is hashed to one of a fixed number of learned rows, as the byte n-grams of Pagnoni et al. 2024
(arXiv:2412.09871, section 3.2.1) are; windows that share a row are told apart by the layers above.
"""

from functools import reduce

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

PAST = 2
"""how many earlier tokens a token's rows depend on"""
MULTIPLIER = 1_000_003
BITS = 40


def ngram_hash(window: Int[Tensor, "n *B T"], buckets: int) -> Int[Tensor, "*B T"]:
    """A row for each window of n tokens; its first axis goes back in time. No product overflows 64 bits."""
    mixed = reduce(lambda h, token: ((h ^ (token + 1)) * MULTIPLIER) % 2**BITS, window, torch.ones_like(window[0]))
    return (mixed ^ (mixed >> BITS // 2)) % buckets


class NGramEmbedding(nn.Module):
    """Looks up the last two and the last three tokens in `buckets` rows each, which begin as zero."""

    def __init__(self, buckets: int, d_model: int) -> None:
        super().__init__()
        self.buckets = buckets
        self.pairs = nn.Parameter(torch.zeros(buckets, d_model))
        self.triples = nn.Parameter(torch.zeros(buckets, d_model))

    def forward(self, tokens: Int[Tensor, "B past_and_T"]) -> Float[Tensor, "B T D"]:
        """Vectors of all but the first PAST of `tokens`, which stand before them."""
        now, one_ago, two_ago = tokens[:, 2:], tokens[:, 1:-1], tokens[:, :-2]
        pairs = ngram_hash(torch.stack((now, one_ago)), self.buckets)
        triples = ngram_hash(torch.stack((now, one_ago, two_ago)), self.buckets)
        return F.embedding(pairs, self.pairs) + F.embedding(triples, self.triples)


if __name__ == "__main__":
    tokens = torch.tensor([[0, 0, 7, 8, 9, 1, 8, 9]])
    embedding = NGramEmbedding(buckets=1000, d_model=4)
    nn.init.normal_(embedding.pairs)
    vectors = embedding(tokens)[0]
    print("6 tokens after 2 of the past:", tuple(vectors.shape))
    print("9 after 7 8 and 9 after 1 8 have the same vector:", torch.equal(vectors[2], vectors[5]))
