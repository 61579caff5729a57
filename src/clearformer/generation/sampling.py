"""Sampling: choose the next token from the logits.

    p = softmax(logits / temperature)         temperature -> 0: always the likeliest ("greedy")
    top-k: only the k likeliest                                          Fan et al. 2018, arXiv:1805.04833
    top-p (nucleus): only the fewest with total probability ≥ p          Holtzman et al. 2019, arXiv:1904.09751

In NumPy and float64, so that every engine chooses the same. Row i has its own random generator, seeded by (seed, i).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clearformer.errors import PromptError, TrainingError


@dataclass(frozen=True)
class Sampling:
    """Settings. `top_k` 0 and `top_p` 1 keep all tokens. Raises PromptError for a value out of range."""

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
    """The distribution to sample from; at temperature 0, one-hot at the likeliest token (the first of ties)."""
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
    keep &= before < sampling.top_p  # the token that reaches p is kept, so at least one is
    np.put_along_axis(p, order, np.where(keep, ranked, 0.0), axis=-1)
    return p / p.sum(-1, keepdims=True)


class Sampler:
    """Samples a token per row; reproducible from (seed, row, step). Tokens in `suppressed` are never chosen."""

    def __init__(self, sampling: Sampling, rows: int, suppressed: Sequence[int] = ()) -> None:
        self.sampling = sampling
        self.suppressed = list(suppressed)
        self.generators = [np.random.default_rng([sampling.seed, row]) for row in range(rows)]

    def __call__(self, logits: Float[NDArray[np.floating], "B V"]) -> Int[NDArray[np.int64], " B"]:
        """Raises TrainingError if a logit is NaN."""
        if self.sampling.temperature == 0.0:
            return self._allowed(logits).argmax(-1)
        return self.draw(self.distribution(logits))

    def distribution(self, logits: Float[NDArray[np.floating], "B V"]) -> Float[NDArray[np.float64], "B V"]:
        """The distribution of each row's token. Raises TrainingError if a logit is NaN."""
        return probabilities(self._allowed(logits), self.sampling)

    def draw(self, p: Float[NDArray[np.float64], "B V"]) -> Int[NDArray[np.int64], " B"]:
        """A token per row, from these distributions."""
        cumulative = p.cumsum(-1)
        return (cumulative <= (self.uniform() * cumulative[:, -1])[:, None]).sum(-1)

    def uniform(self) -> Float[NDArray[np.float64], " B"]:
        """A number in [0, 1) per row."""
        return np.array([generator.random() for generator in self.generators])

    def _allowed(self, logits: Float[NDArray[np.floating], "B V"]) -> Float[NDArray[np.floating], "B V"]:
        if np.isnan(logits).any():
            raise TrainingError("logits that are numbers were expected, found NaN: the model diverged; train it anew")
        allowed = logits.copy()
        allowed[:, self.suppressed] = -np.inf
        return allowed


def _softmax(scores: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    shifted = scores - scores.max(-1, keepdims=True)
    with np.errstate(over="ignore"):  # a tiny temperature makes all but the likeliest -inf
        exponentials = np.exp(shifted / temperature)
    return np.asarray(exponentials / exponentials.sum(-1, keepdims=True))


if __name__ == "__main__":
    logits = np.log(np.array([[0.5, 0.3, 0.15, 0.05]]))
    for sampling in (GREEDY, Sampling(), Sampling(temperature=0.5), Sampling(top_k=2), Sampling(top_p=0.6)):
        print(f"{sampling!s:<70}", probabilities(logits, sampling)[0].round(3))
