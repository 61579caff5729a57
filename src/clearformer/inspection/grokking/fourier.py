"""Fourier analysis on a circle of n places: what a function of a number modulo n is made of.

    f(j) = sum_k  a_k cos(w_k j) + b_k sin(w_k j)        w_k = 2π k / n,  k = 0 … n // 2

The model that has learned addition holds a few of these frequencies, one that has memorised holds them all.
                                                     Nanda et al. 2023, arXiv:2301.05217, section 4.1 and appendix C
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

NO_VARIANCE = 1e-24
"""of the square of the mean: float64 rounds a constant to a variance of about 1e-32 times that"""
KEY_SHARE = 0.99
"""of the power above the floor, that key frequencies hold together"""


def fourier_basis(n: int) -> Float[Tensor, "n n"]:
    """Orthonormal rows: the constant, then cos(w_k j) and sin(w_k j) for k = 1, 2, …; an even n ends in cos(π j)."""
    j = torch.arange(n, dtype=torch.float64)
    rows = [torch.full_like(j, 1 / math.sqrt(n))]
    for k in range(1, (n - 1) // 2 + 1):
        rows += [math.sqrt(2 / n) * wave(2 * math.pi * k / n * j) for wave in (torch.cos, torch.sin)]
    if n % 2 == 0:
        rows.append(torch.cos(math.pi * j) / math.sqrt(n))
    return torch.stack(rows)


def components(x: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    """The norm of each row of basis · x: how much of the columns of x together lies along each direction."""
    return (fourier_basis(len(x)) @ x.double().flatten(1)).norm(dim=1)


def spectrum(x: Float[Tensor, "n ..."]) -> Float[Tensor, " K"]:
    """Power by frequency, k = 0 … n // 2: the squared norm of the part of x along cos(w_k j) and sin(w_k j).

    The powers add up to the sum of all squares of x (Parseval).
    """
    power = torch.fft.rfft(x.double().flatten(1), dim=0).abs().square().sum(1) / len(x)
    return power * multiplicity(len(x))


def circle_plane(x: Float[Tensor, "n D"], k: int) -> Float[Tensor, "D 2"]:
    """Orthonormal columns that span the directions cos(w_k j) · x and sin(w_k j) · x, for 0 < k < n / 2.

    If x holds frequency k, x @ circle_plane(x, k) is a circle that number j passes at the angle w_k j.
    """
    cosine, sine = fourier_basis(len(x))[2 * k - 1 : 2 * k + 1] @ x.double()
    sine = sine - sine @ cosine / cosine.square().sum() * cosine
    return torch.stack((cosine / cosine.norm(), sine / sine.norm()), dim=1)


def multiplicity(n: int) -> Float[Tensor, " K"]:
    """The dimension of each frequency: two, cosine and sine; one of k = 0 and, if n is even, of k = n / 2."""
    count = torch.full((n // 2 + 1,), 2.0, dtype=torch.float64)
    count[0] = 1
    if n % 2 == 0:
        count[-1] = 1
    return count


def plane_spectrum(x: Float[Tensor, "n n C"]) -> Float[Tensor, "K K C"]:
    """Power of each function of a and b, x[:, :, c], by the frequencies of a and of b; they add up as in `spectrum`."""
    n = len(x)
    basis = fourier_basis(n)
    along_b = torch.einsum("jb,abc->ajc", basis, x.double())
    power = torch.einsum("ia,ajc->ijc", basis, along_b).square()
    frequencies = (torch.arange(n) + 1) // 2
    by_a = power.new_zeros(n // 2 + 1, n, power.shape[2]).index_add(0, frequencies, power)
    return by_a.new_zeros(len(by_a), *by_a.shape[::2]).index_add(1, frequencies, by_a)


def neuron_frequencies(neurons: Float[Tensor, "n n F"]) -> tuple[Int[Tensor, " F"], Float[Tensor, " F"]]:
    """The frequency that explains most of each neuron's variance over all pairs, and the share that it explains.

    A frequency w explains eight waves: cos(w a), sin(w a), cos(w b), sin(w b), and the four products of one of a and
    one of b (the paper's section 4.3). A neuron that is the same for all pairs has frequency and share 0.
    """
    power = plane_spectrum(neurons)
    of_frequency = power[0] + power[:, 0] + power.diagonal().T
    of_frequency[0] = 0
    variance = power.sum((0, 1)) - power[0, 0]
    best, frequency = of_frequency.max(0)
    changes = variance > NO_VARIANCE * power[0, 0]
    return frequency * changes, torch.where(changes, best / variance, 0.0)


def key_frequencies(power: Float[Tensor, " K"], share: float = KEY_SHARE) -> list[int]:
    """The fewest frequencies that hold `share` of the power that stands above the floor, in rising order.

    The floor is the median over all k > 0: a model that has learned the circuit uses few of them, so the median is
    what any frequency has by chance. Made for `circuit_spectrum` of logits, where chance is almost nothing: the least
    key frequency of a trained model has about a hundred times the power of the next. In an embedding what is left of
    memorising is large and uneven, and rises above its median. Where all power is the same, no frequency is key.
    """
    above = (power[1:] - power[1:].median()).clamp(min=0)
    order = above.argsort(descending=True, stable=True)
    held = above[order].cumsum(0)
    count = int((held < share * held[-1]).sum()) + 1 if held[-1] > 0 else 0
    return sorted((order[:count] + 1).tolist())


def gini(values: Float[Tensor, " n"]) -> float:
    """How unequal values >= 0 are: 0 if all are equal, 1 - 1/n if a single one is not zero.

    sum_i (2 i - n - 1) x_i / (n sum_i x_i), x sorted, i = 1 … n         Hurley & Rickard 2009, arXiv:0811.4706
    """
    n = len(values)
    places = 2 * torch.arange(1, n + 1, dtype=torch.float64) - n - 1
    total = values.double().sum()
    return float(places @ values.double().sort().values / (n * total)) if total > 0 else 0.0
