"""Numbers that engines share, in NumPy: of positions and of n-grams. The formulas stand in `clearformer.blocks`."""

import math

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

BASE = 10_000.0
PAST = 2
"""how many earlier tokens a token's n-grams depend on"""
MULTIPLIER = 1_000_003
BITS = 40
"""of the hash of n-grams"""


def angles(length: int, width: int) -> Float[NDArray[np.float64], "T half"]:
    """p / BASE^(2i / width) of the positions 0 to `length` - 1."""
    return np.arange(length)[:, None] * BASE ** (-np.arange(0, width, 2) / width)


def sinusoids(length: int, d_model: int) -> Float[NDArray[np.float32], "T D"]:
    """The vectors of these positions: sines and cosines, interleaved."""
    turns = angles(length, d_model)
    return np.stack((np.sin(turns), np.cos(turns)), axis=-1).reshape(length, d_model).astype(np.float32)


def slopes(num_heads: int) -> Float[NDArray[np.float32], " H"]:
    """ALiBi's of each head; where H is no power of two, those of the power below, then every other of the one above."""
    power = 2 ** math.floor(math.log2(num_heads))
    own = [2.0 ** (-8 * h / power) for h in range(1, power + 1)]
    between = [2.0 ** (-4 * h / power) for h in range(1, 2 * power + 1, 2)]
    return np.array([*own, *between][:num_heads], np.float32)
