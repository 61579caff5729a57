"""What the cache gives equals the full forward, whatever the model, the prompts and how they are read."""

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearformer.blocks.cache import KVCache
from clearformer.errors import PromptError

CONTEXT = 7
# float32 in rectangles of another size, so sums in another order: 8.6e-7 seen, relative to 1 + the value
TOLERANCE = 1e-5
everywhere = pytest.mark.parametrize("kind", ["gpt", "transformer"])
choices = st.fixed_dictionaries(
    {
        "positions": st.sampled_from(["sinusoidal", "learned", "rotary", "alibi", "none"]),
        "num_heads": st.just(4),
        "num_kv_heads": st.sampled_from([1, 2, 4]),
        "window": st.integers(0, 4),
        "qk_norm": st.booleans(),
        "ngram_buckets": st.sampled_from([0, 13]),
        "logit_cap": st.sampled_from([0.0, 3.0]),
        "norm": st.sampled_from(["layer", "rms"]),
        "norm_order": st.sampled_from(["pre", "post"]),
        "activation": st.sampled_from(["relu", "gelu", "squared_relu", "swiglu", "geglu"]),
    }
)
kinds = st.sampled_from(["gpt", "transformer"])

Logits = Callable[[torch.Tensor, KVCache | None], torch.Tensor]


def make_cache(model, rows: int) -> KVCache:
    return KVCache(
        num_layers=2,
        batch_size=rows,
        num_heads=model.config.kv_heads,
        max_length=CONTEXT,
        head_width=model.config.head_width,
        like=next(model.parameters()),
    )


def logits_of(model, rows: int) -> Logits:
    """tokens, cache -> logits; an encoder-decoder looks at sources of unequal lengths, the first row's the longest."""
    if model.config.kind == "gpt":
        return model
    source = torch.randint(11, (3, 5), generator=torch.Generator().manual_seed(1))[:rows]
    real = torch.arange(5) < torch.tensor([[5], [2], [4]])[:rows]
    memory = model.encode(source, real)
    return lambda tokens, cache: model.output_projection(model.decode(tokens, memory, real, cache=cache))


