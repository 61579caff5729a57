"""Translation: encode the source once, then write the target a token at a time until its end."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from clearformer.data.batches import pad
from clearformer.data.tokenizers import BOS, EOS, PAD, UNK, Tokenizer
from clearformer.errors import PromptError
from clearformer.generation.decoding import Decoder
from clearformer.generation.sampling import GREEDY, Sampler, Sampling
from clearformer.models.transformer import Transformer
from clearformer.training.device import autocast, move

SENTENCES_AT_ONCE = 100
EXTRA_TOKENS = 50
"""a target may be longer than its source by so many tokens; Vaswani et al. 2017, arXiv:1706.03762, section 6.1"""


def translate(
    model: Transformer, sources: Sequence[Sequence[int]], sampling: Sampling = GREEDY, *, cached: bool = True
) -> list[list[int]]:
    """The target of each source (numbers without begin and end), up to its EOS.

    A target that does not end is cut at the length of its source + EXTRA_TOKENS, or at the context.
    Raises PromptError for a source longer than the context.
    """
    context = model.config.context
    for source in sources:
        if len(source) >= context:
            raise PromptError(
                f"a source of fewer than {context} tokens was expected, the model's context, found {len(source)}; "
                "split it into sentences"
            )
    device = next(model.parameters()).device
    padded = pad([[*source, EOS] for source in sources], PAD)
    real = torch.arange(padded.shape[1], device=device) < torch.tensor(
        [[len(source) + 1] for source in sources], device=device
    )
    with torch.inference_mode(), autocast(device):
        memory = model.encode(move(padded, device), real)
    decoder = Decoder(
        model,
        lambda target, cache: model.decode(target, memory, real, cache=cache),
        [[BOS]] * len(sources),
        cached=cached,
    )
    sampler = Sampler(sampling, len(sources), never=[PAD, BOS, UNK])
    longest = np.array([min(context, len(source) + EXTRA_TOKENS) for source in sources])
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


def translate_texts(
    model: Transformer,
    tokenizer: Tokenizer,
    sources: Sequence[str],
    *,
    cached: bool = True,
    advance: Callable[[int, int], None] = lambda *_: None,
) -> list[str]:
    """Greedy translations, in the order of the sources; those of like length are done together."""
    ids = list(tokenizer.encode_many(sources))
    order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
    outputs = [""] * len(ids)
    for first in range(0, len(order), SENTENCES_AT_ONCE):
        places = order[first : first + SENTENCES_AT_ONCE]
        translated = translate(model, [ids[place] for place in places], cached=cached)
        for place, output in zip(places, translated, strict=True):
            outputs[place] = tokenizer.decode(output)
        advance(first + len(places), len(order))
    return outputs
