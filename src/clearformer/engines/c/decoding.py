"""Decoding: read the prompt in one pass, then one token per step through the key-value cache."""

import ctypes
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clearformer.data.batches import pad
from clearformer.data.tokenizers import BOS, PAD
from clearformer.engines.c import library as c
from clearformer.engines.c.model import Model, Tokens, array_at, encode, pointer, project, tokens_of
from clearformer.generation.decoder import Decoder, ScoringDecoder

Sources = Float[NDArray[np.float32], "L M S W"]
"""keys and values of encoded sources, for each layer; W = 2 G E"""


class KVCache:
    """The arrays of a cache, and the struct that points to them."""

    def __init__(self, model: Model, B: int, capacity: int, sources: Sources | None) -> None:  # noqa: N803
        """For B rows of at most `capacity` tokens; in an encoder-decoder row i translates source i."""
        config = model.config
        L, G, E = config.num_layers, config.kv_heads, config.key_width  # noqa: N806
        self.lengths, self.tokens = np.zeros(B, np.int32), np.zeros((B, capacity), np.int32)
        self.keys, self.values = (np.empty((L, B, G, capacity, E), np.float32) for _ in range(2))
        self.sources, self.rows = sources, np.arange(B, dtype=np.int32)
        _, M, S, _ = (0, 0, 0, 0) if sources is None else sources.shape  # noqa: N806
        own = self.lengths, self.rows, self.tokens, self.keys, self.values
        self.struct = c.Cache(B, capacity, M, S, *map(pointer, own), None if sources is None else pointer(sources))


class CDecoder(ScoringDecoder):
    """A decoder of C models."""

    def __init__(self, model: Model, prompts: Sequence[Sequence[int]], *, cached: bool, max_length: int) -> None:
        """`max_length` is the cache's capacity, in tokens per row."""
        super().__init__(prompts, model.config.context)
        self.model, self.cached, self.max_length = model, cached, max_length
        self.cache: KVCache | None = None
        self.spare: KVCache | None = None
        self.memory = c.Memory()
        self.sources: Sources | None = None

    def logits(self, count: int) -> Float[NDArray[np.float32], "B count V"]:
        if self.cached and self.cache is not None:
            past = int(self.cache.lengths.max())
            unread = tokens_of(self.model, np.array(self.unread(past)), past)
            return self._logits(unread, [unread.shape[1]] * len(unread), count)
        if self.cached:
            self.cache = self._make_cache()
        lengths = [len(row) for row in self.rows]
        logits = self._logits(tokens_of(self.model, pad(self.rows, PAD)), lengths, count)
        if self.cache is not None:
            self.cache.lengths[:] = lengths  # drops the keys and values of padding
        return logits

    def summarize(
        self, logits: Float[NDArray[np.float32], "B V"], columns: int
    ) -> tuple[Float[NDArray[np.float32], "B columns"], Float[NDArray[np.float64], " B"]]:
        (B, V), logits = logits.shape, np.ascontiguousarray(logits)  # noqa: N806
        maxima, log_sums = np.empty((B, columns), np.float32), np.empty(B)
        self.model.library.summarize(B, V, pointer(logits), columns, pointer(maxima), pointer(log_sums))
        return maxima, log_sums

    def shorten_cache(self) -> None:
        if self.cache is not None:
            self.cache.lengths[:] = np.minimum(self.cache.lengths, [len(row) for row in self.rows])

    def _logits(self, tokens: Tokens, lengths: Sequence[int], count: int) -> Float[NDArray[np.float32], "B count V"]:
        """Logits of what follows the last `count` of the first `lengths` tokens of each row."""
        (B, T), model = tokens.shape, self.model  # noqa: N806
        batch, keys = c.Batch(B, T, pointer(tokens)), 0
        if self.cache is not None:
            batch.past, keys = ctypes.pointer(self.cache.struct), self.max_length
        room = model.room(B, T, self.memory.S, keys=keys)
        at = model.library.decoder_features(model.at, batch, self.memory, room)
        features = array_at(at, B, T, model.config.d_model)
        last = features[np.arange(B)[:, None], np.array(lengths)[:, None] + np.arange(-count, 0)]
        return project(model, last.reshape(B * count, -1), room).reshape(B, count, -1)

    def _make_cache(self) -> KVCache:
        return KVCache(self.model, len(self.rows), self.max_length, self.sources)

    def reorder_state(self, rows: Sequence[int]) -> None:
        if self.cache is not None:
            old, new, order = self.cache, self.spare, np.array(rows, np.int32)
            if new is None or len(new.rows) != len(rows):
                new = self._make_cache()
            self.model.library.reorder_cache(self.model.c_config, old.struct, pointer(order), new.struct)
            self.cache, self.spare = new, old

    def clear_cache(self) -> None:
        self.cache = None


class TargetDecoder(CDecoder):
    """Encodes the sources once, and begins each target with BOS."""

    def __init__(self, model: Model, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, max_length: int) -> None:
        super().__init__(model, [[BOS]] * len(sources), cached=cached, max_length=max_length)
        real, tokens = sources != PAD, tokens_of(model, sources)
        self._remember(encode(model, c.Batch(*sources.shape, pointer(tokens), None, pointer(real))), real)
        if cached:
            self.sources = self._project()

    def _remember(self, features: Float[NDArray[np.float32], "B S D"], real: NDArray[np.bool_]) -> None:
        self.encoded, self.real = features, real
        self.memory = c.Memory(features.shape[1], pointer(features), pointer(real))

    def _project(self) -> Sources:
        config, (M, S) = self.model.config, self.real.shape  # noqa: N806
        sources = np.empty((config.num_layers, M, S, 2 * config.kv_heads * config.key_width), np.float32)
        self.model.library.remember(self.model.at, M, self.memory, pointer(sources), self.model.room(M, 1, S))
        return sources

    def reorder_state(self, rows: Sequence[int]) -> None:
        super().reorder_state(rows)
        if not self.cached:
            self._remember(self.encoded[rows], self.real[rows])


def make_decoder(model: Model, prompts: Sequence[Sequence[int]], *, cached: bool) -> Decoder:
    """A decoder for a language model; the cache holds a full context."""
    return CDecoder(model, prompts, cached=cached, max_length=model.config.context)


def make_target_decoder(
    model: Model, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, max_length: int
) -> Decoder:
    """A decoder for an encoder-decoder: a target of at most `max_length` tokens for each padded source."""
    return TargetDecoder(model, sources, cached=cached, max_length=max_length)
