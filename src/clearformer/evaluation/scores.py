"""Scores of generated text against references.

    exact match = share of outputs that equal their reference, character by character
    BLEU        = brevity · exp(mean of log n-gram precisions, n = 1 … 4)      Papineni et al. 2002

BLEU is sacreBLEU's, with its signature, so that numbers compare (Post 2018, arXiv:1804.08771).
"""

from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU


def exact_match(outputs: Sequence[str], references: Sequence[str]) -> float:
    """Between 0 and 1."""
    return sum(a == b for a, b in zip(outputs, references, strict=True)) / len(references)


def bleu(outputs: Sequence[str], references: Sequence[str]) -> tuple[float, str]:
    """sacreBLEU's default (13a tokens, cased) over the corpus, 0 to 100, and its signature."""
    metric = BLEU()
    score = metric.corpus_score(list(outputs), [list(references)])
    return float(score.score), str(metric.get_signature())
