"""Scores of generated text against references, and of predictions against labels.

    exact match = share of outputs that equal their reference, character by character
    BLEU        = brevity penalty · exp(mean of log n-gram precisions, n = 1 … 4)      Papineni et al. 2002
    F1          = 2 P R / (P + R) = 2 TP / (predicted + actual)         P = TP / predicted, R = TP / actual

BLEU is sacreBLEU's, with its signature, so that scores are comparable (Post 2018, arXiv:1804.08771).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU


def exact_match(outputs: Sequence[str], references: Sequence[str]) -> float:
    """The share of exact matches, 0 to 1. Raises ValueError if the lengths differ."""
    return sum(a == b for a, b in zip(outputs, references, strict=True)) / len(references)


def bleu(outputs: Sequence[str], references: Sequence[str], *, lowercase: bool = False) -> tuple[float, str]:
    """Corpus BLEU, 0 to 100, by sacreBLEU's defaults (13a tokenizer, cased unless `lowercase`), and its signature."""
    metric = BLEU(lowercase=lowercase)
    score = metric.corpus_score(list(outputs), [list(references)])
    return float(score.score), str(metric.get_signature())


def confusion_matrix(
    labels: Int[NDArray[np.int64], " N"], predictions: Int[NDArray[np.int64], " N"], num_classes: int
) -> Int[NDArray[np.int64], "C C"]:
    """Counts of each true class (row) and predicted class (column)."""
    cells = labels * num_classes + predictions
    return np.bincount(cells, minlength=num_classes * num_classes).reshape(num_classes, num_classes)


def accuracy(confusion: Int[NDArray[np.int64], "C C"]) -> float:
    """The share of correct predictions, 0 to 1."""
    return float(confusion.trace() / confusion.sum())


def macro_f1(confusion: Int[NDArray[np.int64], "C C"]) -> float:
    """The unweighted mean of F1 over the classes; F1 is 0 where precision or recall is 0 or undefined."""
    correct, count = confusion.diagonal(), confusion.sum(0) + confusion.sum(1)
    return float(np.mean(2 * correct / np.maximum(count, 1)))


def frequency_baseline(
    counts: Int[NDArray[np.int64], " V"], labels: Int[NDArray[np.int64], " N"]
) -> tuple[float, Int[NDArray[np.int64], " N"]]:
    """The loss (nats) of p_v = (count_v + 1) / (Σ counts + V), and the most frequent v as the prediction for all."""
    log_p = np.log((counts + 1) / (counts.sum() + len(counts)))
    return float(-log_p[labels].mean()), np.full_like(labels, counts.argmax())
