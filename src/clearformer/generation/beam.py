"""Beam search: extend the few likeliest partial targets, and choose among those that end.

    score(Y) = log P(Y | X) / lp(Y)        lp(Y) = ((5 + |Y|) / 6)^α        Wu et al. 2016, arXiv:1609.08144, section 7

|Y| counts the tokens and EOS. α = 0 ranks by probability; a larger α favours longer targets. Each step extends every
open hypothesis by every token and keeps the likeliest of these, up to the beam size. A finished hypothesis occupies a
slot of the beam for good, so a beam of one is greedy decoding.

Scores are sums in float64, so that every engine chooses the same; ties go to the first.
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
from clearformer.generation.decoder import Decoder
from clearformer.generation.sources import NEVER_GENERATED, max_target_lengths, padded_sources

Indices = Int[NDArray[np.int64], " _"]
MAX_BEAM_SIZE = 1000
"""a step takes memory and time for each hypothesis, and more than a hundred per source make translations worse
(Koehn & Knowles 2017, arXiv:1706.03872, section 3.6)"""

COLUMNS = 64


@dataclass(frozen=True)
class Beam:
    """Settings: hypotheses per source, α of the length penalty, and how many to return. Raises PromptError."""

    size: int = 4
    length_penalty: float = 0.6
    n_best: int = 1

    def __post_init__(self) -> None:
        for flag, value, fits, expected in (
            ("beam", self.size, self.size >= 1, "1 (greedy) or more"),
            ("beam", self.size, self.size <= MAX_BEAM_SIZE, f"at most {MAX_BEAM_SIZE:,}"),
            ("length-penalty", self.length_penalty, 0.0 <= self.length_penalty < float("inf"), "0 (none) or more"),
            ("n-best", self.n_best, 1 <= self.n_best <= self.size, f"at least 1 and at most --beam ({self.size})"),
        ):
            if not fits:
                raise PromptError(f"--{flag} must be {expected}, found {value}; change it")

    def penalty(self, length: Int[NDArray[np.int64], "..."]) -> Float[NDArray[np.float64], "..."]:
        """lp of targets of these lengths, EOS included."""
        with np.errstate(over="ignore"):  # a huge exponent makes all scores 0
            return np.asarray(((5.0 + length) / 6.0) ** self.length_penalty)


GREEDY_BEAM = Beam(size=1)


@dataclass(frozen=True)
class Hypothesis:
    """A target without BOS and EOS; its log-probability (nats) includes EOS, unless the target was truncated."""

    tokens: list[int]
    log_probability: float
    score: float


def beam_search(
    model: Any, sources: Sequence[Sequence[int]], beam: Beam, *, cached: bool = True
) -> list[list[Hypothesis]]:
    """The `n_best` targets of each source (token ids without BOS and EOS), best first; fewer if no more exist.

    A target without EOS is truncated at its source's length + EXTRA_TOKENS, or at the context. The search for a source
    stops when no open hypothesis can beat its n-best finished one: more tokens only lower log P, and lp is largest at
    the length limit, so an open one scores at most log P / lp(limit).
    Raises PromptError for a source longer than the context, and TrainingError if logits are not finite.
    """
    search = _Search(model, sources, beam, cached)
    while len(search.source):
        search.step()
    return [hypotheses[: beam.n_best] for hypotheses in search.finished]


class _Search:
    """The open hypotheses, one row each, grouped by source and the likeliest first.

    `source`: the source of each row; `log_p`: its log-probability; `length`: tokens so far, the same for all rows.
    """

    def __init__(self, model: Any, sources: Sequence[Sequence[int]], beam: Beam, cached: bool) -> None:
        context = model.config.context
        self.beam, self.max_lengths = beam, max_target_lengths(sources, context)
        self.decoder = engine_of(model).make_target_decoder(
            model, padded_sources(sources, context), cached=cached, max_length=int(self.max_lengths.max())
        )
        self.source = np.arange(len(sources))
        self.log_p = np.zeros(len(sources))
        self.finished: list[list[Hypothesis]] = [[] for _ in sources]
        self.length = 0

    def step(self) -> None:
        """Extend every open hypothesis, collect those that end, and drop sources that are done."""
        row, token, log_p = candidates(self.decoder, self.beam.size)
        log_p += self.log_p[row]
        free_slots = self.beam.size - np.array([len(hypotheses) for hypotheses in self.finished])
        best = best_per_source(self.source[row], log_p, free_slots)
        row, token, log_p = row[best], token[best], log_p[best]
        source = self.source[row]
        self.length += 1
        ended = (token == EOS) | (self.length == self.max_lengths[source])
        for i in np.flatnonzero(ended):
            self._finish(int(source[i]), self.decoder.rows[row[i]][1:], int(token[i]), float(log_p[i]))
        can_win = ~ended & (log_p / self.beam.penalty(self.max_lengths[source]) > self._scores_to_beat()[source])
        open_ = ~ended & np.isin(source, source[can_win])
        self._advance(row[open_], token[open_], log_p[open_])

    def _finish(self, source: int, prefix: list[int], token: int, log_p: float) -> None:
        tokens = prefix if token == EOS else [*prefix, token]
        score = log_p / float(self.beam.penalty(np.array(self.length)))
        self.finished[source].append(Hypothesis(tokens, log_p, score))
        self.finished[source].sort(key=lambda hypothesis: -hypothesis.score)

    def _scores_to_beat(self) -> Float[NDArray[np.float64], " N"]:
        """The score of each source's n-best finished hypothesis; -inf if there are fewer."""
        last = self.beam.n_best - 1
        return np.array([done[last].score if len(done) > last else -np.inf for done in self.finished])

    def _advance(self, row: Indices, token: Indices, log_p: Float[NDArray[np.float64], " B"]) -> None:
        """New row i is the old row `row[i]` and `token[i]`."""
        if len(row):
            self.decoder.reorder(row.tolist())
            self.decoder.append(token.tolist())
        self.source, self.log_p = self.source[row], log_p


def candidates(decoder: Decoder, size: int) -> tuple[Indices, Indices, Float[NDArray[np.float64], " C"]]:
    """The `size` likeliest permitted tokens of each row, with ties, and few others: row, token, log-probability.

    Raises TrainingError if a logit is NaN or +infinity.
    """
    logits = decoder.next_logits()
    V = logits.shape[1]  # noqa: N806
    # the k-th largest of the maxima of `columns` parts of a row is at most its k-th largest logit, and soon found
    k = min(size + len(NEVER_GENERATED), V)
    maxima, log_sums = decoder.summarize(logits, columns=min(V, max(COLUMNS, 4 * k)))
    if not np.isfinite(log_sums).all():
        raise TrainingError("finite logits were expected, found NaN or infinity: the model diverged; train it anew")
    bound = np.partition(maxima, -k, axis=-1)[:, -k, None]
    row, token = np.divmod(np.flatnonzero(logits >= bound), V)  # in order, so that ties keep theirs
    allowed = ~np.isin(token, NEVER_GENERATED)
    row, token = row[allowed], token[allowed]
    return row, token, logits[row, token] - log_sums[row]


def best_per_source(source: Indices, log_p: Float[NDArray[np.float64], " C"], limits: Indices) -> Indices:
    """Indices of the likeliest candidates of each source, at most `limits[source]`; ties go to the first."""
    order = np.lexsort((-log_p, source))
    rank = np.arange(len(order)) - np.searchsorted(source[order], source[order])
    return order[rank < limits[source[order]]]
