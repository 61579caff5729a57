"""Buckets of pairs and of labelled examples: each item once an epoch, in an order of its own, with little padding."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearformer.data.batches import Batches, PairBatch, PairBuckets, TokenPair, collate
from clearformer.data.labelled import LabelledBatch, LabelledBuckets, LabelledTokens
from clearformer.data.tokenizers import BOS, EOS, PAD

KINDS = ["pairs", "labelled"]

AnyBatch = PairBatch | LabelledBatch
AnyBuckets = PairBuckets | LabelledBuckets


def pairs(count: int, longest: int) -> list[TokenPair]:
    """Pairs of random lengths; every token of pair n is n + 5."""
    lengths = np.random.default_rng(count).integers(1, longest + 1, (count, 2)).tolist()
    return [([n + 5] * source, [n + 5] * target) for n, (source, target) in enumerate(lengths)]


def labelled(count: int, longest: int) -> list[LabelledTokens]:
    """One or two texts of random lengths; every token of example n is n + 5, and its class is n."""
    lengths = np.random.default_rng(count).integers(0, longest + 1, (count, 2)).tolist()
    return [([[n + 5] * (a + 1), [n + 5] * b][: 1 + b % 2], n) for n, (a, b) in enumerate(lengths)]


def make_buckets(kind: str, count: int = 60, longest: int = 9, batch_tokens: int = 64, seed: int = 1) -> AnyBuckets:
    if kind == "pairs":
        return PairBuckets(pairs(count, longest), batch_tokens, seed)
    return LabelledBuckets(labelled(count, longest), batch_tokens, seed, segments=2)


def make_equal(kind: str) -> AnyBuckets:
    """40 items of seven tokens, with BOS and EOS: five fit into a batch."""
    if kind == "pairs":
        return PairBuckets([([n + 5] * 2, [n + 5] * 3) for n in range(40)], 35, seed=1)
    return LabelledBuckets([([[n + 5] * 5], n) for n in range(40)], 35, seed=1, segments=0)


def items(batch: AnyBatch) -> list[int]:
    """The number of the item in each row."""
    if isinstance(batch, LabelledBatch):
        return batch.targets.tolist()
    return [int(row[0]) - 5 for row in batch.source]


def sides(batch: AnyBatch) -> list[np.ndarray]:
    return [batch.tokens] if isinstance(batch, LabelledBatch) else [batch.source, batch.target]


def epoch(buckets: AnyBuckets, number: int) -> list[AnyBatch]:
    count = buckets.batches_per_epoch
    return [buckets.batch(step) for step in range(number * count, (number + 1) * count)]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50)
@given(count=st.integers(1, 60), longest=st.integers(1, 20), batch_tokens=st.integers(1, 200), seed=st.integers(0, 99))
def test_every_epoch_has_every_item_once_and_keeps_to_batch_tokens(
    kind: str, count: int, longest: int, batch_tokens: int, seed: int
):
    buckets = make_buckets(kind, count, longest, batch_tokens, seed)
    for batches in (*(epoch(buckets, number) for number in range(3)), list(buckets.in_order())):
        assert Counter(n for batch in batches for n in items(batch)) == Counter(range(count))
        for batch in batches:
            assert batch.num_tokens <= batch_tokens or len(items(batch)) == 1
            for rows in sides(batch):
                assert [set(row.tolist()) - {PAD, BOS, EOS} for row in rows] == [{n + 5} for n in items(batch)]


@pytest.mark.parametrize("kind", KINDS)
def test_buckets_are_batches_that_are_functions_of_seed_and_step_alone(kind: str, assert_stateless):
    assert isinstance(make_buckets(kind), Batches)
    assert_stateless(lambda seed: make_buckets(kind, seed=seed))


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_differ_in_the_items_of_a_batch(kind: str):
    buckets = make_equal(kind)
    assert buckets.batches_per_epoch == 8
    first, second = ({frozenset(items(batch)) for batch in epoch(buckets, number)} for number in range(2))
    assert first != second


@pytest.mark.parametrize("kind", KINDS)
def test_epochs_differ_in_the_order_of_batches(kind: str):
    buckets = make_buckets(kind)
    first, second = ([sides(batch)[0].shape for batch in epoch(buckets, number)] for number in range(2))
    assert first != second
    assert Counter(first) == Counter(second)


def test_bucketing_halves_the_padding_of_pairs():
    buckets = PairBuckets(pairs(500, 30), 400, seed=1)
    real = sum(int(batch.source_real.sum() + batch.target_real.sum()) for batch in buckets.in_order())
    padded = sum(batch.num_tokens for batch in buckets.in_order())
    # twelve pairs are about 400 tokens
    unsorted = sum(collate(buckets.pairs[first : first + 12]).num_tokens for first in range(0, 500, 12))
    assert padded - real < (unsorted - real) / 2


def test_labelled_examples_are_sorted_by_length_and_leave_next_to_no_padding():
    # ten examples of each length from 2 to 31
    buckets = LabelledBuckets([([[5] * (n % 30)], 0) for n in range(300)], 200, seed=1, segments=0)
    batches = list(buckets.in_order())
    widths = [batch.tokens.shape[1] for batch in batches]
    assert widths == sorted(widths)
    assert sum(int((~batch.real).sum()) for batch in batches) < sum(batch.num_tokens for batch in batches) / 20


def test_pairs_are_sorted_by_their_longer_side_then_by_source_then_by_target():
    lengths = [(1, 1), (4, 1), (1, 3), (2, 3), (3, 1), (3, 2), (3, 3), (1, 4)]  # worked by hand
    ordered = [(1, 1), (1, 3), (2, 3), (3, 1), (3, 2), (3, 3), (1, 4), (4, 1)]
    buckets = PairBuckets([([5] * source, [6] * target) for source, target in lengths], 1, seed=1)
    batches = list(buckets.in_order())  # one pair each; EOS and BOS add one token to each side
    assert [(batch.source.shape[1] - 1, batch.target.shape[1] - 1) for batch in batches] == ordered


def test_a_limit_selects_batches_spread_over_the_lengths(equal_batches):
    buckets = PairBuckets([([n + 4] * (n + 1), [4] * (n + 1)) for n in range(50)], 120, seed=1)
    everything, selected = list(buckets.in_order()), list(buckets.in_order(480))
    assert len(selected) == 480 // 120
    assert all(any(equal_batches(batch, other) for other in everything) for batch in selected)
    lengths = [batch.source.shape[1] for batch in selected]
    assert lengths == sorted(lengths)
    assert lengths[0] < 25 < lengths[-1]
    assert len(list(buckets.in_order(1))) == 1
