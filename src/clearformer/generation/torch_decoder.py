"""The decoders of PyTorch's models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from clearformer.blocks.cache import KVCache
from clearformer.data.batches import pad
from clearformer.data.tokenizers import BOS, PAD
from clearformer.generation.decoder import CachedDecoder, Decoder
from clearformer.generation.packed import PackedProducts
from clearformer.models.transformer import Transformer
from clearformer.training.device import autocast, compute_dtype, move


def make_decoder(model: Any, prompts: Sequence[Sequence[int]], *, cached: bool) -> Decoder:
    """A decoder for a language model; the cache holds a full context."""
    return TorchDecoder(model, model.features, prompts, cached=cached, max_length=model.config.context)


def make_target_decoder(
    model: Any, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, max_length: int
) -> Decoder:
    """A decoder for an encoder-decoder: a target of at most `max_length` tokens for each padded source."""
    return TargetDecoder(model, sources, cached=cached, max_length=max_length)


class TorchDecoder(CachedDecoder):
    """A decoder of PyTorch models."""

    cache: KVCache | None

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.products = PackedProducts()

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def logits(self, count: int) -> Float[NDArray[np.float32], "B count V"]:
        with autocast(self.device):
            if self.cached and self.cache is not None:
                unread = torch.tensor(self.unread(self.cache.longest), device=self.device)
                with self.products.of(unread.numel()):
                    return self._project(self.features(unread, self.cache)[:, -count:])
            return self._project(self._read_whole_rows(count))

    def _project(self, features: Float[Tensor, "B T D"]) -> Float[NDArray[np.float32], "B T V"]:
        return self.model.output_projection(features).float().cpu().numpy()

    @torch.inference_mode()
    def reorder_state(self, rows: Sequence[int]) -> None:
        if self.cache is not None:
            self.cache.reorder(torch.tensor(rows, device=self.device))

    def _read_whole_rows(self, count: int) -> Float[Tensor, "B count D"]:
        """The features of each row's last `count` tokens."""
        config, lengths = self.model.config, [len(row) for row in self.rows]
        if self.cached:
            self.cache = KVCache(
                num_layers=config.num_layers,
                batch_size=len(self.rows),
                num_heads=config.kv_heads,
                max_length=self.max_length,
                head_width=config.key_width,
                like=torch.empty(0, dtype=compute_dtype(self.device), device=self.device),
            )
        features = self.features(move(pad(self.rows, PAD), self.device), self.cache)
        if self.cache is not None:
            self.cache.set_lengths(lengths)  # drops the keys and values of padding
        return features[torch.arange(len(lengths))[:, None], torch.tensor(lengths)[:, None] + torch.arange(-count, 0)]


class TargetDecoder(TorchDecoder):
    """Encodes the sources once, and begins each target with BOS."""

    memory: Float[Tensor, "B S D"]
    real: Bool[Tensor, "B S"]

    @torch.inference_mode()
    def __init__(
        self, model: Transformer, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, max_length: int
    ) -> None:
        super().__init__(model, self._features, [[BOS]] * len(sources), cached=cached, max_length=max_length)
        tokens = move(sources, self.device)
        self.real = tokens != PAD
        with autocast(self.device):
            self.memory = model.encode(tokens, self.real)
        self.source_index = np.arange(len(sources))
        """the source of each row"""

    def _features(self, target: Int[Tensor, "B T"], cache: KVCache | None) -> Float[Tensor, "B T D"]:
        return self.model.decode(target, self.memory, self.real, cache=cache)

    @torch.inference_mode()
    def reorder_state(self, rows: Sequence[int]) -> None:
        super().reorder_state(rows)
        source_index = self.source_index[rows]
        if not np.array_equal(source_index, self.source_index):  # rows often swap within their source only
            self.memory, self.real = self.memory[rows], self.real[rows]
        self.source_index = source_index
