"""Decoding: a step is compiled once for a number of rows and a length, and replayed for each token.

Rows are padded to a power of two, and stay so many when some end, since another number would be compiled anew.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from tinygrad import Tensor

from clearformer.data.batches import pad
from clearformer.data.tokenizers import BOS, PAD
from clearformer.engines.tables import PAST
from clearformer.engines.tinygrad import passes
from clearformer.engines.tinygrad.compiled import LENGTHS, on_device, rounded_length
from clearformer.engines.tinygrad.model import Model
from clearformer.generation.decoder import Decoder

Arrays = Int[NDArray[np.int64], "rows ..."]


class TinygradDecoder(Decoder):
    """Has a cache of its own, which the compiled passes read and write."""

    def __init__(self, model: Model, prompts: Sequence[Sequence[int]], *, cached: bool, most: int) -> None:
        """`most` is how many tokens a row will hold."""
        super().__init__(prompts, model.config.context)
        self.model, self.cached = model, cached
        self.slots = -(-most // LENGTHS) * LENGTHS
        self.room = power_of_two(len(prompts))
        self.cache: Tensor | None = None
        self.source: tuple[Tensor, ...] = ()
        """what is known of the rows' sources, if they have some"""

    def next_logits(self) -> Float[NDArray[np.float32], "B V"]:
        if not self.cached:
            logits = self.model.run(passes.read, *self._whole_rows(), *self.source)
        elif self.cache is None and max(map(len, self.rows)) > 1:
            self.cache = self._empty_cache()
            logits = self.model.run(passes.fill, *self._whole_rows(), self.cache, *self.source)
        else:
            self.cache = self._empty_cache() if self.cache is None else self.cache
            logits = self.model.run(passes.step, *self._last_tokens(), self.cache, *self.source)
        return logits.numpy()[: len(self.rows)]

    def reorder_kept(self, rows: Sequence[int]) -> None:
        self._move(self._index(rows))

    def forget(self) -> None:
        self.cache = None

    def _index(self, rows: Sequence[int]) -> Int[NDArray[np.int64], " room"]:
        """Where each row comes from; those beyond stay as they are, and new ones come from anywhere."""
        index = np.arange(max(self.room, power_of_two(len(rows)))) % self.room
        index[: len(rows)] = rows
        return index

    def _move(self, index: Int[NDArray[np.int64], " room"]) -> None:
        self.room = len(index)
        if self.cache is not None:
            self.cache = self._moved(self.cache, index)

    def _moved(self, storage: Tensor, index: Int[NDArray[np.int64], " room"]) -> Tensor:
        if len(index) > storage.shape[2]:  # a tensor of another size
            return storage[:, :, on_device(index)].contiguous().realize()
        if not np.array_equal(index, np.arange(len(index))):
            self.model.run(passes.reorder, storage, on_device(index))
        return storage

    def _empty_cache(self) -> Tensor:
        config = self.model.config
        shape = (config.num_layers, 2, self.room, config.kv_heads, self.slots, config.head_width)
        return on_device(np.zeros(shape, np.float32))

    def _whole_rows(self) -> tuple[Tensor, Tensor]:
        """All tokens, and where the last of each row stands."""
        tokens = pad(self.rows, PAD)
        lacks = rounded_length(tokens.shape[1], self.context) - tokens.shape[1]
        last = np.array([len(row) - 1 for row in self.rows])
        return self._with_room(np.pad(tokens, ((0, 0), (0, lacks)), constant_values=PAD)), self._with_room(last)

    def _last_tokens(self) -> tuple[Tensor, Tensor]:
        """The last tokens of each row, 0 where there are fewer, and where the very last stands."""
        tokens = [([0] * PAST + row)[-PAST - 1 :] for row in self.rows]
        return self._with_room(np.array(tokens)), self._with_room(np.array([[len(row) - 1] for row in self.rows]))

    def _with_room(self, array: Arrays) -> Tensor:
        """With as many rows as there is room for."""
        more = np.zeros((self.room - len(array), *array.shape[1:]), array.dtype)
        return on_device(np.concatenate((array, more)))


class TargetDecoder(TinygradDecoder):
    """Looks at the sources, which are encoded once, and begins each target with BOS."""

    def __init__(self, model: Model, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, most: int) -> None:
        super().__init__(model, [[BOS]] * len(sources), cached=cached, most=most)
        lacks = rounded_length(sources.shape[1], self.context) - sources.shape[1]
        tokens = np.pad(sources, ((0, self.room - len(sources)), (0, lacks)), constant_values=PAD)
        self.real = tokens != PAD
        memory = model.run(passes.encode, on_device(tokens), on_device(self.real)).clone().realize()
        self.source = memory, on_device(self.real)
        self.sources = np.arange(self.room)
        """which of the sources each row is the target of"""

    def _move(self, index: Int[NDArray[np.int64], " room"]) -> None:
        super()._move(index)
        sources = self.sources[index]
        if not np.array_equal(sources, self.sources):  # what is known of a source moves only when rows come or go
            self.real = self.real[index]
            self.source = self._moved(self.source[0], index), on_device(self.real)
        self.sources = sources


def continue_rows(model: Model, prompts: Sequence[Sequence[int]], *, cached: bool) -> Decoder:
    """A decoder of a language model."""
    return TinygradDecoder(model, prompts, cached=cached, most=model.config.context)


def write_targets(model: Model, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, most: int) -> Decoder:
    """A decoder of an encoder-decoder: a target of at most `most` tokens for each of the padded sources."""
    return TargetDecoder(model, sources, cached=cached, most=most)


def power_of_two(rows: int) -> int:
    """The least that is not below."""
    return 1 << (rows - 1).bit_length()
