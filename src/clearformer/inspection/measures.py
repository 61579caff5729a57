"""Measures of attention weights: one number for each head, of the weights alone. `scores` says what for."""

from collections.abc import Collection

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearformer.errors import InspectionError

Weights = Float[Tensor, "B H T S"]
Queries = Bool[Tensor, "B T"]
"""those that a mean is over"""


def mean(values: Float[Tensor, "B H T"], queries: Queries) -> Float[Tensor, " H"]:
    """Over these queries of all rows; NaN if there are none."""
    return torch.where(queries[:, None], values, 0.0).sum((0, -1)) / queries.sum()


def entropy(weights: Weights, queries: Queries) -> Float[Tensor, " H"]:
    """The mean entropy of the queries' weights, in nats."""
    return mean(torch.special.entr(weights).sum(-1), queries)


def weight_of(keys: Int[Tensor, "#B T"], weights: Weights, queries: Queries) -> Float[Tensor, " H"]:
    """The mean weight of the key that `keys` has for each query."""
    chosen = keys[:, None, :, None].expand(*weights.shape[:3], 1)
    return mean(weights.gather(-1, chosen)[..., 0], queries)


def induction(weights: Weights, n: int) -> Float[Tensor, " H"]:
    """The mean weight from each of the second n tokens to the one behind its first occurrence."""
    return weights.diagonal(1 - n, -2, -1)[..., 1:].mean((0, -1))


def monotone(weights: Weights, queries: Queries) -> Float[Tensor, " H"]:
    """The share of queries, but the first, whose strongest key is not before that of the query before."""
    steps = weights.argmax(-1).diff(dim=-1) >= 0
    return mean(steps.float(), queries[:, 1:])


def agreement(weights: Float[Tensor, "B H T S"], alignment: Collection[tuple[int, int]]) -> Float[Tensor, " H"]:
    """The share of the aligned target tokens whose strongest key is aligned with them. Of one pair of texts."""
    B, _, T, S = weights.shape  # noqa: N806
    if B != 1 or not all(0 <= t < T and 0 <= s < S for t, s in alignment):
        raise InspectionError(
            f"an alignment of one pair of texts, of {T} target and {S} source tokens, was expected, found {B} pairs "
            f"and {sorted(alignment)[-1]} in it; count from 0"
        )
    strongest = weights[0].argmax(-1)
    targets = sorted({t for t, _ in alignment})
    hits = [[(t, int(head[t])) in set(alignment) for t in targets] for head in strongest]
    return torch.tensor(hits).float().mean(-1)
