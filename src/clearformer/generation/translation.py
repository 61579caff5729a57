"""Translation: encode the source once, then generate the target token by token until EOS."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clearformer.data.tokenizers import EOS, Tokenizer
from clearformer.engine import engine_of
from clearformer.generation.beam import GREEDY_BEAM, Beam, beam_search
from clearformer.generation.sampling import GREEDY, Sampler, Sampling
from clearformer.generation.sources import NEVER_GENERATED, max_target_lengths, padded_sources

BATCH_SIZE = 100


def translate(
    model: Any, sources: Sequence[Sequence[int]], sampling: Sampling = GREEDY, *, cached: bool = True
) -> list[list[int]]:
    """Sample the target of each source (token ids without BOS and EOS).

    A target without EOS is truncated at its source's length + EXTRA_TOKENS, or at the context.
    Raises PromptError for a source longer than the context.
    """
    context = model.config.context
    max_lengths = max_target_lengths(sources, context)
    decoder = engine_of(model).make_target_decoder(
        model, padded_sources(sources, context), cached=cached, max_length=context
    )
    sampler = Sampler(sampling, len(sources), suppressed=NEVER_GENERATED)
    ended = np.zeros(len(sources), dtype=bool)
    length = 0
    while not ended.all():
        tokens = sampler(decoder.next_logits())
        decoder.append(tokens.tolist())
        length += 1
        ended |= (tokens == EOS) | (length >= max_lengths)
    return [_before_eos(row[1 : 1 + limit]) for row, limit in zip(decoder.rows, max_lengths, strict=True)]


def _before_eos(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(EOS)] if EOS in tokens else tokens


@dataclass(frozen=True)
class Translation:
    """A translation, its log-probability (nats) and the score by which beam search ranks it."""

    text: str
    log_probability: float
    score: float


def translate_texts(
    model: Any,
    tokenizer: Tokenizer,
    sources: Sequence[str],
    beam: Beam = GREEDY_BEAM,
    *,
    cached: bool = True,
    advance: Callable[[int, int], None] = lambda *_: None,
) -> list[str]:
    """The best translation of each source, in order; greedy by default. See `n_best_texts` for `advance`."""
    found = n_best_texts(model, tokenizer, sources, beam, cached=cached, advance=advance)
    return [best[0].text for best in found]


def n_best_texts(
    model: Any,
    tokenizer: Tokenizer,
    sources: Sequence[str],
    beam: Beam,
    *,
    cached: bool = True,
    advance: Callable[[int, int], None] = lambda *_: None,
) -> list[list[Translation]]:
    """The `n_best` translations of each source, best first, in the order of the sources.

    Sources of similar length form a batch; after each, `advance(done, total)` is called.
    """
    ids = list(tokenizer.encode_batch(sources))
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    outputs: dict[int, list[Translation]] = {}
    for first in range(0, len(order), BATCH_SIZE):
        indices = order[first : first + BATCH_SIZE]
        found = beam_search(model, [ids[i] for i in indices], beam, cached=cached)
        for i, best in zip(indices, found, strict=True):
            outputs[i] = [Translation(tokenizer.decode(h.tokens), h.log_probability, h.score) for h in best]
        advance(first + len(indices), len(order))
    return [outputs[i] for i in range(len(ids))]
