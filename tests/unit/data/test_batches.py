"""Batches of text and of pairs contain every token, shifted correctly, and depend on (seed, step) alone."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearformer.data.batches import IGNORE, PairBatch, PairBuckets, TextBatch, TextWindows, TokenPair, collate
from clearformer.data.tokenizers import BOS, EOS, PAD
from clearformer.errors import DataError

TOKENS = np.arange(100, 197)
"""97 tokens, each of which tells its position"""


def pairs(count: int, longest: int, seed: int) -> list[TokenPair]:
    """Pairs of random lengths; every token of pair number n is n + 4."""
    lengths = np.random.default_rng(seed).integers(1, longest + 1, (count, 2)).tolist()
    return [([n + 4] * source, [n + 4] * target) for n, (source, target) in enumerate(lengths)]


def numbers(*batches: PairBatch) -> Counter[int]:
    """How often each pair of `pairs` occurs."""
    return Counter(int(row[0]) - 4 for batch in batches for row in batch.source)


def epoch(buckets: PairBuckets, number: int) -> list[PairBatch]:
    count = buckets.batches_per_epoch
    return [buckets.batch(step) for step in range(number * count, (number + 1) * count)]


def targets(batches: Iterable[TextBatch]) -> list[int]:
    return [target for batch in batches for target in batch.targets.ravel().tolist()]


@given(context=st.integers(1, 96), batch_tokens=st.integers(1, 300), seed=st.integers(0, 99), step=st.integers(0, 99))
def test_every_window_is_a_slice_of_the_split_and_its_targets_are_the_next_tokens(
    context: int, batch_tokens: int, seed: int, step: int
):
    batch = TextWindows(TOKENS, context, batch_tokens, seed).batch(step)
    assert batch.tokens.shape == batch.targets.shape == (max(1, batch_tokens // context), context)
    for row, following in zip(batch.tokens, batch.targets, strict=True):
        start = int(row[0]) - 100
        assert row.tolist() == TOKENS[start : start + context].tolist()
        assert following.tolist() == TOKENS[start + 1 : start + 1 + context].tolist()
    assert batch.num_tokens == batch.tokens.size
    assert batch.inputs[0] is batch.tokens


def test_windows_reach_the_first_and_the_last_token():
    windows = TextWindows(TOKENS, 90, 900, seed=1)  # seven positions, ten windows in a batch
    assert {int(row[0]) for step in range(20) for row in windows.batch(step).tokens} == set(range(100, 107))


@pytest.mark.parametrize(
    "make",
    [lambda seed: TextWindows(TOKENS, 8, 32, seed), lambda seed: PairBuckets(pairs(60, 9, 0), 64, seed)],
    ids=["text", "pairs"],
)
def test_a_batch_is_a_function_of_seed_and_step_alone(assert_stateless, make):
    assert_stateless(make)


@given(length=st.integers(2, 97), context=st.integers(1, 20), batch_tokens=st.integers(1, 60))
def test_in_order_predicts_every_token_but_the_first_exactly_once(length: int, context: int, batch_tokens: int):
    context = min(context, length - 1)
    batches = list(TextWindows(TOKENS[:length], context, batch_tokens, seed=1).in_order())
    assert targets(batches) == TOKENS[1:length].tolist()
    assert [token for batch in batches for token in batch.tokens.ravel()] == TOKENS[: length - 1].tolist()


def test_the_last_block_is_shorter():
    # 96 tokens have a predecessor: nine blocks of 10, and 6
    sizes = [batch.targets.shape for batch in TextWindows(TOKENS, 10, 20, seed=1).in_order()]
    assert sizes[-1] == (1, 6)
    assert sum(rows for rows, _ in sizes[:-1]) == 9


@given(context=st.integers(1, 90), limit=st.integers(1, 300))
def test_a_limit_gives_full_blocks_from_the_start_and_at_least_one(context: int, limit: int):
    count = max(context, min(limit, 96) // context * context)
    assert targets(TextWindows(TOKENS, context, 32, seed=1).in_order(limit)) == TOKENS[1 : count + 1].tolist()


@pytest.mark.parametrize("count", [1, 8])
def test_a_text_shorter_than_a_window_is_refused(count: int):
    with pytest.raises(DataError, match=rf"more than 8 tokens was expected, .* found {count}; give more text or lower"):
        TextWindows(TOKENS[:count], 8, 32, seed=1)
    assert TextWindows(TOKENS[:9], 8, 32, seed=1).batch(0).tokens.tolist() == [TOKENS[:8].tolist()] * 4


def test_a_batch_of_pairs_by_hand():
    batch = collate([([10, 11], [20]), ([12], [21, 22, 23])])
    assert batch.source.tolist() == [[10, 11, EOS], [12, EOS, PAD]]
    assert batch.source_real.tolist() == [[True, True, True], [True, True, False]]
    assert batch.target.tolist() == [[BOS, 20, PAD, PAD], [BOS, 21, 22, 23]]
    assert batch.target_real.tolist() == [[True, True, False, False], [True, True, True, True]]
    assert batch.targets.tolist() == [[20, EOS, IGNORE, IGNORE], [21, 22, 23, EOS]]
    assert batch.num_tokens == 14
    assert batch.inputs == (batch.source, batch.target, batch.source_real, batch.target_real)


def test_an_empty_side_is_only_bos_or_eos():
    batch = collate([([], [])])
    assert (batch.source.tolist(), batch.target.tolist(), batch.targets.tolist()) == ([[EOS]], [[BOS]], [[EOS]])


@settings(max_examples=50)
@given(count=st.integers(1, 60), longest=st.integers(1, 20), batch_tokens=st.integers(1, 200), seed=st.integers(0, 99))
def test_every_epoch_has_every_pair_once_and_keeps_to_batch_tokens(
    count: int, longest: int, batch_tokens: int, seed: int
):
    buckets = PairBuckets(pairs(count, longest, seed), batch_tokens, seed)
    for batches in (*(epoch(buckets, number) for number in range(3)), list(buckets.in_order())):
        assert numbers(*batches) == Counter(range(count))
        assert all(batch.num_tokens <= batch_tokens or len(batch.source) == 1 for batch in batches)


def test_epochs_differ_in_the_pairs_of_a_batch_and_in_the_order_of_batches():
    equal_lengths = PairBuckets([([n + 4] * 2, [n + 4] * 3) for n in range(40)], 40, seed=1)
    assert equal_lengths.batches_per_epoch == 8  # 3 + 4 tokens a pair: five fit into 40
    first, second = ({frozenset(numbers(batch)) for batch in epoch(equal_lengths, number)} for number in range(2))
    assert first != second
    lengths = PairBuckets([([n + 4] * (n + 1), [4]) for n in range(40)], 40, seed=1)
    first, second = ([batch.source.shape[1] for batch in epoch(lengths, number)] for number in range(2))
    assert first != second


def test_bucketing_halves_the_padding():
    buckets = PairBuckets(pairs(500, 30, 5), 400, seed=1)
    real = sum(int(batch.source_real.sum() + batch.target_real.sum()) for batch in buckets.in_order())
    padded = sum(batch.num_tokens for batch in buckets.in_order())
    # twelve pairs are about 400 tokens
    unsorted = sum(collate(buckets.pairs[first : first + 12]).num_tokens for first in range(0, 500, 12))
    assert padded - real < (unsorted - real) / 2


def test_a_limit_selects_batches_spread_over_the_lengths(equal_batches):
    buckets = PairBuckets([([n + 4] * (n + 1), [4] * (n + 1)) for n in range(50)], 120, seed=1)
    everything, selected = list(buckets.in_order()), list(buckets.in_order(480))
    assert len(selected) == 480 // 120
    assert all(any(equal_batches(batch, other) for other in everything) for batch in selected)
    lengths = [batch.source.shape[1] for batch in selected]
    assert lengths == sorted(lengths)
    assert lengths[0] < 25 < lengths[-1]
    assert len(list(buckets.in_order(1))) == 1


def test_pairs_are_sorted_by_their_longer_side_then_by_source_then_by_target():
    lengths = [(1, 1), (4, 1), (1, 3), (2, 3), (3, 1), (3, 2), (3, 3), (1, 4)]  # worked by hand
    ordered = [(1, 1), (1, 3), (2, 3), (3, 1), (3, 2), (3, 3), (1, 4), (4, 1)]
    buckets = PairBuckets([([5] * source, [6] * target) for source, target in lengths], 1, seed=1)
    batches = list(buckets.in_order())  # one pair each; EOS and BOS add one token to each side
    assert [(batch.source.shape[1] - 1, batch.target.shape[1] - 1) for batch in batches] == ordered
