"""Windows of text contain every token and depend on (seed, step) alone; all targets are shifted by one token."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearformer.data.batches import IGNORE, TextBatch, TextWindows, collate
from clearformer.data.tokenizers import BOS, EOS, PAD
from clearformer.errors import DataError

TOKENS = np.arange(100, 197)
"""97 tokens, each of which tells its position"""


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


def test_a_batch_is_a_function_of_seed_and_step_alone(assert_stateless):
    assert_stateless(lambda seed: TextWindows(TOKENS, 8, 32, seed))


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
