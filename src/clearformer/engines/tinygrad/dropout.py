"""Dropout: in training each number is dropped with probability p, and those that stay are scaled to make up for it.

    Dropout(x)_i = x_i · [bits(key, number)_i >= p · 2^32] / (1 - p)        Srivastava et al. 2014

tinygrad's own generator keeps a counter, which a compiled step moves on, so what it draws depends on all that was drawn
before. Here the bits, of the same Threefry, are a function of the step's key, of which dropout draws, and of the place:
a resumed run repeats them to the bit.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from tinygrad import Tensor, dtypes

from clearformer.engines.tinygrad.shapes import Float, sizes


class Noise:
    """What the dropouts of a model share: the key of the random bits they draw now; None: they drop nothing."""

    def __init__(self) -> None:
        self.key: Tensor | None = None
        self.dropouts = 0

    @contextmanager
    def drawn(self, key: Tensor) -> Iterator[None]:
        """Let dropout drop, by a key of two numbers (uint32)."""
        self.key = key
        try:
            yield
        finally:
            self.key = None


class Dropout:
    """Drops each number with probability p, and makes up for it by scaling the others."""

    def __init__(self, p: float, noise: Noise) -> None:
        self.p, self.noise = p, noise
        self.number = noise.dropouts
        noise.dropouts += 1

    def __call__(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        if self.p == 0.0 or self.noise.key is None:
            return x
        counter = Tensor([self.number, 0], dtype=dtypes.uint32)
        bits = Tensor.random_bits(self.noise.key, counter, math.prod(sizes(x))).reshape(x.shape)
        kept = (bits >= int(self.p * 2**32)).contiguous()  # else drawn again for the backward pass
        return kept.where(x, 0) / (1 - self.p)