def same(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


@everywhere
@pytest.mark.parametrize("prompt", [1, 2, CONTEXT - 2, CONTEXT])
def test_every_step_after_a_prompt_equals_the_full_forward(tiny, kind: str, variant: dict, prompt: int):
    model = tiny(kind, **variant)
    logits, cache, tokens = logits_of(model, 3), make_cache(model, 3), torch.randint(11, (3, CONTEXT))
    same(logits(tokens[:, :prompt], cache), logits(tokens[:, :prompt], None))
    full = logits(tokens, None)
    for place in range(prompt, CONTEXT):
        same(logits(tokens[:, place : place + 1], cache), full[:, place : place + 1])
    assert cache.lengths.tolist() == [CONTEXT] * 3


@settings(max_examples=40)
@given(kind=kinds, choice=choices, cuts=st.sets(st.integers(1, CONTEXT - 1)), seed=st.integers(0, 2**31))
def test_a_prompt_read_in_chunks_equals_the_prompt_read_in_one_piece(tiny, kind, choice, cuts: set[int], seed: int):
    torch.manual_seed(seed)
    model = tiny(kind, seed, **choice).double()  # a norm of two nearly equal elements magnifies what float32 rounds
    logits, cache, tokens = logits_of(model, 2), make_cache(model, 2), torch.randint(11, (2, CONTEXT))
    bounds = [0, *sorted(cuts), CONTEXT]
    chunks = [logits(tokens[:, a:b], cache) for a, b in itertools.pairwise(bounds)]
    same(torch.cat(chunks, 1), logits(tokens, None))


def assert_rows_equal_each_alone(model, lengths: list[int], chunk: int) -> None:
    """Prompts of these lengths, read together, then `chunk` tokens a step."""
    logits, cache, tokens = logits_of(model, 3), make_cache(model, 3), torch.randint(11, (3, CONTEXT))
    full = logits(tokens, None)  # causal: what stands at a place does not depend on what comes after it
    prompt = torch.where(torch.arange(max(lengths)) < torch.tensor(lengths)[:, None], tokens[:, : max(lengths)], 0)
    first = logits(prompt, cache)
    cache.set_lengths(lengths)
    for row, length in enumerate(lengths):
        same(first[row, :length], full[row, :length])
    for step in range(0, CONTEXT - max(lengths) - chunk + 1, chunk):
        places = torch.tensor(lengths)[:, None] + torch.arange(step, step + chunk)
        same(logits(tokens.gather(1, places), cache), full.gather(1, places[..., None].expand(-1, -1, 11)))


@everywhere
def test_rows_of_unequal_lengths_equal_each_row_alone(tiny, kind: str, variant: dict):
    for lengths in ([2, 5, 3], [1, 1, 4]):
        assert_rows_equal_each_alone(tiny(kind, **variant), lengths, 1)


@settings(max_examples=40)
@given(
    kind=kinds,
    choice=choices,
    lengths=st.lists(st.integers(1, CONTEXT - 2), min_size=3, max_size=3),
    chunk=st.integers(1, 2),
    seed=st.integers(0, 2**31),
)
def test_rows_of_unequal_lengths_equal_each_row_alone_with_any_choices(tiny, kind, choice, lengths, chunk, seed):
    torch.manual_seed(seed)
    assert_rows_equal_each_alone(tiny(kind, seed, **choice).double(), lengths, chunk)


@everywhere
def test_storage_is_allocated_once_and_the_past_is_never_rewritten(tiny, kind: str, variant: dict):
    model = tiny(kind, **variant)
    logits, cache = logits_of(model, 3), make_cache(model, 3)
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    addresses = [tensor.data_ptr() for tensor in tensors]
    tokens = torch.randint(11, (3, CONTEXT))
    for place in range(CONTEXT):
        before = [tensor.clone() for tensor in tensors]
        logits(tokens[:, place : place + 1], cache)
        now = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        assert [tensor.data_ptr() for tensor in now] == addresses
        for tensor, old in zip(now, before, strict=True):
            assert tensor.shape == (3, model.config.kv_heads, CONTEXT, model.config.head_width)
            changed = (tensor != old).any(3).any(1).any(0)
            assert changed.tolist() == [other == place for other in range(CONTEXT)]


@everywhere
def test_going_back_and_asking_again_gives_the_same(tiny, kind: str, variant: dict):
    model = tiny(kind, **variant)
    logits, cache, tokens = logits_of(model, 3), make_cache(model, 3), torch.randint(11, (3, 5))
    logits(tokens[:, :4], cache)
    first = logits(tokens[:, 4:], cache)
    logits(tokens[:, :2], cache)
    cache.set_lengths([4, 4, 4])
    assert torch.equal(logits(tokens[:, 4:], cache), first)


@everywhere
def test_two_caches_do_not_know_of_each_other(tiny, kind: str, variant: dict):
    model = tiny(kind, **variant)
    logits, (one, other) = logits_of(model, 3), torch.randint(11, (2, 3, 4))
    alone, first, second = make_cache(model, 3), make_cache(model, 3), make_cache(model, 3)
    expected = [logits(one[:, place : place + 1], alone) for place in range(4)]
    for place in range(4):
        assert torch.equal(logits(one[:, place : place + 1], first), expected[place])
        logits(other[:, place : place + 1], second)


@pytest.mark.parametrize(("past", "new"), [(0, 8), (5, 3), (7, 1)])
@everywhere
def test_more_tokens_than_the_context_are_refused_in_one_sentence(tiny, kind: str, variant: dict, past: int, new: int):
    model = tiny(kind, **variant)
    logits, cache = logits_of(model, 1), make_cache(model, 1)
    if past:
        logits(torch.zeros(1, past, dtype=torch.int64), cache)
    sentence = "at most 7 tokens were expected, the model's context, found 8; shorten the sequence"
    with pytest.raises(PromptError, match=sentence):
        logits(torch.zeros(1, new, dtype=torch.int64), cache)
    if not past:
        with pytest.raises(PromptError, match=sentence):
            logits(torch.zeros(1, new, dtype=torch.int64), None)
    assert cache.lengths.tolist() == [past]  # what was refused was not counted


def test_a_source_longer_than_the_context_is_refused_too(tiny):
    source = torch.zeros(1, 8, dtype=torch.int64)
    with pytest.raises(PromptError, match="at most 7 tokens were expected, the model's context, found 8"):
        tiny("transformer").encode(source, source == 0)
