"""Sampling: which token comes next, given the logits of all.

    p = softmax(logits / temperature)         temperature -> 0: always the likeliest ("greedy")
    top-k: only the k likeliest                                       Fan et al. 2018, arXiv:1805.04833
    top-p: only the fewest that together have probability p           Holtzman et al. 2019, arXiv:1904.09751

In NumPy and float64, so that every engine chooses the same. Row i draws from a stream of its own, made of (seed, i).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clearformer.errors import PromptError, TrainingError


@dataclass(frozen=True)
class Sampling:
    """How to choose. `top_k` 0 and `top_p` 1 leave all tokens in."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        for name, fits, expected in (
            ("temperature", 0.0 <= self.temperature < float("inf"), "0 (greedy) or more"),
            ("top_k", self.top_k >= 0, "0 (all) or more"),
            ("top_p", 0.0 < self.top_p <= 1.0, "above 0 and at most 1"),
            ("seed", self.seed >= 0, "0 or more"),
        ):
            if not fits:
                flag = name.replace("_", "-")
                raise PromptError(f"--{flag} must be {expected}, found {getattr(self, name)}; change it")


GREEDY = Sampling(temperature=0.0)


def probabilities(logits: Float[NDArray[np.floating], "B V"], sampling: Sampling) -> Float[NDArray[np.float64], "B V"]:
    """The distribution that is drawn from; greedy, all of it is on the likeliest token (the first of equals)."""
    scores = logits.astype(np.float64)
    if sampling.temperature == 0.0:
        p = np.zeros_like(scores)
        p[np.arange(len(p)), scores.argmax(-1)] = 1.0
        return p
    p = _softmax(scores, sampling.temperature)
    order = np.argsort(-p, axis=-1, kind="stable")
    ranked = np.take_along_axis(p, order, axis=-1)
    keep = np.ones_like(ranked, dtype=bool)
    if sampling.top_k:
        keep[:, sampling.top_k :] = False
        ranked = ranked / np.where(keep, ranked, 0.0).sum(-1, keepdims=True)
    before = np.cumsum(np.where(keep, ranked, 0.0), axis=-1) - ranked
    keep &= before < sampling.top_p  # the token that reaches p stays, so at least one does
    np.put_along_axis(p, order, np.where(keep, ranked, 0.0), axis=-1)
    return p / p.sum(-1, keepdims=True)


class Sampler:
    """Chooses a token a row a step; the same (seed, row, step) chooses the same from the same logits.

    The tokens in `never` are not chosen: those that are no text.
    """

    def __init__(self, sampling: Sampling, rows: int, never: Sequence[int] = ()) -> None:
        self.sampling = sampling
        self.never = list(never)
        self.streams = [np.random.default_rng([sampling.seed, row]) for row in range(rows)]

    def __call__(self, logits: Float[NDArray[np.floating], "B V"]) -> Int[NDArray[np.int64], " B"]:
        if np.isnan(logits).any():
            raise TrainingError("logits that are numbers were expected, found NaN: the model diverged; train it anew")
        allowed = logits.copy()
        allowed[:, self.never] = -np.inf
        cumulative = probabilities(allowed, self.sampling).cumsum(-1)
        draws = np.array([stream.random() for stream in self.streams]) * cumulative[:, -1]
        return (cumulative <= draws[:, None]).sum(-1)


def _softmax(scores: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    below = scores - scores.max(-1, keepdims=True)
    with np.errstate(over="ignore"):  # at a tiny temperature all but the likeliest are infinitely far below it
        exponentials = np.exp(below / temperature)
    return np.asarray(exponentials / exponentials.sum(-1, keepdims=True))


if __name__ == "__main__":
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]]))
    for sampling in (GREEDY, Sampling(), Sampling(temperature=0.5), Sampling(top_k=2), Sampling(top_p=0.6)):
        print(f"{sampling!s:<70}", probabilities(logits, sampling)[0].round(3))
