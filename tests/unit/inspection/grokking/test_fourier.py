"""Fourier measures of what is built from known frequencies."""

import math

import pytest
import torch

from clearformer.inspection.grokking.fourier import (
    circle_plane,
    components,
    fourier_basis,
    gini,
    key_frequencies,
    neuron_frequencies,
    plane_spectrum,
    spectrum,
)

# float64 sums of up to 30,000 terms of size one
EXACT = {"atol": 1e-9, "rtol": 1e-9}


def wave(n: int, k: int, shift: float = 0.0) -> torch.Tensor:
    return torch.cos(2 * math.pi * k / n * torch.arange(n, dtype=torch.float64) - shift)


@pytest.mark.parametrize("n", [7, 12])
def test_the_basis_is_orthonormal(n: int):
    torch.testing.assert_close(fourier_basis(n) @ fourier_basis(n).T, torch.eye(n, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize("n", [7, 12])
def test_powers_add_up_to_the_sum_of_squares_by_either_way(n: int):
    x = torch.randn(n, 5, dtype=torch.float64)
    total = x.square().sum()
    torch.testing.assert_close(spectrum(x).sum(), total, **EXACT)
    torch.testing.assert_close(components(x).square().sum(), total, **EXACT)
    sines = components(x).square()[1 : 2 * ((n - 1) // 2) + 1].view(-1, 2).sum(1)
    torch.testing.assert_close(spectrum(x)[1 : len(sines) + 1], sines, **EXACT)


def test_an_embedding_on_two_circles_has_the_power_of_their_radii():
    # a circle of radius r has n points of squared norm r²
    circles = [(3, 2.0), (5, 0.5)]
    columns = [r * wave(13, k, shift) for k, r in circles for shift in (0.0, math.pi / 2)]
    power = spectrum(torch.stack(columns, dim=1))
    expected = torch.zeros(7, dtype=torch.float64)
    expected[3], expected[5] = 13 * 4.0, 13 * 0.25
    torch.testing.assert_close(power, expected, **EXACT)
    assert key_frequencies(power) == [3, 5]


def test_the_plane_of_a_frequency_shows_its_circle():
    directions = torch.linalg.qr(torch.randn(9, 4, dtype=torch.float64)).Q.T
    circles = [(3, 2.0), (5, 0.5)]
    columns = [r * wave(13, k, shift) for k, r in circles for shift in (0.0, math.pi / 2)]
    embedding = torch.stack(columns, dim=1) @ directions
    for k, radius in circles:
        expected = radius * torch.stack((wave(13, k), wave(13, k, math.pi / 2)), dim=1)
        torch.testing.assert_close(embedding @ circle_plane(embedding, k), expected, **EXACT)


def test_key_frequencies_stand_out_of_noise_of_which_together_there_is_as_much():
    power = torch.full((57,), 1.0)
    power[0] = 1e6  # the mean is no frequency
    power[[14, 35, 41, 52]] += torch.tensor([20.0, 15.0, 12.0, 9.0])
    assert key_frequencies(power) == [14, 35, 41, 52]
    assert key_frequencies(power, share=0.5) == [14, 35]


def test_nothing_is_key_where_there_is_no_power_or_the_same_everywhere():
    assert key_frequencies(torch.zeros(9)) == []
    assert key_frequencies(torch.ones(9)) == []


def test_a_plane_wave_has_its_power_at_its_two_frequencies():
    a, b = wave(11, 2, 0.3)[:, None], wave(11, 4, 1.0)
    power = plane_spectrum((a * b)[..., None])
    torch.testing.assert_close(power[2, 4, 0], torch.tensor(11 / 2 * 11 / 2, dtype=torch.float64), **EXACT)
    torch.testing.assert_close(power.sum(), power[2, 4, 0], **EXACT)


def test_neurons_have_the_frequency_and_the_share_they_were_built_with():
    n, k = 11, 3
    a, b = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    w = 2 * math.pi * k / n
    of_one = 5.0 + torch.cos(w * a) + 2 * torch.sin(w * b) - torch.cos(w * a) * torch.sin(w * b)
    # the variances of cos(w (a + b)) and of 3 cos(4 w' a), another frequency, are 1/2 and 9/2
    of_two = torch.cos(w * (a + b)) + 3 * torch.cos(2 * math.pi * 4 / n * a)
    mixed = torch.cos(w * a) * torch.cos(2 * math.pi * 5 / n * b)  # of no single frequency
    still, dead = torch.full((n, n), 7.1, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
    frequencies, shares = neuron_frequencies(torch.stack((of_one, of_two, mixed, still, dead), dim=-1))
    assert frequencies[[0, 1, 3, 4]].tolist() == [3, 4, 0, 0]
    torch.testing.assert_close(shares, torch.tensor([1, 0.9, 0, 0, 0], dtype=torch.float64), **EXACT)


def test_gini_of_one_of_equals_and_by_hand():
    assert gini(torch.tensor([0.0, 3.0, 0.0, 0.0])) == pytest.approx(1 - 1 / 4)
    assert gini(torch.full((7,), 2.0)) == pytest.approx(0.0)
    # the mean difference of all pairs over twice the mean: (0 + 2 + 2 + 0) / 4 / (2 * 2)
    assert gini(torch.tensor([3.0, 1.0])) == pytest.approx(0.25)
    assert gini(torch.zeros(3)) == 0.0
