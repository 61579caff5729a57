"""What a loss should be: the mean -log p of the labels under the model's own logits, perhaps with smoothed targets."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import Kind

IGNORE = -100
TOLERANCE = 1e-4
"""nats, or relative where the loss is above 1: float32 noise stays below 1e-6"""
SHARE_TOLERANCE = 1e-3
"""of the sum of the shares, which are fitted: noise was below 1e-4"""
MIN_SHARE = 0.5
"""of the label itself, in smoothed targets"""

MAX_NORMALISER = 0.1
"""of a z-loss; 1e-4 to 1e-2 are usual"""


@dataclass(frozen=True)
class Terms:
    """Means over the predicted labels, in nats."""

    label: float
    """-log p of the label"""
    vocabulary: float
    """the mean of -log p over the vocabulary"""
    pad: float
    """-log p of the padding token"""
    normaliser: float = 0.0
    """the square of the logarithm of the softmax's divisor"""


@dataclass(frozen=True)
class Shares:
    """The parts that a smoothed loss gives to the terms; they sum to one."""

    label: float
    vocabulary: float
    pad: float
    constant: float
    """nats, as in a Kullback-Leibler divergence"""
    normaliser: float = 0.0
    """a z-loss, which keeps logits small (PaLM, arXiv:2204.02311, section 5); beside the sum"""

    def loss(self, terms: Terms) -> float:
        smoothed = self.normaliser * terms.normaliser
        smoothed += self.vocabulary * terms.vocabulary + self.pad * terms.pad + self.constant
        return self.label * terms.label + smoothed

    def label_loss(self, value: Tensor, terms: Terms) -> Tensor:
        """The mean -log p of the labels in a smoothed loss."""
        return (value - (self.loss(terms) - self.label * terms.label)) / self.label

    @property
    def smoothing(self) -> float | None:
        """As PyTorch's cross-entropy defines it; None where it is another one."""
        is_standard = agree(self.label + self.vocabulary, 1.0) and agree(self.pad, 0.0) and agree(self.constant, 0.0)
        return round(self.vocabulary, 4) if is_standard and not self.normaliser else None


PLAIN = Shares(1.0, 0.0, 0.0, 0.0)
IN_BITS = Shares(1 / math.log(2), 0.0, 0.0, 0.0)


def agree(one: float, other: float) -> bool:
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one))


def read_terms(
    call: Callable[..., Any], kind: Kind, model: Any, inputs: Tensor, labels: Tensor, start: int, pad: int
) -> Terms:
    """The terms of labels [B, T] that are not -100, or of [B] of a classifier; a pair's `inputs` are its sources."""
    if kind == "encoder-decoder":
        decoder_tokens = torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], dim=1)
        out = call(model, inputs.clone(), decoder_tokens.masked_fill(decoder_tokens == IGNORE, pad))
    else:
        out = call(model, inputs.clone())
    logits = extract_logits(out).detach()
    if kind == "causal":
        logits, labels = logits[:, :-1], labels[:, 1:]
    logits, labels = logits.double().flatten(0, -2), labels.flatten()
    predicted = labels != IGNORE
    logits, labels = logits[predicted], labels[predicted]
    log_p, squares = logits.log_softmax(-1), logits.logsumexp(-1).square()
    of_pad = -log_p[:, min(pad, log_p.shape[1] - 1)]
    means = functional.nll_loss(log_p, labels), -log_p.mean(), of_pad.mean(), squares.mean()
    return Terms(*(float(mean) for mean in means))


def fit(values: list[float], terms: list[Terms]) -> Shares | None:
    """The shares with which the terms give all of these losses; None where they do not, or are not smoothed targets.

    Bits in place of nats are a unit.
    """
    for unit in (PLAIN, IN_BITS):
        if all(agree(unit.loss(one), value) for value, one in zip(values, terms, strict=True)):
            return unit
    return _fitted(values, terms, with_normaliser=False) or _fitted(values, terms, with_normaliser=True)


def _fitted(values: list[float], terms: list[Terms], *, with_normaliser: bool) -> Shares | None:
    squares = [one.normaliser if with_normaliser else 0.0 for one in terms]
    rows = torch.tensor(
        [[one.label, one.vocabulary, one.pad, 1.0, z] for one, z in zip(terms, squares, strict=True)],
        dtype=torch.float64,
    )
    solution = torch.linalg.lstsq(rows, torch.tensor(values, dtype=torch.float64)[:, None], driver="gelsd").solution
    shares = Shares(*solution[:, 0].tolist())
    fits = all(agree(shares.loss(one), value) for value, one in zip(values, terms, strict=True))
    total = shares.label + shares.vocabulary + shares.pad
    are_shares = (
        abs(total - 1) <= SHARE_TOLERANCE and shares.label >= MIN_SHARE and shares.vocabulary > -SHARE_TOLERANCE
    )
    is_penalty = 0 <= shares.normaliser <= MAX_NORMALISER
    return shares if fits and are_shares and shares.constant <= SHARE_TOLERANCE and is_penalty else None
