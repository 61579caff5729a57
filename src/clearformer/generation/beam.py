"""Beam search: follow the few likeliest beginnings of a target, and choose among those that end.

    score(Y) = log P(Y | X) / lp(Y)        lp(Y) = ((5 + |Y|) / 6)^α        Wu et al. 2016, arXiv:1609.08144, section 7

|Y| counts the tokens and the end. α = 0 is the likeliest target; a larger α lets longer ones win. In each step every
open hypothesis goes on with every token, and the likeliest of all that makes stay, so many as the beam has room for.
One that ends stays for good and takes its place with it, so a beam of one is the greedy choice.

Hypotheses are kept in NumPy and in float64, so that every engine chooses the same; of equals the first comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clearformer.data.tokenizers import EOS
from clearformer.engine import engine_of
from clearformer.errors import PromptError, TrainingError
from clearformer.generation.sources import NEVER_WRITTEN, longest_targets, padded_sources

Rows = Int[NDArray[np.int64], " _"]
LARGEST = 1000
"""hypotheses of a source: a step takes memory and time for each, and more than a hundred make translations worse
(Koehn & Knowles 2017, arXiv:1706.03872, section 3.6)"""


@dataclass(frozen=True)
class Beam:
    """How to search: how many hypotheses at once, α of the length penalty, and how many to return."""

    size: int = 4
    length_penalty: float = 0.6
    n_best: int = 1

    def __post_init__(self) -> None:
        for flag, value, fits, expected in (
            ("beam", self.size, self.size >= 1, "1 (greedy) or more"),
            ("beam", self.size, self.size <= LARGEST, f"at most {LARGEST:,}"),
            ("length-penalty", self.length_penalty, 0.0 <= self.length_penalty < float("inf"), "0 (none) or more"),
            ("n-best", self.n_best, 1 <= self.n_best <= self.size, f"at least 1 and at most --beam ({self.size})"),
        ):
            if not fits:
                raise PromptError(f"--{flag} must be {expected}, found {value}; change it")

    def penalty(self, length: Int[NDArray[np.int64], "..."]) -> Float[NDArray[np.float64], "..."]:
        """lp of targets of so many tokens, their end among them."""
        return np.asarray(((5.0 + length) / 6.0) ** self.length_penalty)


GREEDY_BEAM = Beam(size=1)


@dataclass(frozen=True)
class Hypothesis:
    """A target without begin and end; the log-probability (nats) counts its end, unless the limit came first."""

    tokens: list[int]
    log_probability: float
    score: float


def beam_search(
    model: Any, sources: Sequence[Sequence[int]], beam: Beam, *, cached: bool = True
) -> list[list[Hypothesis]]:
    """The best `n_best` targets of each source (numbers without begin and end), best first.

    There are fewer where there are not so many targets. One that does not end is cut at the length of its source +
    EXTRA_TOKENS, or at the context. The search for a source is over when no open hypothesis can beat the n-best of the
    finished: more tokens only lower log P, and lp is largest at the limit, so it scores log P / lp(limit) at most.
    Raises PromptError for a source longer than the context, and TrainingError for a model that gives no numbers.
    """
    search = _Search(model, sources, beam, cached)
    while len(search.source):
        search.step()
    return [found[: beam.n_best] for found in search.finished]


class _Search:
    """The open hypotheses of all sources, a row each: those of a source side by side, the likeliest first."""

    def __init__(self, model: Any, sources: Sequence[Sequence[int]], beam: Beam, cached: bool) -> None:
        context = model.config.context
        self.beam, self.longest = beam, longest_targets(sources, context)
        self.decoder = engine_of(model).write_targets(
            model, padded_sources(sources, context), cached=cached, most=int(self.longest.max())
        )
        self.source = np.arange(len(sources))
        self.log_p = np.zeros(len(sources))
        self.finished: list[list[Hypothesis]] = [[] for _ in sources]
        self.made = 0

    def step(self) -> None:
        """Give every open hypothesis a token more, put away those that end, and drop sources that are done."""
        row, token, log_p = likeliest(self.decoder.next_logits(), self.beam.size)
        log_p += self.log_p[row]
        room = self.beam.size - np.array([len(found) for found in self.finished])
        kept = best_of_each(self.source[row], log_p, room)
        row, token, log_p = row[kept], token[kept], log_p[kept]
        source = self.source[row]
        self.made += 1
        ended = (token == EOS) | (self.made == self.longest[source])
        for place in np.flatnonzero(ended):
            self._finish(int(source[place]), self.decoder.rows[row[place]][1:], int(token[place]), float(log_p[place]))
        can_win = ~ended & (log_p / self.beam.penalty(self.longest[source]) > self._to_beat()[source])
        stays = ~ended & np.isin(source, source[can_win])
        self._go_on(row[stays], token[stays], log_p[stays])

    def _finish(self, source: int, written: list[int], token: int, log_p: float) -> None:
        tokens = written if token == EOS else [*written, token]
        score = log_p / float(self.beam.penalty(np.array(self.made)))
        self.finished[source].append(Hypothesis(tokens, log_p, score))
        self.finished[source].sort(key=lambda hypothesis: -hypothesis.score)

    def _to_beat(self) -> Float[NDArray[np.float64], " N"]:
        """Of each source the score of its n-best finished hypothesis, or what anything beats if there is none yet."""
        last = self.beam.n_best - 1
        return np.array([found[last].score if len(found) > last else -np.inf for found in self.finished])

    def _go_on(self, row: Rows, token: Rows, log_p: Float[NDArray[np.float64], " B"]) -> None:
        """Each new row goes on from an old one."""
        if len(row):
            self.decoder.reorder(row.tolist())
            self.decoder.append(token.tolist())
        self.source, self.log_p = self.source[row], log_p


def likeliest(
    logits: Float[NDArray[np.float32], "B V"], size: int
) -> tuple[Rows, Rows, Float[NDArray[np.float64], " C"]]:
    """Of each row the `size` likeliest tokens that may be written, and their equals: row, token, log-probability."""
    largest = logits.max(-1, keepdims=True)
    if not np.isfinite(largest).all():  # NaN is larger than all
        raise TrainingError("finite logits were expected, found NaN or infinity: the model diverged; train it anew")
    total = np.log(np.exp(logits - largest).sum(-1, dtype=np.float64))
    allowed = logits.copy()
    allowed[:, NEVER_WRITTEN] = -np.inf
    kept = min(size, logits.shape[1] - len(NEVER_WRITTEN))
    least = np.partition(allowed, -kept, axis=-1)[:, -kept, None]
    row, token = np.nonzero(allowed >= least)  # in order, where a partition would take any of equals
    return row, token, (logits - largest)[row, token] - total[row]


def best_of_each(source: Rows, log_p: Float[NDArray[np.float64], " C"], room: Rows) -> Rows:
    """Where the likeliest candidates of each source stand, at most `room[source]` of them; the first of equals."""
    order = np.lexsort((-log_p, source))
    rank = np.arange(len(order)) - np.searchsorted(source[order], source[order])
    return order[rank < room[source[order]]]
