"""Padding: rows of unequal length in one batch against each row alone, and what a difference means."""

import copy
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from clearformer.checks.outcome import Outcome, failed
from clearformer.checks.probe.attention import Attention, record_attention
from clearformer.checks.probe.influence import MIN_INFLUENCE, TOLERANCE, influence
from clearformer.checks.probe.probe import Probe, difference
from clearformer.checks.recognise.plain_padding import says_by_token

Side = Literal["left", "right"]
MIN_WEIGHT = 1e-6
"""a smaller attention weight counts as none; what is masked has 0.0"""


def pad(tokens: Tensor, lengths: list[int], side: Side, token: int) -> tuple[Tensor, Tensor]:
    """The first tokens of each row, padded to the longest, and which of them are real: both [B, max(lengths)]."""
    T = max(lengths)  # noqa: N806
    first = torch.arange(T) < torch.tensor(lengths)[:, None]
    real = first if side == "right" else first.flip(1)
    padded = torch.full_like(tokens[:, :T], token)
    padded[real] = tokens[:, :T][first]
    return padded, real


def row_differences(rows: list[Tensor], expected: list[Tensor]) -> list[float]:
    """The largest difference of each row [n, V] from the expected one, in standard deviations of all logits."""
    differences = difference(torch.cat(rows), torch.cat(expected)).split([len(row) for row in rows])
    return [float(row.max()) for row in differences]


