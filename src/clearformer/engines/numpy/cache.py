"""KV cache: keys and values of past tokens, stored so that a new token does not recompute the whole sequence.

    k[0..p], v[0..p] do not depend on later tokens (the mask is causal), so they are computed once and looked up.

Storage is allocated at its final length; slot p holds position p. Rows may have different lengths: slots beyond a row's
length are masked, and overwritten before they are used. There is no gradient here.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from clearformer.engines.numpy.rules import Array
from clearformer.engines.numpy.tensor import Tensor

KeysValues = tuple[Tensor, Tensor]
Positions = Int[NDArray[np.int64], "..."]


class KVCache:
    """The cache of a whole model: one `LayerCache` per layer, and the length of each row."""

    def __init__(self, num_layers: int, shape: tuple[int, int, int, int], dtype: np.dtype) -> None:
        """`shape` is [B, G, S, E], S being the maximum length."""
        self.layers = [LayerCache(self, np.zeros(shape, dtype), np.zeros(shape, dtype)) for _ in range(num_layers)]
        self.tokens = np.zeros((shape[0], shape[2]), np.int64)
        self.set_lengths([0] * shape[0])

    def set_lengths(self, lengths: Sequence[int]) -> None:
        """Truncate each row to its length."""
        self.lengths = np.array(lengths)
        self.longest = max(lengths)
        self.equal_lengths = min(lengths) == self.longest

    def positions(self, T: int) -> Int[NDArray[np.int64], "B T"]:  # noqa: N803
        """The positions of the next T tokens of each row."""
        return self.lengths[:, None] + np.arange(T)

    def mask(self, T: int) -> Bool[NDArray[np.bool_], "B 1 T S"] | None:  # noqa: N803
        """What the next T tokens may attend to; None if all rows have the same length: causality suffices."""
        return None if self.equal_lengths else (np.arange(self.longest + T) <= self.positions(T)[..., None])[:, None]

    def with_past(self, tokens: Int[NDArray[np.int64], "B T"], past: int) -> Int[NDArray[np.int64], "B past_and_T"]:
        """Store the next tokens, and return them after the `past` ones before them (0 where there are fewer)."""
        new = self.positions(tokens.shape[1])
        rows = np.arange(len(tokens))[:, None]
        self.tokens[rows, new] = tokens
        positions = np.concatenate((new[:, :1] - np.arange(past, 0, -1), new), axis=1)
        return np.where(positions < 0, 0, self.tokens[rows, np.maximum(positions, 0)])

    def advance(self, T: int) -> None:  # noqa: N803
        """Add T to all lengths; called when all layers have written."""
        self.lengths = self.lengths + T
        self.longest += T

    def reorder(self, rows: Sequence[int]) -> None:
        """Replace row i by the old row `rows[i]`, for beam search."""
        for layer in self.layers:
            layer.reorder(rows)
        self.tokens = self.tokens[rows]
        self.set_lengths(self.lengths[rows].tolist())


class LayerCache:
    """One layer's keys and values and, in an encoder-decoder, those of the encoder's output."""

    def __init__(self, owner: KVCache, keys: Float[Array, "B G S E"], values: Float[Array, "B G S E"]) -> None:
        self.owner = owner
        self.keys, self.values = keys, values
        self.memory: KeysValues | None = None

    def write(self, keys: Tensor, values: Tensor) -> KeysValues:
        """Store the keys and values of T new tokens, [B, G, T, E], and return all so far, as views."""
        T, start = keys.shape[2], self.owner.longest  # noqa: N806
        end = start + T
        if self.owner.equal_lengths:
            self.keys[:, :, start:end], self.values[:, :, start:end] = keys.data, values.data
        else:
            positions = self.owner.positions(T)
            rows = np.arange(len(positions))[:, None]
            self.keys[rows, :, positions] = keys.data.swapaxes(1, 2)
            self.values[rows, :, positions] = values.data.swapaxes(1, 2)
        return Tensor(self.keys[:, :, :end]), Tensor(self.values[:, :, :end])

    def remember(self, project: Callable[[Tensor], KeysValues], memory: Tensor) -> KeysValues:
        """The keys and values of the encoder's output, projected at the first call only."""
        if self.memory is None:
            self.memory = project(memory)
        return self.memory

    def reorder(self, rows: Sequence[int]) -> None:
        self.keys, self.values = self._reordered(self.keys, rows), self._reordered(self.values, rows)
        if self.memory is not None:
            keys, values = self.memory
            self.memory = Tensor(keys.data[rows]), Tensor(values.data[rows])

    def _reordered(self, storage: Float[Array, "B G S E"], rows: Sequence[int]) -> Float[Array, "rows G S E"]:
        """Copies only the slots in use."""
        reordered, end = np.zeros((len(rows), *storage.shape[1:]), storage.dtype), self.owner.longest
        reordered[:, :, :end] = storage[rows, :, :end]
        return reordered
