"""Exercise 1: attention of a sentence.

Write the three functions below; each body is one to three lines. Dots stand for any number of leading axes, so that one
function serves a sentence [T, E], a batch [B, T, E] and heads [B, H, T, E]: count axes from the end, with -1 and -2.
"""

from torch import Tensor


def scores(q: Tensor, k: Tensor) -> Tensor:
    """How well each of T queries [..., T, E] matches each of S keys [..., S, E]: [..., T, S].

    A score is the dot product of a query and a key, divided by the square root of their width E.
    """
    raise NotImplementedError


def softmax(scores: Tensor) -> Tensor:
    """Shares in the place of scores, of the same shape: positive, and along the last axis with the sum 1.

    The exponential of a score divided by the sum of them, without `torch.softmax`; scores of 1000 must work.
    """
    raise NotImplementedError


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """What each query takes from the values [..., S, E]: [..., T, E], the mean of them weighted by its shares."""
    raise NotImplementedError
