"""Tables and constants of positions and n-grams, in NumPy, for all engines; `clearformer.blocks` has the formulas."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

BASE = 10_000.0
PAST = 2
"""earlier tokens that a token's n-grams depend on"""
MULTIPLIER = 1_000_003
BITS = 40
"""of the hash of n-grams"""


def angles(length: int, width: int, base: float = BASE) -> Float[NDArray[np.float64], "T half"]:
    """p / base^(2i / width) for positions p = 0 to `length` - 1."""
    return np.arange(length)[:, None] * base ** (-np.arange(0, width, 2) / width)


def sinusoids(length: int, d_model: int) -> Float[NDArray[np.float32], "T D"]:
    """Sinusoidal positions 0 to `length` - 1: sines and cosines, interleaved."""
    theta = angles(length, d_model)
    return np.stack((np.sin(theta), np.cos(theta)), axis=-1).reshape(length, d_model).astype(np.float32)


def slopes(num_heads: int) -> Float[NDArray[np.float32], " H"]:
    """ALiBi's slopes; if H is no power of two, those of the power below, then every other one of the power above."""
    power = 2 ** math.floor(math.log2(num_heads))
    lower = [2.0 ** (-8 * h / power) for h in range(1, power + 1)]
    between = [2.0 ** (-4 * h / power) for h in range(1, 2 * power + 1, 2)]
    return np.array([*lower, *between][:num_heads], np.float32)
