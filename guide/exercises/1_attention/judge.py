"""What a solution of exercise 1 must do."""

import math
from types import ModuleType

import torch

from clearformer.guide.judging import assert_close, assert_part_is_right


def test_a_score_is_a_dot_product_over_the_root_of_the_width(work: ModuleType) -> None:
    q = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    k = torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 2.0]])
    assert_close(work.scores(q, k), torch.tensor([[5.0, 4.0]]))  # (1+2+3+4) / 2 and (4·2) / 2


def test_scores_have_a_row_for_each_query_and_a_column_for_each_key(work: ModuleType) -> None:
    assert work.scores(torch.ones(2, 3, 8), torch.ones(2, 5, 8)).shape == (2, 3, 5)


def test_shares_are_those_worked_by_hand(work: ModuleType) -> None:
    shares = work.softmax(torch.tensor([[0.0, math.log(3.0)], [1.0, 1.0]]))
    assert_close(shares, torch.tensor([[0.25, 0.75], [0.5, 0.5]]))


def test_large_scores_give_finite_shares(work: ModuleType) -> None:
    assert_close(work.softmax(torch.tensor([1000.0, 0.0])), torch.tensor([1.0, 0.0]))


def test_a_query_that_matches_all_keys_equally_takes_the_mean_of_the_values(work: ModuleType) -> None:
    v = torch.tensor([[1.0, 0.0], [3.0, 6.0]])
    assert_close(work.attention(torch.zeros(1, 2), torch.ones(2, 2), v), torch.tensor([[2.0, 3.0]]))


def test_attention_passes_the_checks_of_clearformer(work: ModuleType) -> None:
    assert_part_is_right("attention", work.attention)
