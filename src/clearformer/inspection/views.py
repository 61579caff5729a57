"""What inspection found about a text, as objects: a table in a notebook, a line in a terminal."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from clearformer.inspection.cells import Cell, table, texts
from clearformer.inspection.scores import Scores
from clearformer.inspection.visible import visible

SHOWN = 16
"""rows of a table of contributions; the others are summed up in one"""


@dataclass(frozen=True, repr=False)
class Lens:
    """The likeliest outputs at each point of the stream and each token, best first, with their probabilities."""

    tokens: list[str]
    candidates: list[list[list[tuple[str, float]]]]
    """`[points][tokens][best first]`; point 0 is the embedding"""

    def __repr__(self) -> str:
        (last, probability), *_ = self.candidates[-1][-1]
        size = f"{len(self.candidates)} points x {len(self.tokens)} tokens"
        return f"Lens({size}; at the end {last!r}, {probability:.2f}; a notebook shows a table)"

    def _repr_html_(self) -> str:
        """What IPython shows: the likeliest output, shaded by its probability."""
        points = ["embedding", *(f"after layer {index}" for index in range(len(self.candidates) - 1))]
        rows = []
        for point, columns in zip(points, self.candidates, strict=True):
            cells = []
            for best in columns:
                hint = "\n".join(f"{visible(token)} {probability:.3f}" for token, probability in best)
                cells.append(Cell(visible(best[0][0]), best[0][1], hint))
            rows.append((point, cells))
        return table("Logit lens: the likeliest output at each token", [visible(token) for token in self.tokens], rows)


@dataclass(frozen=True, repr=False)
class Contributions:
    """What each part of the model adds to the logit of `output` at a token."""

    output: str
    token: str
    """at which the output is computed; "" for a classifier's"""
    parts: dict[str, float]

    @property
    def logit(self) -> float:
        """The sum of all parts; before a cap, if the model has one."""
        return sum(self.parts.values())

    def __repr__(self) -> str:
        largest = ", ".join(f"{name} {value:+.2f}" for name, value in self._ranked()[:3])
        return f"Contributions(logit {self.logit:.2f} of {self.output!r} from {len(self.parts)} parts: {largest}, …)"

    def _repr_html_(self) -> str:
        """What IPython shows: the largest parts, shaded by their size, and the sum of the others."""
        ranked, scale = self._ranked(), max(map(abs, self.parts.values())) or 1.0
        rows = [(name, [Cell(f"{value:+.3f}", value / scale)]) for name, value in ranked[:SHOWN]]
        if others := ranked[SHOWN:]:
            rest = sum(value for _, value in others)
            rows.append((f"{len(others)} others", [Cell(f"{rest:+.3f}", rest / scale)]))
        rows.append(("logit", [Cell(f"{self.logit:.3f}")]))
        where = f" after reading {visible(self.token)}" if self.token else ""
        return table(f"Contributions to the logit of {visible(self.output)}{where}", [], rows)

    def _ranked(self) -> list[tuple[str, float]]:
        return sorted(self.parts.items(), key=lambda part: -abs(part[1]))


@dataclass(frozen=True, repr=False)
class TokenValues:
    """Integrated gradients: what each token of each text is worth, in logits of `output`."""

    output: str
    texts: list[tuple[list[str], Float[NDArray[np.float32], " _"]]]
    gap: float
    """error of the integral: the sum of all values minus the change of the logit"""

    def __repr__(self) -> str:
        pairs = [pair for tokens, values in self.texts for pair in zip(tokens, values.tolist(), strict=True)]
        ranked = sorted(pairs, key=lambda pair: -abs(pair[1]))
        largest = ", ".join(f"{token!r} {value:+.2f}" for token, value in ranked[:3])
        return f"TokenValues(of the logit of {self.output!r}: {largest}, …; gap {self.gap:.1g})"

    def _repr_html_(self) -> str:
        """What IPython shows: each text in a row, tokens shaded by their value."""
        scale = max(float(np.abs(values).max()) for _, values in self.texts) or 1.0
        total = sum(float(values.sum()) for _, values in self.texts)
        lines = [
            [Cell(visible(token), value / scale, f"{value:+.3f}") for token, value in zip(*text, strict=True)]
            for text in ((tokens, values.tolist()) for tokens, values in self.texts)
        ]
        caption = f"Integrated gradients of the logit of {visible(self.output)}: {total:+.3f} in all"
        return texts(f"{caption}; the logit's change is {total - self.gap:+.3f}", lines)


@dataclass(frozen=True, repr=False)
class HeadScores:
    """Scores of every head, by the name of its core and its number: `scores[core, head]["previous"]`."""

    scores: Scores

    def __getitem__(self, place: tuple[str, int]) -> dict[str, float]:
        """The scores of one head."""
        return self.scores[place]

    def __repr__(self) -> str:
        names = dict.fromkeys(name for scores in self.scores.values() for name in scores)
        return f"HeadScores({len(self.scores)} heads: {', '.join(names)}; a notebook shows a table)"

    def _repr_html_(self) -> str:
        """What IPython shows: a row for each head; scores of at most 1 are shaded, entropies in nats are not."""
        names = list(dict.fromkeys(name for scores in self.scores.values() for name in scores))
        rows = [
            (f"{core.removesuffix('.core')} {head}", [_score(name, scores) for name in names])
            for (core, head), scores in self.scores.items()
        ]
        return table("Scores of heads", names, rows)


def _score(name: str, scores: dict[str, float]) -> Cell:
    """A dash if the score has nothing to be a mean of, and nothing if the head has no such score."""
    value = scores.get(name)
    if value is None:
        return Cell("")
    return Cell("–") if math.isnan(value) else Cell(f"{value:.2f}", 0.0 if name == "entropy" else value)
