"""Evaluate a run on a split: the trained model, and the same model before its first step.

perplexity = exp(loss)        loss = mean nats per predicted token over the whole split
"""

import math
from collections.abc import Callable
from typing import Any

from clearformer.config import EngineName
from clearformer.data.batches import Batches
from clearformer.data.corpora import Split
from clearformer.engine import engine_of
from clearformer.evaluation.predictions import baseline_scores, prediction_scores
from clearformer.evaluation.scores import bleu, exact_match
from clearformer.generation.beam import GREEDY_BEAM, Beam
from clearformer.generation.translation import translate_texts
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import load_model, untrained_model

Advance = Callable[[str, int, int], None]
"""called with the name of the model being evaluated, and the done and total numbers of examples"""
BASELINES = {"bert": "unigram", "classifier": "majority"}
"""names of the baseline that always predicts the training split's most frequent label, by family"""


def evaluate(
    run: RunFolder,
    split: Split,
    advance: Advance = lambda *_: None,
    beam: Beam = GREEDY_BEAM,
    engine: EngineName | None = None,
) -> dict[str, Any]:
    """`loss`, `perplexity` and, for pairs, `exact_match` (0 to 1) and `bleu` (0 to 100); the same under `untrained`.

    Pairs are translated with `beam`, and `bleu_lowercase` is case-insensitive BLEU. BERTs, classifiers and
    equations have the scores of `prediction_scores` instead, and their baseline's under `unigram` or `majority`.
    Pairs longer than the model's context are left out; `run.batches` reports how many.
    Raises CheckpointError if the run has no checkpoint, DataError if there is no such split.
    """
    model, step = load_model(run, engine)
    batches = run.batches(split)
    measured = measure(run, model, split, batches, lambda *count: advance("trained", *count), beam)
    untrained = measure(
        run, untrained_model(run, engine), split, batches, lambda *count: advance("untrained", *count), beam
    )
    result = {"run": str(run.folder), "split": split, "step": step} | measured | {"untrained": untrained}
    if run.config.model.kind in BASELINES:
        result[BASELINES[run.config.model.kind]] = baseline_scores(run, batches)
    if run.config.model.kind == "classifier":
        result["classes"] = run.classes
    return result


def measure(
    run: RunFolder,
    model: Any,
    split: Split,
    batches: Batches,
    advance: Callable[[int, int], None] = lambda *_: None,
    beam: Beam = GREEDY_BEAM,
) -> dict[str, Any]:
    """The scores of one model on the batches of a split."""
    kind = run.config.model.kind
    if kind in BASELINES or run.config.modular is not None:
        return prediction_scores(run, model, batches)
    loss = engine_of(model).mean_loss(model, batches.in_order())
    scores: dict[str, Any] = {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # exp(710) overflows
    if kind == "transformer":
        pairs = [pair for pair, _ in run.pairs(split)]
        outputs = translate_texts(model, run.tokenizer, [source for source, _ in pairs], beam, advance=advance)
        references = [target for _, target in pairs]
        scores["exact_match"] = exact_match(outputs, references)
        scores["bleu"], scores["bleu_signature"] = bleu(outputs, references)
        scores["bleu_lowercase"], scores["bleu_lowercase_signature"] = bleu(outputs, references, lowercase=True)
        scores["beam"], scores["length_penalty"] = beam.size, beam.length_penalty
    return scores
