"""What the cache gives equals the full forward, at every prompt length and at every step."""

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearformer.blocks.cache import KVCache
from clearformer.errors import PromptError

CONTEXT = 7
# float32 in rectangles of another size, so sums in another order: 6.4e-7 seen, relative to 1 + the value
TOLERANCE = 1e-5
VARIANTS = [
    (kind, {"norm_order": order, "positions": positions})
    for kind in ("gpt", "transformer")
    for order in ("pre", "post")
    for positions in ("sinusoidal", "learned")
]
everywhere = pytest.mark.parametrize(("kind", "variant"), VARIANTS)

Logits = Callable[[torch.Tensor, KVCache | None], torch.Tensor]


def make_cache(rows: int) -> KVCache:
    return KVCache(num_layers=2, batch_size=rows, num_heads=2, max_length=CONTEXT, head_width=4, like=torch.zeros(0))


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
@pytest.mark.parametrize("prompt", range(1, CONTEXT + 1))
def test_every_step_after_every_prompt_equals_the_full_forward(tiny, kind: str, variant: dict, prompt: int):
    logits = logits_of(tiny(kind, **variant), 3)
    tokens, cache = torch.randint(11, (3, CONTEXT)), make_cache(3)
    same(logits(tokens[:, :prompt], cache), logits(tokens[:, :prompt], None))
    full = logits(tokens, None)
    for place in range(prompt, CONTEXT):
        same(logits(tokens[:, place : place + 1], cache), full[:, place : place + 1])
    assert cache.lengths.tolist() == [CONTEXT] * 3


@settings(max_examples=30)
@given(
    variant=st.sampled_from(VARIANTS),
    cuts=st.sets(st.integers(1, CONTEXT - 1)),
    seed=st.integers(0, 2**31),
)
def test_a_prompt_read_in_chunks_equals_the_prompt_read_in_one_piece(tiny, variant, cuts: set[int], seed: int):
    torch.manual_seed(seed)
    logits = logits_of(tiny(variant[0], seed, **variant[1]), 2)
    tokens, cache = torch.randint(11, (2, CONTEXT)), make_cache(2)
    bounds = [0, *sorted(cuts), CONTEXT]
    chunks = [logits(tokens[:, a:b], cache) for a, b in itertools.pairwise(bounds)]
    same(torch.cat(chunks, 1), logits(tokens, None))


@settings(max_examples=30)
@given(
    variant=st.sampled_from(VARIANTS),
    lengths=st.lists(st.integers(1, CONTEXT - 2), min_size=3, max_size=3),
    chunk=st.integers(1, 2),
    seed=st.integers(0, 2**31),
)
def test_rows_of_unequal_lengths_equal_each_row_alone(tiny, variant, lengths: list[int], chunk: int, seed: int):
    torch.manual_seed(seed)
    logits = logits_of(tiny(variant[0], seed, **variant[1]), 3)
    tokens, cache = torch.randint(11, (3, CONTEXT)), make_cache(3)
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
def test_storage_is_allocated_once_and_the_past_is_never_rewritten(tiny, kind: str, variant: dict):
    logits, cache = logits_of(tiny(kind, **variant), 3), make_cache(3)
    tensors = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    addresses = [tensor.data_ptr() for tensor in tensors]
    tokens = torch.randint(11, (3, CONTEXT))
    for place in range(CONTEXT):
        before = [tensor.clone() for tensor in tensors]
        logits(tokens[:, place : place + 1], cache)
        now = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        assert [tensor.data_ptr() for tensor in now] == addresses
        for tensor, old in zip(now, before, strict=True):
            assert tensor.shape == (3, 2, CONTEXT, 4)
            changed = (tensor != old).any(3).any(1).any(0)
            assert changed.tolist() == [other == place for other in range(CONTEXT)]


@everywhere
def test_going_back_and_asking_again_gives_the_same(tiny, kind: str, variant: dict):
    logits, cache = logits_of(tiny(kind, **variant), 3), make_cache(3)
    tokens = torch.randint(11, (3, 5))
    logits(tokens[:, :4], cache)
    first = logits(tokens[:, 4:], cache)
    logits(tokens[:, :2], cache)
    cache.set_lengths([4, 4, 4])
    assert torch.equal(logits(tokens[:, 4:], cache), first)


@everywhere
def test_two_caches_do_not_know_of_each_other(tiny, kind: str, variant: dict):
    logits = logits_of(tiny(kind, **variant), 3)
    one, other = torch.randint(11, (2, 3, 4))
    alone, first, second = make_cache(3), make_cache(3), make_cache(3)
    expected = [logits(one[:, place : place + 1], alone) for place in range(4)]
    for place in range(4):
        assert torch.equal(logits(one[:, place : place + 1], first), expected[place])
        logits(other[:, place : place + 1], second)


@pytest.mark.parametrize(("past", "new"), [(0, 8), (5, 3), (7, 1)])
@pytest.mark.parametrize("kind", ["gpt", "transformer"])
def test_more_tokens_than_the_context_are_refused_in_one_sentence(tiny, kind: str, past: int, new: int):
    logits, cache = logits_of(tiny(kind), 1), make_cache(1)
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