class PaddedBatch:
    """Four rows, or as many as `lengths`, all but the first padded: the tokens, or an encoder-decoder's source."""

    def __init__(
        self,
        probe: Probe,
        side: Side,
        field: Literal["tokens", "source"] = "tokens",
        lengths: list[int] | None = None,
    ) -> None:
        self.probe, self.side, self.field = probe, side, field
        self.mask_field = "real" if field == "tokens" else "source_real"
        self.inputs = probe.inputs(len(lengths) if lengths else 4)
        tokens = getattr(self.inputs, field)
        T = tokens.shape[1]  # noqa: N806
        self.lengths = lengths or [T, max(T - 1, 1), max(T // 2, 1), 1]
        padded, self.real = pad(tokens, self.lengths, side, probe.subject.pad)
        self.padded = self.inputs.replace(**{field: padded, self.mask_field: self.real})

    def of(self, probe: Probe) -> "PaddedBatch":
        """The same batch for another probe, such as that of a copy."""
        other = copy.copy(self)
        other.probe = probe
        return other

    def logits(self, **changes: Tensor) -> list[Tensor]:
        """Each row's logits [n, V] at its real tokens, from the padded batch."""
        rows = self.probe.logits(self.padded.replace(**changes))
        if self.field == "source" or self.probe.kind == "classifier":
            return list(rows.reshape(len(rows), -1, rows.shape[-1]))
        return [row[real] for row, real in zip(rows, self.real, strict=True)]

    @cached_property
    def unpadded_logits(self) -> list[Tensor]:
        """Each row's logits [n, V] from the row alone, without padding."""
        rows = [self.inputs.row(number) for number in range(len(self.lengths))]
        tokens = [getattr(row, self.field)[:, :length] for row, length in zip(rows, self.lengths, strict=True)]
        alone = [self.probe.logits(row.replace(**{self.field: cut})) for row, cut in zip(rows, tokens, strict=True)]
        return [logits.reshape(-1, logits.shape[-1]) for logits in alone]

    def differences(self) -> list[float]:
        """Of each row in the padded batch from the row alone."""
        return row_differences(self.logits(), self.unpadded_logits)

    def refilled(self) -> Tensor:
        """The tokens with random ones in place of padding."""
        tokens = getattr(self.padded, self.field)
        real = self.real if tokens.dim() == 2 else self.real[..., None]
        return torch.where(real, tokens, self.probe.replacements(tokens))

    def padding_influence(self) -> float:
        """The change of logits at real tokens when the padding is replaced by random tokens."""
        return max(row_differences(self.logits(), self.logits(**{self.field: self.refilled()})))

    def mask_influence(self) -> float:
        """The change of logits at real tokens when the mask says that all tokens are real."""
        return max(row_differences(self.logits(), self.logits(**{self.mask_field: torch.ones_like(self.real)})))

    def hides_the_other_side(self) -> bool:
        """Whether the last token of a row with one padding token attends to all but the token on the other side."""
        real = self.real[1]
        attentions = [
            one for one in record_attention(self.probe, self.padded.row(1)) if one.applied.shape[-1] == len(real)
        ]
        seen = [one.applied[..., -1, :].flatten(0, -2).amax(0) > MIN_WEIGHT for one in attentions]
        return bool(seen) and all(torch.equal(keys, real.flip(0)) for keys in seen)

    def mask_is_inverted(self) -> bool:
        """Whether the opposite mask makes padded rows right, or real tokens are hidden from each other."""
        opposite = ~self.real
        opposite[0] = True  # a row without any real token is a case of its own
        rows = self.logits(**{self.mask_field: opposite})
        return max(row_differences(rows[1:], self.unpadded_logits[1:])) <= TOLERANCE or self._real_tokens_are_hidden()

    def _real_tokens_are_hidden(self) -> bool:
        """Whether the real tokens of a padded row do not influence its last logit, or the source not the target."""
        if self.lengths[2] == 1 or self.probe.kind == "classifier":
            return False
        tokens = getattr(self.padded, self.field).clone()
        earlier = self.real[2].nonzero().flatten()[: -1 if self.field == "tokens" else None]
        tokens[2, earlier] = self.probe.replacements(tokens)[2, earlier]
        before, after = self.logits()[2], self.logits(**{self.field: tokens})[2]
        return bool(difference(before[-1:], after[-1:]).max() <= MIN_INFLUENCE)

    def case(self, differences: list[float]) -> str:
        row = max(range(len(differences)), key=differences.__getitem__)
        count = self.real.shape[1] - self.lengths[row]
        name = {"tokens": "a sequence", "source": "a source"}[self.field]
        return (
            f"{name} of {self.lengths[row]} tokens with {count} padding tokens on the {self.side}: the logits are "
            f"{differences[row]:.2g} standard deviations away from those without padding"
        )

    def explain(self, differences: list[float]) -> Outcome:
        """Why rows of the padded batch differ from the rows alone."""
        cause = self._cause(differences)
        by_length = ", ".join(f"{length}: {by:.1g}" for length, by in zip(self.lengths, differences, strict=True))
        return failed(
            cause,
            max(differences),
            TOLERANCE,
            case=self.case(differences),
            diagnosis=DIAGNOSES[cause],
            notes=(f"by length {by_length}",),
        )

    def _cause(self, differences: list[float]) -> str:
        if self.side == "left" and self.hides_the_other_side():
            return "side-ignored"
        if self.mask_is_inverted():
            return "mask-inverted"
        if not all(row.isfinite().all() for row in self.logits()):
            return "not-finite"
        if differences[0] > TOLERANCE:  # the row without padding
            return "causal-mask-lost" if self._future_leaks() else "other-path"
        by_token = says_by_token(self.probe.subject.padded)
        if not by_token and self.mask_influence() <= TOLERANCE:
            return "mask-ignored"
        has_weight, matters = self._padding_has_weight(), by_token or self.padding_influence() > TOLERANCE
        if self.probe.kind == "classifier" and has_weight is False and matters:
            return "padding-pooled"
        if has_weight or (matters and not by_token):
            return "padding-attended"
        return "positions-shifted" if self.side == "left" else "length-counts"

    def _future_leaks(self) -> bool:
        """Whether a decoder sees the future when it is given a mask of real tokens."""
        if self.field == "source" or self.probe.kind not in ("causal", "encoder-decoder"):
            return False
        row = self.inputs.row(0)
        masked = row.replace(real=torch.ones(row.tokens.shape[:2], dtype=torch.bool))
        return bool(influence(self.probe, masked).triu(1).max() > TOLERANCE)

    def _padding_has_weight(self) -> bool | None:
        """Whether real tokens give attention weight to padding, whichever token fills it; None without attention."""
        attentions = record_attention(self.probe, self.padded.row(2))
        weights = [_weight_on_padding(attention, self.real[2]) for attention in attentions]
        return any(bool(weight > MIN_WEIGHT) for weight in weights) if weights else None


def _weight_on_padding(attention: Attention, real: Tensor) -> Tensor:
    """The largest weight that a real query gives to a padding key."""
    T, S = attention.applied.shape[-2:]  # noqa: N806
    if len(real) != S:
        return torch.zeros(())
    queries = real if T == S else torch.ones(T, dtype=torch.bool)
    return attention.applied[..., queries, :][..., ~real].max()


DIAGNOSES = {
    "mask-inverted": "The mask of real tokens is read the other way round: with the opposite mask the model is right. "
    "nn.MultiheadAttention's key_padding_mask is True for what is hidden, F.scaled_dot_product_attention's mask True "
    "for what may be attended to.",
    "side-ignored": "The padding is on the left, and the model hides as many tokens on the right: it makes its mask "
    "from the number of real tokens. Use the mask as it is given.",
    "not-finite": "Padding turns real tokens' logits into NaN or infinity. A padding token that may attend to nothing "
    "gets NaN from its softmax, and the next layer spreads it, since 0 · NaN is NaN: give such a query zeros.",
    "causal-mask-lost": "Given a mask of real tokens, the model sees the future: that mask replaces the causal one. "
    "Combine the two with `&`.",
    "other-path": "A row without any padding differs already: the code path that takes a mask computes something else.",
    "mask-ignored": "The mask of real tokens changes nothing: it is not passed on to attention.",
    "padding-attended": "Real tokens attend to padding: the mask does not reach every attention layer, or it is "
    "applied to queries instead of keys.",
    "padding-pooled": "No attention gives weight to padding, and still it matters: what makes one vector of a row "
    "reads it, such as a mean over all places, or the last place. Leave padding out there.",
    "positions-shifted": "The padding's tokens do not matter, but their number does: positions count them. Count real "
    "tokens: (real.cumsum(-1) - 1).clamp(min=0).",
    "length-counts": "The padding's tokens do not matter, but their number does: look for a mean or a norm over all "
    "tokens, or positions that count from the end.",
}
