"""The circuit that adds on a circle: rotate by a, rotate by b, read off c. Rebuilt from its frequencies, and cut out.

    logits(a, b, c) ≈ const + sum_k α_k cos(w_k (a + b - c))        w_k = 2π k / n, over key frequencies k

Each cosine is largest where c = a + b, and cosines of several frequencies agree in their maximum there only.
                                                     Nanda et al. 2023, arXiv:2301.05217, sections 3, 4.4 and 5.1

All logits here are those on a circle (`cycles`): at [a, b, c], with a + b modulo n the right c.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clearformer.inspection.grokking.fourier import multiplicity

Logits = Float[Tensor, "n n n"]
"""of a, b, c"""


def sums(n: int) -> Int[Tensor, "n n"]:
    """a + b modulo n: the right answers."""
    places = torch.arange(n)
    return (places[:, None] + places) % n


def differences(n: int) -> Int[Tensor, "n n"]:
    """At [i, j], j - i modulo n."""
    places = torch.arange(n)
    return (places - places[:, None]) % n


def losses(logits: Float[Tensor, "*pairs V"], answers: Int[Tensor, "*pairs"]) -> Float[Tensor, "*pairs"]:
    """-log softmax(logits)[answer] of each pair, in nats."""
    flat = F.cross_entropy(logits.double().flatten(0, -2), answers.flatten(), reduction="none")
    return flat.view(answers.shape)


def by_sum(logits: Logits) -> Float[Tensor, "n n"]:
    """At [s, c] the mean of the logits of c over the pairs with a + b = s: the part that depends on a + b alone."""
    n = len(logits)
    return logits.double()[torch.arange(n)[:, None], differences(n)].mean(0)


def along(logits: Logits, frequencies: Sequence[int]) -> Float[Tensor, "n n"]:
    """At [s, c] the part of the logits of c along cos(w_k (a + b)) and sin(w_k (a + b)) of these k, where a + b = s.

    These directions depend on a + b alone, so the two-dimensional transform is one-dimensional, of `by_sum`.
    """
    waves = torch.fft.rfft(by_sum(logits), dim=0)
    kept = torch.zeros(len(waves), 1, dtype=torch.bool)
    kept[list(frequencies)] = True
    return torch.fft.irfft(waves * kept, n=len(logits), dim=0)


def restricted(logits: Logits, frequencies: Sequence[int]) -> Logits:
    """The mean over all pairs, and the part along cos(w_k (a + b)) and sin(w_k (a + b)) of these k; no more."""
    return along(logits, [0, *frequencies])[sums(len(logits))]


def excluded(logits: Logits, frequencies: Sequence[int]) -> Logits:
    """All but the part along cos(w_k (a + b)) and sin(w_k (a + b)) of these k."""
    return logits.double() - along(logits, frequencies)[sums(len(logits))]


def by_error(logits: Logits) -> Float[Tensor, " n"]:
    """At [d] the mean logit over all a, b, c with a + b - c = d: of answers that are too small by d."""
    n = len(logits)
    return by_sum(logits)[torch.arange(n), -differences(n).T % n].mean(1)


def amplitudes(logits: Logits) -> Float[Tensor, " K"]:
    """α_k of k = 0 … n // 2: the projection of the logits on cos(w_k (a + b - c)). α_0 is the mean of all logits."""
    waves = torch.fft.rfft(by_error(logits)).real / len(logits)
    return waves * multiplicity(len(logits))


def circuit_spectrum(logits: Logits) -> Float[Tensor, " K"]:
    """The share of the logits' variance that α_k cos(w_k (a + b - c)) explains, by k; 0 at k = 0.

    The variance is that about the mean over c, which the softmax does not see.
    """
    centred = logits.double() - logits.double().mean(-1, keepdim=True)
    explained = amplitudes(logits).square() / multiplicity(len(logits)) * len(logits) ** 3
    explained[0] = 0
    return explained / centred.square().sum()


def rebuilt(logits: Logits, frequencies: Sequence[int]) -> Logits:
    """sum_k α_k cos(w_k (a + b - c)) over these k.

    It depends on a + b - c alone, so that every pair has the same loss, and all answers are right or none.
    """
    n = len(logits)
    waves = torch.zeros(n // 2 + 1, dtype=torch.complex128)
    keys = list(frequencies)
    waves[keys] = (amplitudes(logits) / multiplicity(n) * n)[keys].to(waves.dtype)
    by_difference = torch.fft.irfft(waves, n=n)
    return by_difference[differences(n)].T[sums(n)]


def explained_share(logits: Logits, frequencies: Sequence[int]) -> float:
    """The share of the logits' variance, about their mean over c, that `rebuilt` has of these k."""
    return float(circuit_spectrum(logits)[list(frequencies)].sum())


@dataclass(frozen=True)
class Outcome:
    """How good logits are, over some pairs."""

    loss: float
    """mean, in nats"""
    accuracy: float
    """share of pairs whose largest logit is that of the right answer"""


def outcome(logits: Float[Tensor, "p q V"], answers: Int[Tensor, "p q"], pairs: Bool[Tensor, "p q"]) -> Outcome:
    """Over the pairs that are True; NaN if there are none."""
    chosen, right = logits[pairs], answers[pairs]
    accuracy = (chosen.argmax(-1) == right).double().mean()
    return Outcome(float(losses(chosen, right).mean()), float(accuracy))


@dataclass(frozen=True)
class Circuit:
    """How far a few frequencies are the model, and what is left of it without them. Over all pairs on the circle."""

    frequencies: list[int]
    amplitudes: list[float]
    """α_k of each"""
    explained: float
    """share of the logits' variance, about their mean over c, that the rebuilt logits have"""
    model: Outcome
    rebuilt: Outcome
    """of sum_k α_k cos(w_k (a + b - c)) alone"""
    restricted: Outcome
    """of the mean over pairs and what lies along cos(w_k (a + b)) and sin(w_k (a + b)) alone"""
    excluded: Outcome
    """of all but what lies along these"""


def circuit(logits: Logits, frequencies: Sequence[int]) -> Circuit:
    """What these frequencies do in a model with these logits."""
    n = len(logits)
    every = torch.ones(n, n, dtype=torch.bool)
    versions = (logits, *(part(logits, frequencies) for part in (rebuilt, restricted, excluded)))
    return Circuit(
        list(frequencies),
        amplitudes(logits)[list(frequencies)].tolist(),
        explained_share(logits, frequencies),
        *(outcome(version, sums(n), every) for version in versions),
    )
