"""Decoding: read the prompt in one pass ("prefill"), then one token per step through the key-value cache.

    logits_t = model(x_1 … x_t)         with the cache: model(x_t; keys and values of x_1 … x_{t-1})

Prompts of unequal lengths form one batch: each row has its own positions, and all rows step together.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from clearformer.data.tokenizers import Tokenizer
from clearformer.engine import engine_of
from clearformer.errors import PromptError
from clearformer.generation.sampling import Sampler, Sampling
from clearformer.generation.speculative import Draft, Speculation


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
