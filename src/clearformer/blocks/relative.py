"""Relative positions: each head adds to a score a learned number, which depends on how far the key is from its query.

    score(t, s) = q_t · k_s / sqrt(E) + W[bucket(s - t), h]      Raffel et al. 2020, arXiv:1910.10683, section 2.1

    bucket of a distance d, of N:  d                                                     if d < N/2
                                   N/2 + floor(N/2 · ln(d / (N/2)) / ln(128 / (N/2)))    above, and at most N - 1

So near keys are told apart exactly, and far ones ever more coarsely; from 128 positions on all are in one bucket. In a
decoder, which sees no later keys, N = 32. In an encoder N = 16, and keys behind the query have 16 buckets of their own.
The idea is of Shaw et al. 2018, arXiv:1803.02155, who learn a vector for each distance; in T5 it is a number for each
head, and all layers of a stack share the table W [32, H].
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from clearformer.blocks.cache import KVCache
from clearformer.config import BUCKETS

FURTHEST = 128
"""distances from here on share a bucket"""


def bucket(offset: Int[Tensor, "*shape"], *, causal: bool) -> Int[Tensor, "*shape"]:
    """The row of the table for each offset, s - t; with `causal`, keys behind the query count as the query itself."""
    number = BUCKETS if causal else BUCKETS // 2
    exact = number // 2
    distance = (-offset).clamp(min=0) if causal else offset.abs()
    share = (distance.clamp(min=exact) / exact).log() / math.log(FURTHEST / exact)
    coarse = (exact + (share * (number - exact)).long()).clamp(max=number - 1)
    found = torch.where(distance < exact, distance, coarse)
    return found if causal else found + number * (offset > 0)


class RelativePositions(nn.Module):
    """The table of a stack: a number for each bucket and head."""

    def __init__(self, num_heads: int, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.weight = nn.Parameter(torch.zeros(BUCKETS, num_heads))

    def forward(self, T: int, cache: KVCache | None = None) -> Float[Tensor, "#B H T S"]:  # noqa: N803
        """What is added to the scores of T queries, which follow the tokens in the cache."""
        positions = torch.arange(T, device=self.weight.device)[None] if cache is None else cache.positions(T)
        keys = torch.arange(T + (0 if cache is None else cache.longest), device=self.weight.device)
        return F.embedding(bucket(keys - positions[..., None], causal=self.causal), self.weight).movedim(-1, 1)


if __name__ == "__main__":
    offsets = torch.tensor([-200, -128, -64, -16, -8, -2, -1, 0, 1, 2, 8, 16, 64, 128])
    print("keys at  ", offsets.tolist(), "from their query")
    print("encoder: ", bucket(offsets, causal=False).tolist())
    print("decoder: ", bucket(offsets[:8], causal=True).tolist())
    print("bias of 3 queries and keys, 2 heads:", tuple(RelativePositions(2, causal=True)(3).shape))
