"""Scores of generated text against references, and of guesses against the truth.

    exact match = share of outputs that equal their reference, character by character
    BLEU        = brevity · exp(mean of log n-gram precisions, n = 1 … 4)      Papineni et al. 2002
    F1          = 2 P R / (P + R) = 2 · right / (guessed + there)              P = right / guessed, R = right / there

BLEU is sacreBLEU's, with its signature, so that numbers compare (Post 2018, arXiv:1804.08771).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from sacrebleu.metrics.bleu import BLEU


def exact_match(outputs: Sequence[str], references: Sequence[str]) -> float:
    """Between 0 and 1."""
    return sum(a == b for a, b in zip(outputs, references, strict=True)) / len(references)


def bleu(outputs: Sequence[str], references: Sequence[str], *, lowercase: bool = False) -> tuple[float, str]:
    """sacreBLEU's default (13a tokens, cased unless `lowercase`) over the corpus, 0 to 100, and its signature."""
    metric = BLEU(lowercase=lowercase)
    score = metric.corpus_score(list(outputs), [list(references)])
    return float(score.score), str(metric.get_signature())


def confusion_matrix(
    truth: Int[NDArray[np.int64], " N"], guesses: Int[NDArray[np.int64], " N"], classes: int
) -> Int[NDArray[np.int64], "C C"]:
    """How often each class (a row) was taken for each (a column)."""
    return np.bincount(truth * classes + guesses, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion: Int[NDArray[np.int64], "C C"]) -> float:
    """Between 0 and 1."""
    return float(confusion.trace() / confusion.sum())


def macro_f1(confusion: Int[NDArray[np.int64], "C C"]) -> float:
    """The mean of F1 over the classes, however rare; 0 of a class for which precision or recall is 0 or undefined."""
    right, count = confusion.diagonal(), confusion.sum(0) + confusion.sum(1)
    return float(np.mean(2 * right / np.maximum(count, 1)))


def guess_by_frequency(
    counts: Int[NDArray[np.int64], " V"], truth: Int[NDArray[np.int64], " N"]
) -> tuple[float, Int[NDArray[np.int64], " N"]]:
    """What one knows without looking: the loss (nats) of p_v = (count_v + 1) / (Σ counts + V), and the commonest v."""
    log_p = np.log((counts + 1) / (counts.sum() + len(counts)))
    return float(-log_p[truth].mean()), np.full_like(truth, counts.argmax())
