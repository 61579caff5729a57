"""Padding, measured: rows of unequal length in one batch against each row alone; and what a difference means."""

from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from clearformer.checks.outcome import Outcome, failed
from clearformer.checks.probe.attention import Attention, record_attention
from clearformer.checks.probe.influence import TOLERANCE, MIN_INFLUENCE, influence
from clearformer.checks.probe.probe import Probe, difference

Side = Literal["left", "right"]
Which = Literal["tokens", "source"]
WEIGHT = 1e-6
"""an attention weight that counts; what is masked has 0.0"""


def pad(tokens: Tensor, lengths: list[int], side: Side, token: int) -> tuple[Tensor, Tensor]:
    """The first tokens of each row, padded to the longest, and which of the places are real."""
    T = max(lengths)  # noqa: N806
    first = torch.arange(T) < torch.tensor(lengths)[:, None]
    real = first if side == "right" else first.flip(1)
    padded = torch.full_like(tokens[:, :T], token)
    padded[real] = tokens[:, :T][first]
    return padded, real


def by_row(some: list[Tensor], others: list[Tensor]) -> list[float]:
    """How far each of some rows [n, V] is from that of the others, as a share of the spread of all."""
    apart = difference(torch.cat(some), torch.cat(others)).split([len(row) for row in some])
    return [float(row.max()) for row in apart]


