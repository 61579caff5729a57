"""Masked batches hide BERT's shares of the tokens, others in every epoch, and depend on (seed, step) alone."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearformer.data.batches import IGNORE
from clearformer.data.masked import MaskedBatch, MaskedWindows
from clearformer.data.tokenizers import MASK, UNK
from clearformer.errors import DataError

VOCABULARY = 10_005
"""so large that a random token hardly ever equals the original"""
TOKENS = np.arange(5, 105)
"""100 tokens, each of which tells its position"""
LONG = np.random.default_rng(7).integers(5, VOCABULARY, 20_000)
FIVE_DEVIATIONS = 5.0
"""a binomial count is further from its mean once in 1.7 million draws; since the seeds are fixed, never later on"""


def windows(tokens: np.ndarray = TOKENS, context: int = 10, batch_tokens: int = 40, **changes: float) -> MaskedWindows:
    settings = {"seed": 3, "vocab_size": VOCABULARY, "mask_share": 0.15} | changes
    return MaskedWindows(tokens, context, batch_tokens, **settings)


def original(batch: MaskedBatch) -> np.ndarray:
    return np.where(batch.targets == IGNORE, batch.tokens, batch.targets)


def is_binomial(count: int, trials: int, share: float) -> bool:
    return abs(count - trials * share) < FIVE_DEVIATIONS * math.sqrt(trials * share * (1 - share))


@pytest.mark.parametrize("share", [0.15, 0.4])
@pytest.mark.parametrize("evaluation", [False, True])
def test_of_the_chosen_share_80_10_10_percent_are_masked_replaced_and_unchanged(share: float, evaluation: bool):
    batches = windows(LONG, 100, 20_000, mask_share=share)
    batch = next(batches.in_order()) if evaluation else batches.batch(0)
    chosen = batch.targets != IGNORE
    count = int(chosen.sum())
    masked = int((chosen & (batch.tokens == MASK)).sum())
    unchanged = int((chosen & (batch.tokens == batch.targets)).sum())
    assert batch.num_tokens == 20_000
    assert is_binomial(count, 20_000, share)
    assert is_binomial(masked, count, 0.8)
    assert is_binomial(unchanged, count, 0.1)
    assert is_binomial(count - masked - unchanged, count, 0.1)


def test_replacements_are_uniform_over_the_vocabulary_without_special_tokens():
    batch = windows(LONG % 15 + 5, 100, 20_000, vocab_size=20, mask_share=1.0).batch(0)
    replaced = batch.tokens[(batch.tokens != MASK) & (batch.tokens != batch.targets)]
    counts = np.bincount(replaced, minlength=20)
    assert counts[:5].tolist() == [0] * 5
    # a tenth of 20,000 is replaced by one of 15 tokens, one of which is the original
    assert all(is_binomial(int(count), 2000, 1 / 15) for count in counts[5:])


@given(
    context=st.integers(1, 100), batch_tokens=st.integers(1, 300), seed=st.integers(0, 99), step=st.integers(0, 99),
    share=st.floats(0.0, 1.0),
)  # fmt: skip
def test_windows_are_slices_of_the_split_with_at_least_one_target(
    context: int, batch_tokens: int, seed: int, step: int, share: float
):
    batch = windows(context=context, batch_tokens=batch_tokens, seed=seed, mask_share=share).batch(step)
    for row in original(batch):
        assert row.tolist() == list(range(row[0], row[0] + context))
    assert 5 <= original(batch).min() <= original(batch).max() < 105
    assert batch.tokens.shape == (max(1, batch_tokens // context), context)
    assert (batch.targets != IGNORE).any()
    assert batch.real.all()
    assert not batch.segments.any()
    assert batch.inputs == (batch.tokens, batch.real, batch.segments)


def test_windows_reach_the_first_and_the_last_token():
    firsts = {int(row[0]) for step in range(20) for row in original(windows(context=94, batch_tokens=940).batch(step))}
    assert firsts == set(range(5, 12))


def test_a_batch_is_a_function_of_seed_and_step_alone(assert_stateless):
    assert_stateless(lambda seed: windows(seed=seed))


def test_every_epoch_has_another_mask():
    # one window is the whole text, so epochs can differ only in the mask
    batches = windows(context=100, batch_tokens=100)
    assert batches.batches_per_epoch == 1
    chosen = {tuple(np.flatnonzero(batches.batch(epoch).targets != IGNORE)) for epoch in range(20)}
    assert len(chosen) == 20


@given(length=st.integers(1, 100), context=st.integers(1, 20), batch_tokens=st.integers(1, 60))
def test_in_order_has_every_token_once(length: int, context: int, batch_tokens: int):
    context = min(context, length)
    batches = list(windows(TOKENS[:length], context, batch_tokens).in_order())
    assert [token for batch in batches for token in original(batch).ravel()] == TOKENS[:length].tolist()


@given(context=st.integers(1, 100), limit=st.integers(1, 300))
def test_a_limit_gives_full_blocks_from_the_start_and_at_least_one(context: int, limit: int):
    tokens = [token for batch in windows(context=context).in_order(limit) for token in original(batch).ravel()]
    count = max(context, min(limit, 100) // context * context)
    assert tokens == TOKENS[:count].tolist()


@pytest.mark.parametrize("limit", [None, 5000])
def test_evaluation_batches_are_always_the_same_and_independent_of_the_batch_size(limit: int | None):
    def rows(batch_tokens: int, seed: int = 3) -> list[list[int]]:
        batches = windows(LONG, 64, batch_tokens, seed=seed)
        batches.batch(5)  # training before has no influence
        return [row for batch in batches.in_order(limit) for row in batch.tokens.tolist()]

    assert rows(64) == rows(64) == rows(1 << 14)
    assert rows(64) != rows(64, seed=4)


def test_evaluation_masks_each_block_differently():
    targets = next(windows(LONG, 100).in_order()).targets
    chosen = {tuple(np.flatnonzero(row != IGNORE)) for row in targets}
    assert len(chosen) == len(targets) > 10


def test_special_tokens_are_never_chosen():
    tokens = np.tile(np.arange(10), 50)
    for batch in (windows(tokens, mask_share=1.0).batch(0), *windows(tokens, mask_share=1.0).in_order()):
        special = original(batch) <= MASK
        assert special.any()
        assert (batch.targets[special] == IGNORE).all()
        assert (batch.targets[~special] != IGNORE).all()


def test_windows_of_unknown_tokens_alone_are_drawn_again():
    # one known token in a thousand: 99 % of the windows have nothing to predict
    tokens = np.full(1000, UNK)
    tokens[500] = 9
    batches = windows(tokens, context=10, batch_tokens=10)
    for step in range(3):
        assert batches.batch(step).targets.max() == 9
    assert sum(int((batch.targets != IGNORE).sum()) for batch in batches.in_order()) == 1


def test_a_text_shorter_than_a_window_is_refused():
    with pytest.raises(DataError, match=r"at least 8 tokens was expected, .* found 7; give more text or lower --model"):
        windows(TOKENS[:7], context=8)
    assert original(windows(TOKENS[:8], context=8, batch_tokens=8).batch(0)).tolist() == [TOKENS[:8].tolist()]


def test_a_text_of_unknown_tokens_alone_is_refused():
    with pytest.raises(
        DataError, match=r"tokens to predict was expected, but all of its tokens are special ones such as"
    ):
        windows(np.full(100, UNK))
