"""Predictions are scored where there is a label, and the frequency baseline is worked by hand."""

import math

import numpy as np
import pytest
import torch

from clearformer.data.labelled import LabelledBatch
from clearformer.data.masked import MaskedBatch
from clearformer.evaluation.predictions import predict
from clearformer.evaluation.scores import accuracy, confusion_matrix, frequency_baseline, macro_f1
from clearformer.models.bert import BERT

# a sum of a few float32 logarithms
LOSS_TOLERANCE = 1e-6

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTIONS = np.array([0, 0, 1, 1, 0, 0])
CONFUSION = np.array([[2, 1, 0], [1, 1, 0], [1, 0, 0]])


def test_the_confusion_matrix_has_true_rows_and_predicted_columns():
    assert confusion_matrix(LABELS, PREDICTIONS, 3).tolist() == CONFUSION.tolist()
    assert confusion_matrix(np.array([1]), np.array([0]), 2).tolist() == [[0, 0], [1, 0]]


def test_accuracy_worked_by_hand():
    assert accuracy(CONFUSION) == 3 / 6


def test_macro_f1_worked_by_hand():
    # class 0: P 2/4, R 2/3, so 4/7; class 1: P 1/2, R 1/2, so 1/2; class 2 was never predicted: 0
    assert macro_f1(CONFUSION) == pytest.approx((4 / 7 + 1 / 2 + 0) / 3)


def test_macro_f1_is_the_mean_of_2pr_over_p_plus_r():
    confusion = np.random.default_rng(1).integers(1, 9, (4, 4))
    precision = [confusion[i, i] / confusion[:, i].sum() for i in range(4)]
    recall = [confusion[i, i] / confusion[i].sum() for i in range(4)]
    f1 = [2 * p * r / (p + r) for p, r in zip(precision, recall, strict=True)]
    assert macro_f1(confusion) == pytest.approx(sum(f1) / 4)


def test_a_class_that_neither_occurs_nor_is_predicted_counts_as_zero():
    assert macro_f1(np.array([[3, 0], [0, 0]])) == 0.5


def test_the_baseline_predicts_the_most_frequent_label_and_smooths_by_one():
    # (count + 1) / (5 + 3): 1/8, 4/8, 3/8
    loss, predictions = frequency_baseline(np.array([0, 3, 2]), np.array([0, 2, 1, 1]))
    assert predictions.tolist() == [1, 1, 1, 1]
    assert loss == pytest.approx(-(math.log(1 / 8) + math.log(3 / 8) + 2 * math.log(4 / 8)) / 4)


class Fixed(BERT):
    """Returns predefined logits."""

    def __init__(self, logits: list[torch.Tensor]) -> None:
        torch.nn.Module.__init__(self)
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.logits = iter(logits)

    def forward(self, *_inputs: torch.Tensor) -> torch.Tensor:
        return next(self.logits)


def test_only_masked_tokens_are_scored_and_each_weighs_the_same():
    # batches of two and of one masked token; the last position of each has no label
    logits = [torch.tensor([[[0.0, 2.0], [1.0, 0.0], [9.0, 0.0]]]), torch.tensor([[[3.0, 0.0], [9.0, 0.0]]])]
    targets = [np.array([[1, 1, -100]]), np.array([[0, -100]])]
    batches = [MaskedBatch(rows * 0, rows < 9, rows * 0, rows) for rows in targets]
    loss, labels, predictions = predict(Fixed(logits), batches)
    assert labels.tolist() == [1, 1, 0]
    assert predictions.tolist() == [1, 0, 0]
    by_hand = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(1)), math.log(1 + math.exp(-3))]
    assert loss == pytest.approx(sum(by_hand) / 3, rel=LOSS_TOLERANCE)


def test_every_example_has_a_class_to_predict():
    batch = LabelledBatch(np.zeros((2, 1), int), np.ones((2, 1), bool), np.zeros((2, 1), int), np.array([0, 1]))
    loss, labels, predictions = predict(Fixed([torch.tensor([[1.0, 0.0], [4.0, 0.0]])]), [batch])
    assert (labels.tolist(), predictions.tolist()) == ([0, 1], [0, 0])
    assert loss == pytest.approx((math.log(1 + math.exp(-1)) + math.log(1 + math.exp(4))) / 2, rel=LOSS_TOLERANCE)
