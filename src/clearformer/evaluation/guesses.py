"""Measure what has one right answer, a hidden token or a class; and what frequency alone would guess.

    accuracy = share of the guesses argmax(logits) that are right        loss = mean nats of the right answer

Both are means over the answers, never over batches.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from clearformer.data.batches import IGNORE, Batch, Batches
from clearformer.data.corpora import LabelledCorpus, TextCorpus
from clearformer.engine import engine_of
from clearformer.evaluation.scores import accuracy, confusion_matrix, guess_by_frequency, macro_f1
from clearformer.runs.folder import RunFolder

Answers = Int[NDArray[np.int64], " N"]


def guess_scores(run: RunFolder, model: Any, batches: Batches) -> dict[str, Any]:
    """`loss` and `accuracy`; of a classifier also `macro_f1` and `confusion`, its rows the true classes by number."""
    return _scores(run, *guess(model, batches.in_order()))


def frequency_scores(run: RunFolder, batches: Batches) -> dict[str, Any]:
    """The same of a guesser that knows how often each answer occurs in the training split, and looks at nothing."""
    counts = _training_counts(run)
    truth = np.concatenate([batch.targets[batch.targets != IGNORE] for batch in batches.in_order()])
    loss, guesses = guess_by_frequency(counts, truth)
    return _scores(run, loss, truth, guesses)


def guess(model: Any, batches: Iterable[Batch]) -> tuple[float, Answers, Answers]:
    """The loss, the right answers and the guesses, of a model in evaluation mode."""
    total = 0.0
    truth, guesses = [], []
    for batch in batches:
        asked = batch.targets != IGNORE
        right, logits = batch.targets[asked], engine_of(model).logits_of(model, batch.inputs)[asked].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        total += np.log(np.exp(logits).sum(-1)).sum() - logits[np.arange(len(right)), right].sum()
        truth.append(right)
        guesses.append(logits.argmax(-1))
    return float(total) / sum(map(len, truth)), np.concatenate(truth), np.concatenate(guesses)


def _scores(run: RunFolder, loss: float, truth: Answers, guesses: Answers) -> dict[str, Any]:
    if run.config.model.kind != "classifier":
        return {"loss": loss, "accuracy": float((truth == guesses).mean())}
    confusion = confusion_matrix(truth, guesses, len(run.classes))
    scores = {"loss": loss, "accuracy": accuracy(confusion), "macro_f1": macro_f1(confusion)}
    return scores | {"confusion": confusion.tolist()}


def _training_counts(run: RunFolder) -> Int[NDArray[np.int64], " V"]:
    """How often each token, or each class, occurs in the training split."""
    if isinstance(run.corpus, TextCorpus):
        return np.bincount(run.tokenizer.encode_lines(run.corpus.train), minlength=run.tokenizer.vocab_size)
    assert isinstance(run.corpus, LabelledCorpus)
    labels = [label for _, label in run.corpus.train]
    return np.array([labels.count(name) for name in run.classes])
