"""Labelled examples are padded and numbered by segment; the longest texts are truncated and their tokens counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearformer.data.batches import IGNORE
from clearformer.data.labelled import collate_labelled, num_truncated, truncate
from clearformer.data.tokenizers import BOS, EOS, PAD
from clearformer.errors import DataError

text_lists = st.lists(st.lists(st.integers(5, 99), max_size=30), min_size=1, max_size=4)


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
