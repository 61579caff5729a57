"""Tables and constants of positions and n-grams, in NumPy, for all engines; `clearformer.blocks` has the formulas."""

import math

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clearformer.config import BUCKETS, RotaryScaling

BASE = 10_000.0
AS_TRAINED = RotaryScaling()
PAST = 2
"""earlier tokens that a token's n-grams depend on"""
MULTIPLIER = 1_000_003
BITS = 40
"""of the hash of n-grams"""
FURTHEST = 128
"""distance from which on all keys are in one bucket"""


def angles(
    length: int, width: int, base: float = BASE, scaling: RotaryScaling = AS_TRAINED
) -> Float[NDArray[np.float64], "T half"]:
    """p θ_i for positions p = 0 to `length` - 1, with θ_i = base^(-2i / width), scaled as in `blocks.rotary`."""
    theta = base ** (-np.arange(0, width, 2) / width)
    turns = scaling.context * theta / (2 * math.pi)
    kept = ((turns - scaling.low) / (scaling.high - scaling.low)).clip(0, 1)
    return np.arange(length)[:, None] * (theta * (kept + (1 - kept) / scaling.factor))


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


def buckets(offset: Int[NDArray[np.int64], "*shape"], *, causal: bool) -> Int[NDArray[np.int64], "*shape"]:
    """The row of a table of relative positions for each offset of a key from its query."""
    number = BUCKETS if causal else BUCKETS // 2
    exact = number // 2
    distance = np.maximum(-offset, 0) if causal else np.abs(offset)
    share = np.log(np.maximum(distance, exact) / exact) / math.log(FURTHEST / exact)
    coarse = np.minimum(exact + (share * (number - exact)).astype(np.int64), number - 1)
    found = np.where(distance < exact, distance, coarse)
    return found if causal else found + number * (offset > 0)
