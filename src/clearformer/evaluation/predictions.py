"""Scores of predicted masked tokens and classes; and of a baseline that knows their frequencies only.

    accuracy = mean of [argmax(logits) = label]        loss = mean of -log p(label), in nats

Both are means over labels, not over batches.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from clearformer.data.batches import IGNORE, Batch, Batches, in_parts
from clearformer.data.corpora import LabelledCorpus, LargeCorpus, TextCorpus
from clearformer.engine import engine_of
from clearformer.evaluation.scores import accuracy, confusion_matrix, frequency_baseline, macro_f1
from clearformer.runs.folder import RunFolder

Labels = Int[NDArray[np.int64], " N"]


def prediction_scores(run: RunFolder, model: Any, batches: Batches) -> dict[str, Any]:
    """`loss` and `accuracy`; for a classifier also `macro_f1` and `confusion`, [true, predicted]."""
    return _scores(run, *predict(model, batches.in_order()))


def baseline_scores(run: RunFolder, batches: Batches) -> dict[str, Any]:
    """The same for a baseline that predicts from the label frequencies of the training split."""
    counts = _training_counts(run)
    labels = np.concatenate([batch.targets[batch.targets != IGNORE] for batch in batches.in_order()])
    loss, predictions = frequency_baseline(counts, labels)
    return _scores(run, loss, labels, predictions)


def predict(model: Any, batches: Iterable[Batch]) -> tuple[float, Labels, Labels]:
    """The mean loss (nats), the labels and the predictions; the model must be in evaluation mode."""
    total = 0.0
    labels, predictions = [], []
    for batch in batches:
        labelled = batch.targets != IGNORE
        label = batch.targets[labelled]
        logits = engine_of(model).logits_of(model, batch.inputs)[labelled].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        total += np.log(np.exp(logits).sum(-1)).sum() - logits[np.arange(len(label)), label].sum()
        labels.append(label)
        predictions.append(logits.argmax(-1))
    return float(total) / sum(map(len, labels)), np.concatenate(labels), np.concatenate(predictions)


def _scores(run: RunFolder, loss: float, labels: Labels, predictions: Labels) -> dict[str, Any]:
    if run.config.model.kind != "classifier":
        return {"loss": loss, "accuracy": float((labels == predictions).mean())}
    confusion = confusion_matrix(labels, predictions, len(run.classes))
    scores = {"loss": loss, "accuracy": accuracy(confusion), "macro_f1": macro_f1(confusion)}
    return scores | {"confusion": confusion.tolist()}


def _training_counts(run: RunFolder) -> Int[NDArray[np.int64], " V"]:
    """How often each token, or each class, occurs in the training split."""
    if isinstance(run.corpus, LargeCorpus):
        parts = in_parts(run.tokens()["train"].ids)
        return sum(
            (np.bincount(part, minlength=run.tokenizer.vocab_size) for part in parts),
            start=np.zeros(run.tokenizer.vocab_size, dtype=np.int64),
        )
    if isinstance(run.corpus, TextCorpus):
        return np.bincount(run.tokenizer.encode_lines(run.corpus.train), minlength=run.tokenizer.vocab_size)
    assert isinstance(run.corpus, LabelledCorpus)
    labels = [label for _, label in run.corpus.train]
    return np.array([labels.count(name) for name in run.classes])
