"""Measure a run on a split: the trained model, and beside it the same model before its first step.

perplexity = exp(loss)        loss = mean nats a predicted token over the whole split
"""

import math
from collections.abc import Callable
from typing import Any

from clearformer.data.batches import Batches
from clearformer.data.corpora import Split
from clearformer.evaluation.scores import bleu, exact_match
from clearformer.generation.translation import translate_texts
from clearformer.models.build import Model
from clearformer.models.transformer import Transformer
from clearformer.runs.folder import Run
from clearformer.runs.session import load_model, untrained_model
from clearformer.training.loss import mean_loss

Advance = Callable[[str, int, int], None]
"""is told what is being measured, how much is done, and how much there is"""


def evaluate(run: Run, split: Split, advance: Advance = lambda *_: None) -> dict[str, Any]:
    """`loss`, `perplexity` and, for pairs, `exact_match` (0 to 1) and `bleu` (0 to 100); the same under `untrained`.

    Pairs that are longer than the model's context are not measured; `run.batches` says how many there are.
    """
    model, step = load_model(run)
    batches = run.batches(split)
    measured = measure(run, model, split, batches, lambda *count: advance("trained", *count))
    untrained = measure(run, untrained_model(run), split, batches, lambda *count: advance("untrained", *count))
    return {"run": str(run.folder), "split": split, "step": step} | measured | {"untrained": untrained}


def measure(
    run: Run, model: Model, split: Split, batches: Batches, advance: Callable[[int, int], None] = lambda *_: None
) -> dict[str, Any]:
    """The scores of one model on the batches of a split."""
    loss = mean_loss(model, batches.in_order(), next(model.parameters()).device)
    scores: dict[str, Any] = {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # exp(710) overflows
    if isinstance(model, Transformer):
        pairs = [pair for pair, _ in run.pairs(split)]
        outputs = translate_texts(model, run.tokenizer, [source for source, _ in pairs], advance=advance)
        references = [target for _, target in pairs]
        scores["exact_match"] = exact_match(outputs, references)
        scores["bleu"], scores["bleu_signature"] = bleu(outputs, references)
    return scores
