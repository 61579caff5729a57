"""Dropout: in training each element is zeroed with probability p, and the others are scaled by 1 / (1 - p).

    Dropout(x)_i = x_i · [bits(key, number)_i >= p · 2^32] / (1 - p)        Srivastava et al. 2014

tinygrad's generator keeps a counter, so its bits depend on all earlier draws. Here they are Threefry's too, but a
function of the step's key, the number of the dropout and the element's index: a resumed run repeats them exactly.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

from tinygrad import Tensor, dtypes

from clearformer.engines.tinygrad.shapes import Float, sizes


class Noise:
    """Shared by the dropouts of a model: the key of their random bits; None: no dropout."""

    def __init__(self) -> None:
        self.key: Tensor | None = None
        self.dropouts = 0

    @contextmanager
    def enabled(self, key: Tensor) -> Iterator[None]:
        """Enable dropout, with a key of two uint32."""
        self.key = key
        try:
            yield
        finally:
            self.key = None


class Dropout:
    """Dropout with probability p, active while `noise` is enabled."""

    def __init__(self, p: float, noise: Noise) -> None:
        self.p, self.noise = p, noise
        self.number = noise.dropouts
        noise.dropouts += 1

    def __call__(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        if self.p == 0.0 or self.noise.key is None:
            return x
        counter = Tensor([self.number, 0], dtype=dtypes.uint32)
        bits = Tensor.random_bits(self.noise.key, counter, math.prod(sizes(x))).reshape(x.shape)
        kept = (bits >= int(self.p * 2**32)).contiguous()  # or the backward pass would draw it again
        return kept.where(x, 0) / (1 - self.p)
