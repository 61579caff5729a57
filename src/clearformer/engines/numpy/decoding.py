"""Decoding: read the prompt in one pass, then one token per step through the key-value cache."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clearformer.data.batches import pad
from clearformer.data.tokenizers import BOS, PAD
from clearformer.engines.numpy.cache import KVCache
from clearformer.engines.numpy.models import GPT, Model, Transformer
from clearformer.engines.numpy.modes import no_grad
from clearformer.engines.numpy.tensor import Tensor
from clearformer.generation.decoder import CachedDecoder, Decoder


def logits_of(model: Model, inputs: tuple[NDArray[Any], ...]) -> Float[NDArray[np.float32], "B *T V"]:
    """Logits for a batch's `inputs`; the model must be in evaluation mode."""
    with no_grad():
        out: Tensor = model(*inputs)
    return out.data


class NumPyDecoder(CachedDecoder):
    """A decoder of NumPy models."""

    cache: KVCache | None

    def logits(self, count: int) -> Float[NDArray[np.float32], "B count V"]:
        with no_grad():
            if self.cached and self.cache is not None:
                unread = np.array(self.unread(self.cache.longest))
                features = self.features(unread, self.cache)[:, -count:]
            else:
                features = self._read_whole_rows(count)
            return self.model.output_projection(features).data

    def reorder_state(self, rows: Sequence[int]) -> None:
        if self.cache is not None:
            self.cache.reorder(rows)

    def _read_whole_rows(self, count: int) -> Tensor:
        """The features of each row's last `count` tokens, [B, count, D]."""
        config, lengths = self.model.config, [len(row) for row in self.rows]
        if self.cached:
            shape = (len(self.rows), config.kv_heads, self.max_length, config.key_width)
            self.cache = KVCache(config.num_layers, shape, self.model.embedding.weight.dtype)
        features = self.features(pad(self.rows, PAD), self.cache)
        if self.cache is not None:
            self.cache.set_lengths(lengths)  # drops the keys and values of padding
        return features[np.arange(len(lengths))[:, None], np.array(lengths)[:, None] + np.arange(-count, 0)]


class TargetDecoder(NumPyDecoder):
    """Encodes the sources once, and begins each target with BOS."""

    def __init__(
        self, model: Transformer, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, max_length: int
    ) -> None:
        super().__init__(model, self._features, [[BOS]] * len(sources), cached=cached, max_length=max_length)
        self.real = sources != PAD
        with no_grad():
            self.memory = model.encode(sources, self.real)

    def _features(self, target: Int[NDArray[np.int64], "B T"], cache: KVCache | None) -> Tensor:
        return self.model.decode(target, self.memory, self.real, cache=cache)

    def reorder_state(self, rows: Sequence[int]) -> None:
        super().reorder_state(rows)
        self.memory, self.real = Tensor(self.memory.data[rows]), self.real[rows]


def make_decoder(model: GPT, prompts: Sequence[Sequence[int]], *, cached: bool) -> Decoder:
    """A decoder for a language model; the cache holds a full context."""
    return NumPyDecoder(model, model.features, prompts, cached=cached, max_length=model.config.context)


def make_target_decoder(
    model: Transformer, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, max_length: int
) -> Decoder:
    """A decoder for an encoder-decoder: a target of at most `max_length` tokens for each padded source."""
    return TargetDecoder(model, sources, cached=cached, max_length=max_length)
