"""Measure a run on a split: the trained model, and beside it the same model before its first step.

perplexity = exp(loss)        loss = mean nats a predicted token over the whole split
"""

import math
from collections.abc import Callable
from typing import Any

from clearformer.config import EngineName
from clearformer.data.batches import Batches
from clearformer.data.corpora import Split
from clearformer.engine import engine_of
from clearformer.evaluation.guesses import frequency_scores, guess_scores
from clearformer.evaluation.scores import bleu, exact_match
from clearformer.generation.beam import GREEDY_BEAM, Beam
from clearformer.generation.translation import translate_texts
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import load_model, untrained_model

Advance = Callable[[str, int, int], None]
"""is told what is being measured, how much is done, and how much there is"""
FREQUENCY = {"bert": "unigram", "classifier": "majority"}
"""what always guessing the commonest answer of the training split is called"""


def evaluate(
    run: RunFolder,
    split: Split,
    advance: Advance = lambda *_: None,
    beam: Beam = GREEDY_BEAM,
    engine: EngineName | None = None,
) -> dict[str, Any]:
    """`loss`, `perplexity` and, for pairs, `exact_match` (0 to 1) and `bleu` (0 to 100); the same under `untrained`.

    Pairs are translated with `beam`, and `bleu_lowercase` is BLEU without regard to case.
    Of hidden tokens and classes what `guess_scores` says; under `unigram` or `majority` also of the commonest answer.
    Pairs that are longer than the model's context are not measured; `run.batches` says how many there are.
    """
    model, step = load_model(run, engine)
    batches = run.batches(split)
    measured = measure(run, model, split, batches, lambda *count: advance("trained", *count), beam)
    untrained = measure(
        run, untrained_model(run, engine), split, batches, lambda *count: advance("untrained", *count), beam
    )
    result = {"run": str(run.folder), "split": split, "step": step} | measured | {"untrained": untrained}
    if run.config.model.kind in FREQUENCY:
        result[FREQUENCY[run.config.model.kind]] = frequency_scores(run, batches)
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
    if kind in FREQUENCY:
        return guess_scores(run, model, batches)
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
