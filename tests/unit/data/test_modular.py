"""Equations modulo a prime are right, complete, in disjoint splits, and read as three tokens and an answer."""

import numpy as np
import pytest

from clearformer.config import ModularConfig, Operation
from clearformer.data.batches import IGNORE
from clearformer.data.modular import OPERATIONS, Equations, equations, number_tokenizer, question
from clearformer.data.tokenizers import UNK
from clearformer.errors import ConfigError, DataError

BY_HAND: dict[Operation, tuple[int, int, int]] = {
    "add": (5, 4, 2),  # 9 - 7
    "subtract": (2, 6, 3),  # -4 + 7
    "multiply": (3, 6, 4),  # 18 - 14
    "divide": (3, 5, 2),  # 2 * 5 = 10 = 3 + 7
    "quadratic": (2, 3, 5),  # 4 + 6 + 9 = 19 = 5 + 14
}
"""modulo 7"""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_answer_is_what_it_is_by_hand(operation: Operation):
    corpus = equations(ModularConfig(7, operation, 0.5), seed=1)
    assert BY_HAND[operation] in [*corpus.train, *corpus.validation]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_pair_is_asked_exactly_once_and_none_is_divided_by_zero(operation: Operation):
    corpus = equations(ModularConfig(11, operation, 0.3), seed=1)
    asked = sorted((a, b) for a, b, _ in [*corpus.train, *corpus.validation])
    assert asked == [(a, b) for a in range(11) for b in range(1 if operation == "divide" else 0, 11)]
    assert len(corpus.train) == round(0.3 * len(asked))


def test_another_seed_holds_out_other_equations():
    one, same, other = (set(equations(ModularConfig(11), seed).validation) for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize("modulus", [1, 9, 1009, -7])
def test_a_modulus_that_is_no_prime_or_too_large_is_refused(modulus: int):
    with pytest.raises(ConfigError, match=f"modular.modulus must be a prime of at most 997.*found {modulus}"):
        ModularConfig(modulus)


def test_a_split_without_equations_is_refused():
    with pytest.raises(DataError, match=r"found 0 of 4 to learn; change --modular.train-fraction"):
        equations(ModularConfig(2, "add", 0.01), seed=1)


def test_a_question_becomes_one_token_for_each_number_and_the_sign():
    tokenizer = number_tokenizer(113)
    ids = tokenizer.encode(question(5, 112))
    assert [tokenizer.token_text(index) for index in ids] == ["5", "112", "="]
    assert tokenizer.decode(ids) == "5 112 ="
    assert tokenizer.vocab_size == 113 + 5
    assert tokenizer.encode("113 1 =")[0] == UNK


def test_a_batch_predicts_the_answer_alone():
    batch = Equations(np.array([[5, 4, 2], [0, 6, 6]]), modulus=7, batch_tokens=100, seed=1).batch(0)
    tokenizer = number_tokenizer(7)
    assert [tokenizer.decode(row) for row in batch.tokens.tolist()] == ["5 4 =", "0 6 ="]
    assert (batch.targets[:, :2] == IGNORE).all()
    assert tokenizer.decode(batch.targets[:, 2].tolist()) == "2 6"


def test_full_batches_are_the_split_and_smaller_ones_differ_by_step():
    rows = np.array(equations(ModularConfig(11, "add", 0.5), seed=1).train)
    full, small = Equations(rows, 11, 3 * 121, seed=1), Equations(rows, 11, 3 * 10, seed=1)
    assert np.array_equal(full.batch(0).tokens, full.batch(7).tokens)
    assert len(full.batch(0).tokens) == len(rows)
    drawn = [small.batch(step).tokens for step in (0, 1, 0)]
    assert len(np.unique(drawn[0], axis=0)) == 10
    assert np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], drawn[1])


def test_in_order_reads_every_equation_once_or_as_many_as_asked():
    rows = np.array(equations(ModularConfig(11, "add", 0.5), seed=1).train)
    batches = Equations(rows, 11, 3 * 25, seed=1)
    read = np.concatenate([batch.tokens for batch in batches.in_order()])
    assert len(np.unique(read, axis=0)) == len(read) == len(rows)
    assert sum(len(batch.tokens) for batch in batches.in_order(3 * 7)) == 7