class Padding:
    """Four rows, of which all but the first are padded: the tokens, or the source of an encoder-decoder."""

    def __init__(self, probe: Probe, side: Side, which: Which = "tokens") -> None:
        self.probe, self.side, self.which = probe, side, which
        self.flags = "real" if which == "tokens" else "source_real"
        self.inputs = probe.inputs(4)
        tokens = getattr(self.inputs, which)
        T = tokens.shape[1]  # noqa: N806
        self.lengths = [T, max(T - 1, 1), max(T // 2, 1), 1]
        padded, self.real = pad(tokens, self.lengths, side, probe.subject.pad)
        self.padded = self.inputs.replace(**{which: padded, self.flags: self.real})

    def logits(self, **changes: Tensor) -> list[Tensor]:
        """Each row's logits at its real tokens, in the padded batch."""
        rows = self.probe.logits(self.padded.replace(**changes))
        if self.which == "source" or self.probe.kind == "classifier":
            return list(rows.reshape(len(rows), -1, rows.shape[-1]))
        return [row[real] for row, real in zip(rows, self.real, strict=True)]

    @cached_property
    def alone(self) -> list[Tensor]:
        """The same of each row by itself, without padding."""
        rows = [self.inputs.row(number) for number in range(len(self.lengths))]
        cut = [getattr(row, self.which)[:, :length] for row, length in zip(rows, self.lengths, strict=True)]
        alone = [self.probe.logits(row.replace(**{self.which: at})) for row, at in zip(rows, cut, strict=True)]
        return [logits.reshape(-1, logits.shape[-1]) for logits in alone]

    def apart(self) -> list[float]:
        """How far each row is from itself alone."""
        return by_row(self.logits(), self.alone)

    def refilled(self) -> Tensor:
        """Other tokens in the padded places."""
        tokens = getattr(self.padded, self.which)
        real = self.real if tokens.dim() == 2 else self.real[..., None]
        return torch.where(real, tokens, self.probe.other(tokens))

    def seen(self) -> float:
        """How far the logits at real tokens move when other tokens stand in the padded places."""
        return max(by_row(self.logits(), self.logits(**{self.which: self.refilled()})))

    def told(self) -> float:
        """How far they move when the model is told that all is real."""
        return max(by_row(self.logits(), self.logits(**{self.flags: torch.ones_like(self.real)})))

    def inverted(self) -> bool:
        """Are padded rows right when the model is told the opposite, or are real tokens hidden from each other?"""
        opposite = ~self.real
        opposite[0] = True  # a row of which nothing is real is another matter
        told = self.logits(**{self.flags: opposite})
        return max(by_row(told[1:], self.alone[1:])) <= TOLERANCE or self._hidden()

    def _hidden(self) -> bool:
        """Do real tokens of a padded row not matter to its last, or real source tokens to the target?"""
        if self.lengths[2] == 1 or self.probe.kind == "classifier":
            return False
        tokens = getattr(self.padded, self.which).clone()
        others = self.real[2].nonzero().flatten()[: -1 if self.which == "tokens" else None]
        tokens[2, others] = self.probe.other(tokens)[2, others]
        before, after = self.logits()[2], self.logits(**{self.which: tokens})[2]
        return bool(difference(before[-1:], after[-1:]).max() <= MIN_INFLUENCE)

    def case(self, apart: list[float]) -> str:
        row = max(range(len(apart)), key=apart.__getitem__)
        places = self.real.shape[1] - self.lengths[row]
        name = {"tokens": "a text", "source": "a source"}[self.which]
        return (
            f"{name} of {self.lengths[row]} tokens with {places} padded places on the {self.side}: the logits are "
            f"{apart[row]:.2g} of their spread away from those without padding"
        )

    def explain(self, apart: list[float]) -> Outcome:
        """Why rows are not what they are alone."""
        cause, diagnosis = self._why(apart)
        by_row = ", ".join(f"{length}: {by:.1g}" for length, by in zip(self.lengths, apart, strict=True))
        return failed(cause, max(apart), TOLERANCE, case=self.case(apart), diagnosis=diagnosis, seen=(f"by length {by_row}",))

    def _why(self, apart: list[float]) -> tuple[str, str]:
        if self.inverted():
            return "mask-inverted", DIAGNOSES["mask-inverted"]
        if not all(row.isfinite().all() for row in self.logits()):
            return "not-finite", DIAGNOSES["not-finite"]
        if apart[0] > TOLERANCE:  # the row without padding
            return (
                ("causal-mask-lost", DIAGNOSES["causal-mask-lost"])
                if self._leaks()
                else ("other-path", DIAGNOSES["other-path"])
            )
        if self.told() <= TOLERANCE:
            return "mask-ignored", DIAGNOSES["mask-ignored"]
        if self.seen() > TOLERANCE or self._attended():
            return "padding-attended", DIAGNOSES["padding-attended"]
        if self.side == "left":
            return "positions-shifted", DIAGNOSES["positions-shifted"]
        return "length-counts", DIAGNOSES["length-counts"]

    def _leaks(self) -> bool:
        """Does a decoder see the future when it is told which tokens are real?"""
        if self.which == "source" or self.probe.kind not in ("causal", "encoder-decoder"):
            return False
        row = self.inputs.row(0)
        told = row.replace(real=torch.ones(row.tokens.shape[:2], dtype=torch.bool))
        return bool(influence(self.probe, told).triu(1).max() > TOLERANCE)

    def _attended(self) -> bool:
        """Do real tokens give weight to padded places, whatever stands there?"""
        return any(bool(_on(attention, self.real[2]) > WEIGHT) for attention in record_attention(self.probe, self.padded.row(2)))


def _on(attention: Attention, real: Tensor) -> Tensor:
    """The largest weight that a real query gives to a padded key."""
    T, S = attention.used.shape[-2:]  # noqa: N806
    if len(real) != S:
        return torch.zeros(())
    queries = real if T == S else torch.ones(T, dtype=torch.bool)
    return attention.used[..., queries, :][..., ~real].max()


DIAGNOSES = {
    "mask-inverted": "The mask of real tokens is taken the other way round: told the opposite, the model is right. "
    "nn.MultiheadAttention's key_padding_mask is True for what is hidden, F.scaled_dot_product_attention's mask True "
    "for what is seen.",
    "not-finite": "Padding turns real tokens' logits into NaN or infinity. A padded place that may attend to nothing "
    "gets NaN from its softmax, and the next layer spreads it, since 0 · NaN is NaN: give such a place zeros.",
    "causal-mask-lost": "Given a mask of real tokens, the model sees the future: that mask takes the place of the "
    "causal one. Join the two with `&`.",
    "other-path": "A row without any padding differs already: the code path that takes a mask computes something else.",
    "mask-ignored": "What the model is told of real tokens changes nothing: the mask is not passed on to attention.",
    "padding-attended": "Real tokens attend to padded places: the mask does not reach every attention, or it is "
    "applied to queries in place of keys.",
    "positions-shifted": "What stands in the padding does not matter, but how much there is does: positions count "
    "it. Count real tokens: (real.cumsum(-1) - 1).clamp(min=0).",
    "length-counts": "What stands in the padding does not matter, but how much there is does: look for a mean or a "
    "norm over all places, or positions that count from the end.",
}
