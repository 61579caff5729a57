"""Logits with a cache equal those of a full forward pass, for every model, prompt and way of splitting it."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearformer.blocks.cache import KVCache
from clearformer.errors import PromptError

CONTEXT = 7
# float32 matrices of another shape, so sums in another order: 8.6e-7 seen, relative to 1 + the value
TOLERANCE = 1e-5

choices = st.fixed_dictionaries(
    {
        "positions": st.sampled_from(["sinusoidal", "learned", "rotary", "alibi", "relative", "none"]),
        "num_heads": st.just(4),
        "num_kv_heads": st.sampled_from([1, 2, 4]),
        "window": st.integers(0, 4),
        "qk_norm": st.booleans(),
        "ngram_buckets": st.sampled_from([0, 13]),
        "logit_cap": st.sampled_from([0.0, 3.0]),
        "norm": st.sampled_from(["layer", "rms"]),
        "norm_order": st.sampled_from(["pre", "post"]),
        "activation": st.sampled_from(["relu", "gelu", "squared_relu", "gelu_tanh", "swiglu", "geglu", "geglu_tanh"]),
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
        head_width=model.config.key_width,
        like=next(model.parameters()),
    )


def logits_of(model, rows: int) -> Logits:
    """tokens, cache -> logits; the sources of an encoder-decoder have unequal lengths, the first row's the longest."""
    if model.config.kind == "gpt":
        return model
    source = torch.randint(11, (3, 5), generator=torch.Generator().manual_seed(1))[:rows]
    real = torch.arange(5) < torch.tensor([[5], [2], [4]])[:rows]
    memory = model.encode(source, real)
    return lambda tokens, cache: model.output_projection(model.decode(tokens, memory, real, cache=cache))


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.fixture(params=["gpt", "transformer"])
def model(request, tiny, variant):
    return tiny(request.param, **variant)


@pytest.mark.parametrize("prompt", [1, 2, CONTEXT - 2, CONTEXT])
def test_every_step_after_a_prompt_equals_the_full_forward(model, prompt: int):
    logits, cache, tokens = logits_of(model, 3), make_cache(model, 3), torch.randint(11, (3, CONTEXT))
    steps = [logits(step, cache) for step in tokens.tensor_split(list(range(prompt, CONTEXT)), dim=1)]
    assert_close(torch.cat(steps, 1), logits(tokens, None))
    assert cache.lengths.tolist() == [CONTEXT] * 3


@settings(max_examples=40)
@given(kind=kinds, choice=choices, cuts=st.sets(st.integers(1, CONTEXT - 1)), seed=st.integers(0, 2**31))
def test_a_prompt_read_in_chunks_equals_the_prompt_read_at_once(tiny, kind, choice, cuts: set[int], seed: int):
    torch.manual_seed(seed)
    model = tiny(kind, seed, **choice).double()  # a norm of two nearly equal elements magnifies float32's rounding
    logits, cache, tokens = logits_of(model, 2), make_cache(model, 2), torch.randint(11, (2, CONTEXT))
    chunks = [logits(chunk, cache) for chunk in tokens.tensor_split(sorted(cuts), dim=1)]
    assert_close(torch.cat(chunks, 1), logits(tokens, None))


def assert_rows_equal_each_alone(model, lengths: list[int], chunk: int) -> None:
    """Prompts of these lengths, read together, then `chunk` tokens a step."""
    logits, cache, tokens = logits_of(model, 3), make_cache(model, 3), torch.randint(11, (3, CONTEXT))
    full = logits(tokens, None)  # causal: no output depends on later tokens
    prompt = torch.where(torch.arange(max(lengths)) < torch.tensor(lengths)[:, None], tokens[:, : max(lengths)], 0)
    first = logits(prompt, cache)
    cache.set_lengths(lengths)
    for row, length in enumerate(lengths):
        assert_close(first[row, :length], full[row, :length])
    for step in range(0, CONTEXT - max(lengths) - chunk + 1, chunk):
        positions = torch.tensor(lengths)[:, None] + torch.arange(step, step + chunk)
        expected = full.gather(1, positions[..., None].expand(-1, -1, 11))
        assert_close(logits(tokens.gather(1, positions), cache), expected)


@pytest.mark.parametrize("lengths", [[2, 5, 3], [1, 1, 4]], ids=str)
def test_rows_of_unequal_lengths_equal_each_row_alone(model, lengths: list[int]):
    assert_rows_equal_each_alone(model, lengths, 1)


@settings(max_examples=40)
@given(
    kind=kinds,
    choice=choices,
    lengths=st.lists(st.integers(1, CONTEXT - 2), min_size=3, max_size=3),
    chunk=st.integers(1, 2),
    seed=st.integers(0, 2**31),
)
def test_rows_of_unequal_lengths_equal_each_row_alone_with_any_settings(tiny, kind, choice, lengths, chunk, seed):
    torch.manual_seed(seed)
    assert_rows_equal_each_alone(tiny(kind, seed, **choice).double(), lengths, chunk)


def test_storage_is_allocated_once_and_the_past_is_never_rewritten(model):
    logits, cache = logits_of(model, 3), make_cache(model, 3)
    addresses = [tensor.data_ptr() for layer in cache.layers for tensor in (layer.keys, layer.values)]
    for position, token in enumerate(torch.randint(11, (CONTEXT, 3, 1))):
        before = [tensor.clone() for layer in cache.layers for tensor in (layer.keys, layer.values)]
        logits(token, cache)
        after = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        assert [tensor.data_ptr() for tensor in after] == addresses
        for old, new in zip(before, after, strict=True):
            assert new.shape == (3, model.config.kv_heads, CONTEXT, model.config.key_width)
            assert (new != old).any(3).any(1).any(0).nonzero().flatten().tolist() == [position]


def test_tokens_beyond_a_reduced_length_have_no_effect(model):
    logits, cache, tokens = logits_of(model, 3), make_cache(model, 3), torch.randint(11, (3, 5))
    logits(tokens[:, :4], cache)
    first = logits(tokens[:, 4:], cache)
    logits(tokens[:, :2], cache)
    cache.set_lengths([4, 4, 4])
    assert torch.equal(logits(tokens[:, 4:], cache), first)


def test_two_caches_do_not_affect_each_other(model):
    logits, (one, other) = logits_of(model, 3), torch.randint(11, (2, 4, 3, 1))
    alone, first, second = (make_cache(model, 3) for _ in range(3))
    for token, other_token in zip(one, other, strict=True):
        assert torch.equal(logits(token, first), logits(token, alone))
        logits(other_token, second)


TOO_LONG = "at most 7 tokens were expected, the model's context, found 8; shorten the sequence"


@pytest.mark.parametrize(("past", "new"), [(0, 8), (5, 3), (7, 1)])
def test_more_tokens_than_the_context_are_refused_and_not_counted(model, past: int, new: int):
    logits, cache = logits_of(model, 1), make_cache(model, 1)
    if past:
        logits(torch.zeros(1, past, dtype=torch.int64), cache)
    for with_cache in (cache, None) if past == 0 else (cache,):
        with pytest.raises(PromptError, match=TOO_LONG):
            logits(torch.zeros(1, new, dtype=torch.int64), with_cache)
    assert cache.lengths.tolist() == [past]


def test_a_source_longer_than_the_context_is_refused(tiny):
    source = torch.zeros(1, 8, dtype=torch.int64)
    with pytest.raises(PromptError, match=TOO_LONG):
        tiny("transformer").encode(source, source == 0)
