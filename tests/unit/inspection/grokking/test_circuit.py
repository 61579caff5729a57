"""The circuit in logits that were built from it, alone or with what is orthogonal to it."""

import math

import pytest
import torch

from clearformer.inspection.grokking import circuit
from clearformer.inspection.grokking.cycles import CYCLIC, cycle
from clearformer.inspection.grokking.fourier import key_frequencies

# float64 sums of up to 30,000 terms of size ten
EXACT = {"atol": 1e-8, "rtol": 1e-9}
ALPHA = {2: 3.0, 5: 2.0, 6: 1.5}


def signal(n: int, alpha: dict[int, float] = ALPHA) -> torch.Tensor:
    """sum_k α_k cos(w_k (a + b - c)), entry by entry."""
    a, b, c = torch.meshgrid(*[torch.arange(n, dtype=torch.float64)] * 3, indexing="ij")
    return sum(size * torch.cos(2 * math.pi * k / n * (a + b - c)) for k, size in alpha.items())


def unseen(n: int) -> torch.Tensor:
    """What neither changes the softmax nor depends on c."""
    return torch.randn(n, n, 1, dtype=torch.float64)


def loss_of_signal(n: int, alpha: dict[int, float] = ALPHA) -> float:
    """-log softmax at the right answer, of one pair: the same for all."""
    cosines = [sum(size * math.cos(2 * math.pi * k * d / n) for k, size in alpha.items()) for d in range(n)]
    return math.log(sum(map(math.exp, cosines))) - cosines[0]


@pytest.mark.parametrize("n", [13, 12])  # 6 is the highest frequency of 12, which has a cosine alone
def test_a_pure_signal_is_found_explained_and_rebuilt(n: int):
    logits = signal(n) + unseen(n) + 7.0
    assert circuit.circuit_spectrum(logits)[0] == 0
    assert circuit.circuit_spectrum(logits).sum() == pytest.approx(1)
    assert key_frequencies(circuit.circuit_spectrum(logits)) == sorted(ALPHA)
    found = circuit.circuit(logits, sorted(ALPHA))
    assert found.amplitudes == pytest.approx(list(ALPHA.values()))
    assert found.explained == pytest.approx(1)
    torch.testing.assert_close(circuit.rebuilt(logits, sorted(ALPHA)), signal(n), **EXACT)
    for outcome in (found.model, found.rebuilt, found.restricted):
        assert outcome.loss == pytest.approx(loss_of_signal(n))
        assert outcome.accuracy == 1
    assert found.excluded.loss == pytest.approx(math.log(n))  # nothing is left but what the softmax does not see


def test_half_of_the_frequencies_is_the_signal_of_these():
    found = circuit.circuit(signal(13), [2, 5])
    assert found.rebuilt.loss == pytest.approx(loss_of_signal(13, {2: 3.0, 5: 2.0}))
    assert found.excluded.loss == pytest.approx(loss_of_signal(13, {6: 1.5}))
    assert found.explained == pytest.approx((9 + 4) / (9 + 4 + 2.25))


def test_memories_of_single_answers_lower_the_explained_share_by_theirs():
    # cos(w a) cos(w' b) cos(w" c) has variance 1/8 and no mean over c; a signal of one frequency has 1/2
    n = 13
    a, b, c = (torch.arange(n, dtype=torch.float64) * 2 * math.pi * k / n for k in (1, 3, 4))
    memory = torch.cos(a)[:, None, None] * torch.cos(b)[:, None] * torch.cos(c)
    logits = signal(n, {2: 1.0}) + 2 * memory
    assert circuit.explained_share(logits, [2]) == pytest.approx(0.5)
    assert key_frequencies(circuit.circuit_spectrum(logits)) == [2]
    torch.testing.assert_close(circuit.restricted(logits, [2]), signal(n, {2: 1.0}), **EXACT)
    torch.testing.assert_close(circuit.excluded(logits, [2]), 2 * memory, **EXACT)


def test_the_parts_are_those_of_a_two_dimensional_transform():
    n, keys = 12, [1, 4, 6]
    logits = torch.randn(n, n, n, dtype=torch.float64)
    kept = torch.zeros(n, n, 1, dtype=torch.bool)
    kept[[*keys, *(-k for k in keys)], [*keys, *(-k for k in keys)]] = True
    waves = torch.fft.fft2(logits, dim=(0, 1))
    part = torch.fft.ifft2(waves * kept, dim=(0, 1)).real
    torch.testing.assert_close(circuit.excluded(logits, keys), logits - part, **EXACT)
    torch.testing.assert_close(circuit.restricted(logits, keys), part + logits.mean((0, 1)), **EXACT)


def test_the_rebuilt_logits_are_the_projection():
    n, keys = 12, [1, 4, 6]
    logits = torch.randn(n, n, n, dtype=torch.float64)
    rebuilt = circuit.rebuilt(logits, keys)
    for k in keys:
        direction = signal(n, {k: 1.0})
        assert torch.sum((logits - rebuilt) * direction) == pytest.approx(0, abs=EXACT["atol"])
    centred = logits - logits.mean(-1, keepdim=True)
    left = (centred - rebuilt).square().sum() / centred.square().sum()
    assert circuit.explained_share(logits, keys) == pytest.approx(1 - float(left))


@pytest.mark.parametrize("operation", CYCLIC)
def test_every_operation_is_the_same_circuit_on_its_circle(operation: str):
    p = 13
    circle = cycle(operation, p)
    n = len(circle)
    logits = torch.full(
        (p, p, p), 50.0, dtype=torch.float64
    )  # equations with zero, where they have no place, do not count
    a, b, c = torch.meshgrid(circle.first, circle.second, circle.first, indexing="ij")
    logits[a, b, c] = signal(n)
    found = circuit.circuit(circle.logits(logits), key_frequencies(circuit.circuit_spectrum(circle.logits(logits))))
    assert found.frequencies == sorted(ALPHA)
    assert found.explained == pytest.approx(1)
    assert found.model.loss == pytest.approx(loss_of_signal(n))


def test_outcomes_are_of_the_chosen_pairs():
    logits = torch.zeros(2, 2, 4, dtype=torch.float64)
    logits[0, 1, 3] = math.log(5)  # probabilities 1/8, 1/8, 1/8, 5/8
    answers = torch.tensor([[0, 3], [1, 2]])
    chosen = torch.tensor([[True, True], [False, False]])
    found = circuit.outcome(logits, answers, chosen)
    assert found.loss == pytest.approx((math.log(4) + math.log(8 / 5)) / 2)
    assert found.accuracy == 1  # of four equal logits, the first is the largest
    assert math.isnan(circuit.outcome(logits, answers, ~chosen & chosen).loss)
