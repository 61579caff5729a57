"""Translation: encode the source once, then write the target a token at a time until its end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clearformer.data.tokenizers import EOS, Tokenizer
from clearformer.engine import engine_of
from clearformer.generation.beam import GREEDY_BEAM, Beam, beam_search
from clearformer.generation.sampling import GREEDY, Sampler, Sampling
from clearformer.generation.sources import NEVER_WRITTEN, longest_targets, padded_sources

SENTENCES_AT_ONCE = 100


def translate(
    model: Any, sources: Sequence[Sequence[int]], sampling: Sampling = GREEDY, *, cached: bool = True
) -> list[list[int]]:
    """The target of each source (numbers without begin and end), up to its EOS.

    A target that does not end is cut at the length of its source + EXTRA_TOKENS, or at the context.
    Raises PromptError for a source longer than the context.
    """
    context = model.config.context
    longest = longest_targets(sources, context)
    decoder = engine_of(model).write_targets(model, padded_sources(sources, context), cached=cached, most=context)
    sampler = Sampler(sampling, len(sources), never=NEVER_WRITTEN)
    ended = np.zeros(len(sources), dtype=bool)
    made = 0
    while not ended.all():
        tokens = sampler(decoder.next_logits())
        decoder.append(tokens.tolist())
        made += 1
        ended |= (tokens == EOS) | (made >= longest)
    return [_until_end(row[1 : 1 + most]) for row, most in zip(decoder.rows, longest, strict=True)]


def _until_end(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(EOS)] if EOS in tokens else tokens


@dataclass(frozen=True)
class Translation:
    """A text that was written, its log-probability (nats) and its score, by which the beam ranks."""

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
    """The best translation of each source, in their order; greedy unless a wider beam is given."""
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

    Sources of like length are done together.
    """
    ids = list(tokenizer.encode_many(sources))
    order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
    outputs: dict[int, list[Translation]] = {}
    for first in range(0, len(order), SENTENCES_AT_ONCE):
        places = order[first : first + SENTENCES_AT_ONCE]
        found = beam_search(model, [ids[place] for place in places], beam, cached=cached)
        for place, best in zip(places, found, strict=True):
            outputs[place] = [Translation(tokenizer.decode(h.tokens), h.log_probability, h.score) for h in best]
        advance(first + len(places), len(order))
    return [outputs[place] for place in range(len(ids))]
