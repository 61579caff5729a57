"""Batches hold every token they should, shifted as they should, and depend on (seed, step) alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearformer.data.batches import IGNORE, PairBatch, PairBuckets, TextBatch, TextWindows, collate
from clearformer.data.tokenizers import BOS, EOS, PAD
from clearformer.errors import DataError

TOKENS = np.arange(100, 197)
"""97 tokens, each of which says where it stands"""

Pairs = list[tuple[list[int], list[int]]]


def same(one: TextBatch | PairBatch, other: TextBatch | PairBatch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def pairs(count: int, longest: int, seed: int) -> Pairs:
    """Random lengths; every token of pair number n is n + 4, so a row says which pair it is."""
    lengths = np.random.default_rng(seed).integers(1, longest + 1, (count, 2)).tolist()
    return [([place + 4] * source, [place + 4] * target) for place, (source, target) in enumerate(lengths)]


@given(context=st.integers(1, 96), batch_tokens=st.integers(1, 300), seed=st.integers(0, 99), step=st.integers(0, 99))
def test_every_window_is_a_slice_of_the_split_and_its_targets_are_one_further(
    context: int, batch_tokens: int, seed: int, step: int
):
    batch = TextWindows(TOKENS, context, batch_tokens, seed).batch(step)
    assert batch.tokens.shape == batch.targets.shape == (max(1, batch_tokens // context), context)
    for tokens, targets in zip(batch.tokens, batch.targets, strict=True):
        start = int(tokens[0]) - 100
        assert tokens.tolist() == TOKENS[start : start + context].tolist()
        assert targets.tolist() == TOKENS[start + 1 : start + 1 + context].tolist()
    assert batch.num_tokens == batch.tokens.size
    assert batch.inputs[0] is batch.tokens


def test_windows_reach_the_first_and_the_last_token():
    windows = TextWindows(TOKENS, 90, 900, seed=1)  # seven places, ten windows a batch
    firsts = Counter(int(row[0]) for step in range(20) for row in windows.batch(step).tokens)
    assert sorted(firsts) == list(range(100, 107))


@pytest.mark.parametrize("kind", ["text", "pairs"])
def test_a_batch_is_a_function_of_seed_and_step_alone(kind: str):
    def fresh(seed: int = 3) -> TextWindows | PairBuckets:
        return TextWindows(TOKENS, 8, 32, seed) if kind == "text" else PairBuckets(pairs(60, 9, 0), 64, seed)

    batches = fresh()
    steps = range(3 * batches.batches_per_epoch)
    in_turn = [batches.batch(step) for step in steps]
    assert all(same(batches.batch(step), in_turn[step]) for step in reversed(steps))
    assert all(same(fresh().batch(step), in_turn[step]) for step in steps)
    assert not all(same(fresh(seed=4).batch(step), in_turn[step]) for step in steps)


@given(length=st.integers(2, 97), context=st.integers(1, 20), batch_tokens=st.integers(1, 60))
def test_in_order_predicts_every_token_but_the_first_exactly_once(length: int, context: int, batch_tokens: int):
    context = min(context, length - 1)
    batches = list(TextWindows(TOKENS[:length], context, batch_tokens, seed=1).in_order())
    assert [target for batch in batches for target in batch.targets.ravel()] == TOKENS[1:length].tolist()
    assert [token for batch in batches for token in batch.tokens.ravel()] == TOKENS[: length - 1].tolist()


def test_the_last_block_is_shorter():
    # 96 tokens have one before them: nine blocks of 10, and 6
    sizes = [batch.targets.shape for batch in TextWindows(TOKENS, 10, 20, seed=1).in_order()]
    assert sizes[-1] == (1, 6)
    assert sum(rows for rows, _ in sizes[:-1]) == 9


@given(context=st.integers(1, 90), most=st.integers(1, 300))
def test_a_limit_gives_whole_blocks_from_the_start_and_at_least_one(context: int, most: int):
    batches = list(TextWindows(TOKENS, context, 32, seed=1).in_order(most))
    targets = [target for batch in batches for target in batch.targets.ravel().tolist()]
    count = max(context, min(most, 96) // context * context)
    assert targets == TOKENS[1 : count + 1].tolist()


@pytest.mark.parametrize("count", [1, 8])
def test_a_text_that_fills_no_window_is_refused(count: int):
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


def test_an_empty_side_is_only_its_begin_and_end():
    batch = collate([([], [])])
    assert (batch.source.tolist(), batch.target.tolist(), batch.targets.tolist()) == ([[EOS]], [[BOS]], [[EOS]])


def drawn(batches: list[PairBatch]) -> Counter[int]:
    return Counter(int(row[0]) - 4 for batch in batches for row in batch.source)


@settings(max_examples=50)
@given(count=st.integers(1, 60), longest=st.integers(1, 20), batch_tokens=st.integers(1, 200), seed=st.integers(0, 99))
def test_every_epoch_has_every_pair_once_and_keeps_to_batch_tokens(
    count: int, longest: int, batch_tokens: int, seed: int
):
    buckets = PairBuckets(pairs(count, longest, seed), batch_tokens, seed)
    for epoch in range(3):
        first = epoch * buckets.batches_per_epoch
        batches = [buckets.batch(first + index) for index in range(buckets.batches_per_epoch)]
        assert drawn(batches) == Counter(range(count))
        assert all(batch.num_tokens <= batch_tokens or len(batch.source) == 1 for batch in batches)
    assert drawn(list(buckets.in_order())) == Counter(range(count))


def test_epochs_differ_in_the_order_and_in_who_comes_together():
    buckets = PairBuckets([([place + 4] * 2, [place + 4] * 3) for place in range(40)], 40, seed=1)
    number = buckets.batches_per_epoch
    assert number == 8  # 3 + 4 tokens a pair: five fit into 40

    def company(epoch: int) -> list[frozenset[int]]:
        return [frozenset(drawn([buckets.batch(epoch * number + index)])) for index in range(number)]

    assert set(company(0)) != set(company(1))
    lengths = PairBuckets([([place + 4] * (place + 1), [4]) for place in range(40)], 40, seed=1)
    orders = [
        [lengths.batch(epoch * lengths.batches_per_epoch + index).source.shape[1] for index in range(10)]
        for epoch in range(2)
    ]
    assert orders[0] != orders[1]


def test_pairs_of_like_length_share_a_batch():
    buckets = PairBuckets(pairs(500, 30, 5), 400, seed=1)
    real = sum(int(batch.source_real.sum() + batch.target_real.sum()) for batch in buckets.in_order())
    size = sum(batch.num_tokens for batch in buckets.in_order())
    in_any_order = sum(
        collate(buckets.pairs[first : first + 12]).num_tokens for first in range(0, 500, 12)
    )  # about 400 tokens each
    assert size - real < (in_any_order - real) / 2


def test_a_limit_spreads_whole_batches_over_the_lengths():
    buckets = PairBuckets([([place + 4] * (place + 1), [4] * (place + 1)) for place in range(50)], 120, seed=1)
    everything, some = list(buckets.in_order()), list(buckets.in_order(480))
    assert len(some) == 480 // 120
    assert all(any(same(batch, other) for other in everything) for batch in some)
    lengths = [batch.source.shape[1] for batch in some]
    assert lengths == sorted(lengths)
    assert lengths[0] < 25 < lengths[-1]
    assert len(list(buckets.in_order(1))) == 1


def test_pairs_are_sorted_by_their_longer_side_then_by_source_then_by_target():
    lengths = [(1, 1), (4, 1), (1, 3), (2, 3), (3, 1), (3, 2), (3, 3), (1, 4)]  # worked by hand
    ordered = [(1, 1), (1, 3), (2, 3), (3, 1), (3, 2), (3, 3), (1, 4), (4, 1)]
    buckets = PairBuckets([([5] * source, [6] * target) for source, target in lengths], 1, seed=1)
    batches = list(buckets.in_order())  # one pair each, with an end or a begin of its own
    assert [(batch.source.shape[1] - 1, batch.target.shape[1] - 1) for batch in batches] == ordered
