"""Token embedding: a learned vector for every token of the vocabulary.

    Embedding(t) = scale · W[t]        scale = sqrt(D)        Vaswani et al. 2017, arXiv:1706.03762, section 3.4

The same matrix W may serve as the output projection (section 3.4 again). Its elements have variance 1/D at first, so
that logits have unit variance; the scale gives the embedding unit variance too, as it is added to the positions.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


def token_embedding(tokens: Int[Tensor, "*B T"], weight: Float[Tensor, "V D"], scale: float) -> Float[Tensor, "*B T D"]:
    """The formula: a product of one-hot rows and W, which selects a row of W for each token."""
    one_hot = F.one_hot(tokens, weight.shape[0]).to(weight.dtype)
    return scale * (one_hot @ weight)


class TokenEmbedding(nn.Module):
    """Look up each token's vector and scale it; `scale` defaults to sqrt(d_model)."""

    def __init__(self, vocab_size: int, d_model: int, scale: float | None = None) -> None:
        super().__init__()
        self.scale = math.sqrt(d_model) if scale is None else scale
        self.weight = nn.Parameter(torch.randn(vocab_size, d_model) / math.sqrt(d_model))

    def forward(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return F.embedding(tokens, self.weight) * self.scale


if __name__ == "__main__":
    embedding = TokenEmbedding(vocab_size=10, d_model=4)
    vectors = embedding(torch.tensor([[3, 1, 3]]))
    print("tokens 3, 1, 3 become vectors of shape", tuple(vectors.shape))
    print("the same token has the same vector:", torch.equal(vectors[0, 0], vectors[0, 2]))
