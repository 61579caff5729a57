"""Masked batches hide the shares that BERT's authors name, anew every epoch, and depend on (seed, step) alone."""

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
"""so many tokens that a random one is next to never the one that stood there"""
TOKENS = np.arange(5, 105)
"""100 tokens, each of which says where it stands"""
LONG = np.random.default_rng(7).integers(5, VOCABULARY, 20_000)
FIVE_DEVIATIONS = 5.0
"""a binomial count lies further out once in 1.7 million draws; the seeds are fixed, so it does not happen later on"""


def windows(tokens: np.ndarray = TOKENS, context: int = 10, batch_tokens: int = 40, **changes: float) -> MaskedWindows:
    settings = {"seed": 3, "vocab_size": VOCABULARY, "mask_share": 0.15} | changes
    return MaskedWindows(tokens, context, batch_tokens, **settings)


def original(batch: MaskedBatch) -> np.ndarray:
    return np.where(batch.targets == IGNORE, batch.tokens, batch.targets)


def same(one: MaskedBatch, other: MaskedBatch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def is_binomial(count: int, trials: int, share: float) -> bool:
    return abs(count - trials * share) < FIVE_DEVIATIONS * math.sqrt(trials * share * (1 - share))


@pytest.mark.parametrize("share", [0.15, 0.4])
@pytest.mark.parametrize("measured", [False, True])
def test_of_the_share_that_is_chosen_80_10_10_are_masked_replaced_and_kept(share: float, measured: bool):
    batches = windows(LONG, 100, 20_000, mask_share=share)
    batch = next(batches.in_order()) if measured else batches.batch(0)
    chosen = batch.targets != IGNORE
    count = int(chosen.sum())
    masked = int((chosen & (batch.tokens == MASK)).sum())
    kept = int((chosen & (batch.tokens == batch.targets)).sum())
    assert batch.num_tokens == 20_000
    assert is_binomial(count, 20_000, share)
    assert is_binomial(masked, count, 0.8)
    assert is_binomial(kept, count, 0.1)
    assert is_binomial(count - masked - kept, count, 0.1)


def test_replacements_are_spread_over_the_whole_vocabulary_but_the_special_tokens():
    batch = windows(LONG % 15 + 5, 100, 20_000, vocab_size=20, mask_share=1.0).batch(0)
    replaced = batch.tokens[(batch.tokens != MASK) & (batch.tokens != batch.targets)]
    counts = np.bincount(replaced, minlength=20)
    assert counts[:5].tolist() == [0] * 5
    # a tenth of 20,000 is replaced by one of 15 tokens, and one of these is what stood there already
    assert all(is_binomial(int(count), 2000, 1 / 15) for count in counts[5:])


@given(
    context=st.integers(1, 100), batch_tokens=st.integers(1, 300), seed=st.integers(0, 99), step=st.integers(0, 99),
    share=st.floats(0.0, 1.0),
)  # fmt: skip
def test_windows_are_slices_of_the_split_of_which_at_least_one_token_is_asked(
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


def test_a_batch_is_a_function_of_seed_and_step_alone():
    batches = windows()
    steps = range(3 * batches.batches_per_epoch)
    in_turn = [batches.batch(step) for step in steps]
    assert all(same(batches.batch(step), in_turn[step]) for step in reversed(steps))
    assert all(same(windows().batch(step), in_turn[step]) for step in steps)
    assert not any(same(windows(seed=4).batch(step), in_turn[step]) for step in steps)


def test_every_epoch_masks_anew():
    # one window that is the whole text: epochs can differ in nothing but the mask
    batches = windows(context=100, batch_tokens=100)
    assert batches.batches_per_epoch == 1
    chosen = {tuple(np.flatnonzero(batches.batch(epoch).targets != IGNORE)) for epoch in range(20)}
    assert len(chosen) == 20


@given(length=st.integers(1, 100), context=st.integers(1, 20), batch_tokens=st.integers(1, 60))
def test_in_order_has_every_token_once(length: int, context: int, batch_tokens: int):
    context = min(context, length)
    batches = list(windows(TOKENS[:length], context, batch_tokens).in_order())
    assert [token for batch in batches for token in original(batch).ravel()] == TOKENS[:length].tolist()


@given(context=st.integers(1, 100), most=st.integers(1, 300))
def test_a_limit_gives_whole_blocks_from_the_start_and_at_least_one(context: int, most: int):
    tokens = [token for batch in windows(context=context).in_order(most) for token in original(batch).ravel()]
    count = max(context, min(most, 100) // context * context)
    assert tokens == TOKENS[:count].tolist()


@pytest.mark.parametrize("most", [None, 5000])
def test_a_measurement_is_the_same_every_time_and_depends_on_no_batch_size(most: int | None):
    def rows(batch_tokens: int, seed: int = 3) -> list[list[int]]:
        batches = windows(LONG, 64, batch_tokens, seed=seed)
        batches.batch(5)  # what was trained before has no part in it
        return [row for batch in batches.in_order(most) for row in batch.tokens.tolist()]

    assert rows(64) == rows(64) == rows(1 << 14)
    assert rows(64) != rows(64, seed=4)


def test_blocks_of_one_measurement_are_masked_differently():
    chosen = {tuple(np.flatnonzero(row != IGNORE)) for row in next(windows(LONG, 100).in_order()).targets}
    assert len(chosen) == len(next(windows(LONG, 100).in_order()).targets) > 10


def test_special_tokens_are_never_chosen():
    tokens = np.tile(np.arange(10), 50)
    for batch in (windows(tokens, mask_share=1.0).batch(0), *windows(tokens, mask_share=1.0).in_order()):
        special = original(batch) <= MASK
        assert special.any()
        assert (batch.targets[special] == IGNORE).all()
        assert (batch.targets[~special] != IGNORE).all()


def test_windows_of_nothing_but_unknowns_are_drawn_anew():
    # one known token in a thousand: of windows drawn once, 99 % would have nothing to guess
    tokens = np.full(1000, UNK)
    tokens[500] = 9
    batches = windows(tokens, context=10, batch_tokens=10)
    for step in range(3):
        assert batches.batch(step).targets.max() == 9
    assert sum(int((batch.targets != IGNORE).sum()) for batch in batches.in_order()) == 1


def test_a_text_that_fills_no_window_is_refused():
    with pytest.raises(DataError, match=r"at least 8 tokens was expected, .* found 7; give more text or lower --model"):
        windows(TOKENS[:7], context=8)
    assert original(windows(TOKENS[:8], context=8, batch_tokens=8).batch(0)).tolist() == [TOKENS[:8].tolist()]


def test_a_text_of_nothing_but_unknowns_is_refused():
    with pytest.raises(DataError, match=r"tokens to predict was expected, but all of its tokens are special ones such as"):
        windows(np.full(100, UNK))
