"""Decoding: read the prompt in one pass ("prefill"), then one token per step through the key-value cache.

    logits_t = model(x_1 … x_t)         with the cache: model(x_t; keys and values of x_1 … x_{t-1})

Prompts of unequal lengths form one batch: each row has its own positions, and all rows step together.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from clearformer.blocks.cache import KVCache
from clearformer.data.batches import pad
from clearformer.data.tokenizers import BOS, PAD, Tokenizer
from clearformer.engine import engine_of
from clearformer.errors import PromptError
from clearformer.generation.decoder import CachedDecoder, Decoder
from clearformer.generation.packed import PackedProducts
from clearformer.generation.sampling import Sampler, Sampling
from clearformer.generation.speculative import Draft, Speculation
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
                head_width=config.head_width,
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


def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    sampling: Sampling,
    *,
    slide: bool = False,
    cached: bool = True,
    draft: Draft | None = None,
    suppressed: Sequence[int] = Tokenizer.never_written,
) -> Iterator[list[int]]:
    """Continue each prompt; each step yields one token per prompt, none of them `suppressed`.

    With `slide`, a full context is truncated to its later half and read again from position 0, which suits a model
    trained on windows from anywhere in a text. With `draft`, the tokens have the same distribution and are the same if
    greedy, but a seed gives another sample: see `generation.speculative`. Raises PromptError for an empty prompt and,
    without `slide`, for a prompt longer than the context or when the context is full; and for an engine that cannot
    decode with a draft.
    """
    context = model.config.context
    for prompt in prompts:
        if not prompt:
            raise PromptError("a prompt of at least one token was expected, found an empty one; type a character")
        if len(prompt) > context and not slide:
            raise PromptError(
                f"a prompt of at most {context} tokens was expected, the model's context, found {len(prompt)}; "
                "shorten it, or add --slide to keep only its end"
            )
    decoder = engine_of(model).make_decoder(model, prompts, cached=cached)
    sampler = Sampler(sampling, len(prompts), suppressed=suppressed)
    speculation = None if draft is None else Speculation(model, decoder, draft, sampler, cached=cached)
    done = 0
    while done < max_new_tokens:
        if max(map(len, decoder.rows)) > context:
            if not slide:
                raise PromptError(
                    f"the context of {context} tokens is full after {done} of {max_new_tokens} new tokens; "
                    "ask for fewer, or add --slide to go on from the last half"
                )
            decoder.slide()
        if speculation is None:
            new = [sampler(decoder.next_logits()).tolist()]
            decoder.append(new[0])
        else:
            new = speculation.step(max_new_tokens - done)
        yield from new
        done += len(new)


def decode_stream(tokenizer: Tokenizer, tokens: Iterable[int], before: Sequence[int] = ()) -> Iterator[str]:
    """Yield text as tokens arrive, with the spaces that belong between words, also after the tokens `before`.

    A character may take several tokens, and is yielded with its last.
    """
    shown, pending = [*before], []
    for token in tokens:
        pending.append(token)
        text = tokenizer.decode([*shown, *pending])[len(tokenizer.decode(shown)) :]
        if not text.endswith("\ufffd"):
            yield text
            shown, pending = pending, []
    if pending:
        yield tokenizer.decode(pending)
