"""KV cache: keys and values of past tokens, kept so that a new token costs one step and not the whole sequence again.

    k[0..p], v[0..p] do not depend on later tokens (the mask is causal), so they are computed once and looked up.

Storage is allocated at its final length; slot p holds position p. Rows may stand at different lengths: what lies beyond
a row's own is hidden by a mask, and overwritten before it is ever seen. There is no gradient here.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

from clearformer.engines.numpy.rules import Array
from clearformer.engines.numpy.tensor import Tensor

KeysValues = tuple[Tensor, Tensor]
Places = Int[NDArray[np.int64], "..."]


class KVCache:
    """The cache of a whole model: one `LayerCache` a layer, and the number of tokens each row holds."""

    def __init__(self, num_layers: int, shape: tuple[int, int, int, int], dtype: np.dtype) -> None:
        """`shape` is [B, G, S, E], S being the most tokens that a row will hold."""
        self.layers = [LayerCache(self, np.zeros(shape, dtype), np.zeros(shape, dtype)) for _ in range(num_layers)]
        self.tokens = np.zeros((shape[0], shape[2]), np.int64)
        self.set_lengths([0] * shape[0])

    def set_lengths(self, lengths: Sequence[int]) -> None:
        """Say how many tokens of each row count; what was written beyond them is forgotten."""
        self.lengths = np.array(lengths)
        self.longest = max(lengths)
        self.even = min(lengths) == self.longest

    def positions(self, T: int) -> Int[NDArray[np.int64], "B T"]:  # noqa: N803
        """Where the next T tokens of each row stand."""
        return self.lengths[:, None] + np.arange(T)

    def mask(self, T: int) -> Bool[NDArray[np.bool_], "B 1 T S"] | None:  # noqa: N803
        """What the next T tokens may see, where rows differ in length; None where causal attention says it all."""
        return None if self.even else (np.arange(self.longest + T) <= self.positions(T)[..., None])[:, None]

    def with_past(self, tokens: Int[NDArray[np.int64], "B T"], past: int) -> Int[NDArray[np.int64], "B past_and_T"]:
        """Store the next tokens, and return them behind the `past` ones before them (0 where there are fewer)."""
        new = self.positions(tokens.shape[1])
        rows = np.arange(len(tokens))[:, None]
        self.tokens[rows, new] = tokens
        places = np.concatenate((new[:, :1] - np.arange(past, 0, -1), new), axis=1)
        return np.where(places < 0, 0, self.tokens[rows, np.maximum(places, 0)])

    def advance(self, T: int) -> None:  # noqa: N803
        """Each row has T tokens more, once all layers have written theirs."""
        self.lengths = self.lengths + T
        self.longest += T

    def reorder(self, rows: Sequence[int]) -> None:
        """Let row i go on as the old row `rows[i]`; beam search needs it."""
        for layer in self.layers:
            layer.reorder(rows)
        self.tokens = self.tokens[rows]
        self.set_lengths(self.lengths[rows].tolist())


class LayerCache:
    """One layer's storage, and the keys and values of the encoder's output where the layer attends to one."""

    def __init__(self, owner: KVCache, keys: Float[Array, "B G S E"], values: Float[Array, "B G S E"]) -> None:
        self.owner = owner
        self.keys, self.values = keys, values
        self.memory: KeysValues | None = None

    def write(self, keys: Tensor, values: Tensor) -> KeysValues:
        """Store what T new tokens brought, [B, G, T, E], and return all so far, as views of the storage."""
        T, start = keys.shape[2], self.owner.longest  # noqa: N806
        end = start + T
        if self.owner.even:
            self.keys[:, :, start:end], self.values[:, :, start:end] = keys.data, values.data
        else:
            positions = self.owner.positions(T)
            rows = np.arange(len(positions))[:, None]
            self.keys[rows, :, positions] = keys.data.swapaxes(1, 2)
            self.values[rows, :, positions] = values.data.swapaxes(1, 2)
        return Tensor(self.keys[:, :, :end]), Tensor(self.values[:, :, :end])

    def remember(self, project: Callable[[Tensor], KeysValues], memory: Tensor) -> KeysValues:
        """The keys and values of the encoder's output: projected at the first call, looked up from then on."""
        if self.memory is None:
            self.memory = project(memory)
        return self.memory

    def reorder(self, rows: Sequence[int]) -> None:
        self.keys, self.values = self._moved(self.keys, rows), self._moved(self.values, rows)
        if self.memory is not None:
            keys, values = self.memory
            self.memory = Tensor(keys.data[rows]), Tensor(values.data[rows])

    def _moved(self, storage: Float[Array, "B G S E"], rows: Sequence[int]) -> Float[Array, "rows G S E"]:
        """Only what was written moves."""
        moved, end = np.zeros((len(rows), *storage.shape[1:]), storage.dtype), self.owner.longest
        moved[:, :, :end] = storage[rows, :, :end]
        return moved
