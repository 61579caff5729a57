"""Decoding: a step is compiled once per batch size and length, and replayed for each token.

The batch is padded to a power of two and does not shrink when rows end, since each size is compiled separately.
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
    """A decoder of tinygrad models; compiled functions read and update its cache in place."""

    def __init__(self, model: Model, prompts: Sequence[Sequence[int]], *, cached: bool, max_length: int) -> None:
        """`max_length` is the cache's capacity, in tokens per row."""
        super().__init__(prompts, model.config.context)
        self.model, self.cached = model, cached
        self.slots = -(-max_length // LENGTHS) * LENGTHS
        self.capacity = power_of_two(len(prompts))
        self.cache: Tensor | None = None
        self.memory: tuple[Tensor, ...] = ()
        """of an encoder-decoder: the encoded sources and their mask, by row"""

    def next_logits(self) -> Float[NDArray[np.float32], "B V"]:
        if not self.cached:
            logits = self.model.run(passes.read, *self._whole_rows(), *self.memory)
        elif self.cache is None and max(map(len, self.rows)) > 1:
            self.cache = self._empty_cache()
            logits = self.model.run(passes.fill, *self._whole_rows(), self.cache, *self.memory)
        else:
            self.cache = self._empty_cache() if self.cache is None else self.cache
            logits = self.model.run(passes.step, *self._last_tokens(), self.cache, *self.memory)
        return logits.numpy()[: len(self.rows)]

    def reorder_state(self, rows: Sequence[int]) -> None:
        self._reorder(self._index(rows))

    def clear_cache(self) -> None:
        self.cache = None

    def _index(self, rows: Sequence[int]) -> Int[NDArray[np.int64], " capacity"]:
        """The old row of each row, `capacity` in all; those beyond `rows` are padding."""
        index = np.arange(max(self.capacity, power_of_two(len(rows)))) % self.capacity
        index[: len(rows)] = rows
        return index

    def _reorder(self, index: Int[NDArray[np.int64], " capacity"]) -> None:
        self.capacity = len(index)
        if self.cache is not None:
            self.cache = self._reordered(self.cache, index)

    def _reordered(self, storage: Tensor, index: Int[NDArray[np.int64], " capacity"]) -> Tensor:
        if len(index) > storage.shape[2]:  # a tensor of another size
            return storage[:, :, on_device(index)].contiguous().realize()
        if not np.array_equal(index, np.arange(len(index))):
            self.model.run(passes.reorder, storage, on_device(index))
        return storage

    def _empty_cache(self) -> Tensor:
        config = self.model.config
        shape = (config.num_layers, 2, self.capacity, config.kv_heads, self.slots, config.key_width)
        return on_device(np.zeros(shape, np.float32))

    def _whole_rows(self) -> tuple[Tensor, Tensor]:
        """All tokens, and the position of each row's last."""
        tokens = pad(self.rows, PAD)
        padding = rounded_length(tokens.shape[1], self.context) - tokens.shape[1]
        last = np.array([len(row) - 1 for row in self.rows])
        return self._pad_rows(np.pad(tokens, ((0, 0), (0, padding)), constant_values=PAD)), self._pad_rows(last)

    def _last_tokens(self) -> tuple[Tensor, Tensor]:
        """The last PAST + 1 tokens of each row, filled with 0 on the left, and the position of its last."""
        tokens = [([0] * PAST + row)[-PAST - 1 :] for row in self.rows]
        return self._pad_rows(np.array(tokens)), self._pad_rows(np.array([[len(row) - 1] for row in self.rows]))

    def _pad_rows(self, array: Arrays) -> Tensor:
        """Pad with rows of zeros to the capacity."""
        more = np.zeros((self.capacity - len(array), *array.shape[1:]), array.dtype)
        return on_device(np.concatenate((array, more)))


class TargetDecoder(TinygradDecoder):
    """Encodes the sources once, and begins each target with BOS."""

    def __init__(self, model: Model, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, max_length: int) -> None:
        super().__init__(model, [[BOS]] * len(sources), cached=cached, max_length=max_length)
        padding = rounded_length(sources.shape[1], self.context) - sources.shape[1]
        tokens = np.pad(sources, ((0, self.capacity - len(sources)), (0, padding)), constant_values=PAD)
        self.real = tokens != PAD
        memory = model.run(passes.encode, on_device(tokens), on_device(self.real)).clone().realize()
        self.memory = memory, on_device(self.real)
        self.source_index = np.arange(self.capacity)
        """the source of each row"""

    def _reorder(self, index: Int[NDArray[np.int64], " capacity"]) -> None:
        super()._reorder(index)
        source_index = self.source_index[index]
        if not np.array_equal(source_index, self.source_index):  # rows often swap within their source only
            self.real = self.real[index]
            self.memory = self._reordered(self.memory[0], index), on_device(self.real)
        self.source_index = source_index


def make_decoder(model: Model, prompts: Sequence[Sequence[int]], *, cached: bool) -> Decoder:
    """A decoder for a language model; the cache holds a full context."""
    return TinygradDecoder(model, prompts, cached=cached, max_length=model.config.context)


def make_target_decoder(
    model: Model, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, max_length: int
) -> Decoder:
    """A decoder for an encoder-decoder: a target of at most `max_length` tokens for each padded source."""
    return TargetDecoder(model, sources, cached=cached, max_length=max_length)


def power_of_two(rows: int) -> int:
    """The smallest power of two that is at least `rows`."""
    return 1 << (rows - 1).bit_length()
