"""Labelled batches contain each example once an epoch; the longest texts are truncated, and every token is counted."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearformer.data.batches import IGNORE, Batches
from clearformer.data.labelled import (
    LabelledBatch,
    LabelledBuckets,
    LabelledTokens,
    collate_labelled,
    num_truncated,
    truncate,
)
from clearformer.data.tokenizers import BOS, EOS, PAD
from clearformer.errors import DataError

text_lists = st.lists(st.lists(st.integers(5, 99), max_size=30), min_size=1, max_size=4)


def examples(count: int, longest: int, seed: int) -> list[LabelledTokens]:
    """One or two texts of random lengths; every token of example n is n + 5, and so is its class."""
    lengths = np.random.default_rng(seed).integers(0, longest + 1, (count, 2)).tolist()
    return [([[n + 5] * (a + 1), [n + 5] * b][: 1 + b % 2], n + 5) for n, (a, b) in enumerate(lengths)]


def classes(*batches: LabelledBatch) -> Counter[int]:
    return Counter(int(target) for batch in batches for target in batch.targets)


def epoch(buckets: LabelledBuckets, number: int) -> list[LabelledBatch]:
    count = buckets.batches_per_epoch
    return [buckets.batch(step) for step in range(number * count, (number + 1) * count)]


def encode(texts: list[list[int]], context: int) -> tuple[list[int], list[int]]:
    """Tokens and segments of one example, truncated to the context."""
    batch = collate_labelled([(truncate(texts, context), 0)], segments=0)
    return batch.tokens[0].tolist(), batch.segments[0].tolist()


def test_a_batch_by_hand():
    batch = collate_labelled([([[10, 11], [12]], 1), ([[13]], 0)], segments=2)
    assert batch.tokens.tolist() == [[BOS, 10, 11, EOS, 12, EOS], [BOS, 13, EOS, PAD, PAD, PAD]]
    assert batch.real.tolist() == [[True] * 6, [True] * 3 + [False] * 3]
    assert batch.segments.tolist() == [[0, 0, 0, 0, 1, 1], [0] * 6]
    assert batch.targets.tolist() == [1, 0]
    assert batch.with_token_targets().targets.tolist() == [[1] * 6, [0] * 3 + [IGNORE] * 3]
    assert batch.with_token_targets().inputs == batch.inputs
    assert batch.num_tokens == 12
    assert batch.inputs == (batch.tokens, batch.real, batch.segments)


@pytest.mark.parametrize(
    ("segments", "numbers"), [(0, [0, 0, 0, 1, 1, 2, 2]), (1, [0] * 7), (2, [0, 0, 0, 1, 1, 1, 1])]
)
def test_texts_beyond_the_last_segment_share_it(segments: int, numbers: list[int]):
    assert collate_labelled([([[5], [6], [7]], 0)], segments).segments.tolist() == [numbers]


def test_an_example_by_hand():
    assert encode([[10, 11], [12]], 99) == ([BOS, 10, 11, EOS, 12, EOS], [0, 0, 0, 0, 1, 1])
    # BOS and three EOS leave room for 5 of 4 + 1 + 3 tokens: 4 and 3 are cut to 2
    assert truncate([[1, 2, 3, 4], [5], [6, 7, 8]], 9) == [[1, 2], [5], [6, 7]]
    # of equally long texts the last is cut
    assert truncate([[1, 2], [3, 4]], 6) == [[1, 2], [3]]


@given(texts=text_lists, context=st.integers(9, 140))
def test_truncation_removes_one_token_after_another_from_the_longest_text(texts: list[list[int]], context: int):
    expected, removed = [list(text) for text in texts], 0
    while len(encoded := [BOS, *(token for text in expected for token in (*text, EOS))]) > context:
        longest = max(map(len, expected))
        next(text for text in reversed(expected) if len(text) == longest).pop()
        removed += 1
    assert truncate(texts, context) == expected
    assert num_truncated(texts, context) == removed
    segments = [0, *(number for number, text in enumerate(expected) for _ in range(len(text) + 1))]
    assert encode(texts, context) == (encoded, segments)


def test_a_context_without_room_for_a_token_of_each_text_is_refused():
    assert encode([[5, 6], [7, 8]], 5)[0] == [BOS, 5, EOS, 7, EOS]
    with pytest.raises(DataError, match=r"at least 5 tokens was expected, for 2 texts .* found 4; raise --model\.cont"):
        encode([[5, 6], [7, 8]], 4)


@settings(max_examples=50)
@given(count=st.integers(1, 60), longest=st.integers(1, 20), batch_tokens=st.integers(1, 200), seed=st.integers(0, 99))
def test_every_epoch_has_every_example_once_and_keeps_to_batch_tokens(
    count: int, longest: int, batch_tokens: int, seed: int
):
    buckets = LabelledBuckets(examples(count, longest, seed), batch_tokens, seed, segments=2)
    for batches in (*(epoch(buckets, number) for number in range(3)), list(buckets.in_order())):
        assert classes(*batches) == Counter(range(5, count + 5))
        for batch in batches:
            assert batch.num_tokens <= batch_tokens or len(batch.tokens) == 1
            for tokens, target in zip(batch.tokens, batch.targets, strict=True):
                assert set(tokens.tolist()) - {PAD, BOS, EOS} == {int(target)}


def test_a_batch_is_a_function_of_seed_and_step_alone(assert_stateless):
    assert_stateless(lambda seed: LabelledBuckets(examples(60, 9, 0), 64, seed, segments=2))


def test_epochs_differ_in_the_examples_of_a_batch():
    buckets = LabelledBuckets([([[n + 5] * 2], n) for n in range(40)], 20, seed=1, segments=0)
    assert buckets.batches_per_epoch == 8  # 4 tokens an example: five fit into 20
    first, second = ({frozenset(classes(batch)) for batch in epoch(buckets, number)} for number in range(2))
    assert first != second


def test_examples_of_similar_length_share_a_batch_from_the_shortest_to_the_longest():
    buckets = LabelledBuckets([([[5] * (n % 30)], 0) for n in range(300)], 200, seed=1, segments=0)
    batches = list(buckets.in_order())
    widths = [batch.tokens.shape[1] for batch in batches]
    assert widths == sorted(widths)
    # ten examples of each length from 2 to 31, sorted: next to no padding
    assert sum(int((~batch.real).sum()) for batch in batches) < sum(batch.num_tokens for batch in batches) / 20


def test_labelled_buckets_are_batches():
    assert isinstance(LabelledBuckets(examples(3, 3, 0), 64, 1, segments=0), Batches)
