"""What every engine's training loop shares: which batches a step reads, at what rate, and what is said of it.

    for record in updates(step, explain, batches, config, d_model): ...

All randomness of step n is a function of (seed, n), so a loop that starts at n goes on exactly as one that came there.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from clearformer.config import TrainConfig
from clearformer.data.batches import Batch, Batches
from clearformer.data.labelled import LabelledBatch
from clearformer.errors import TrainingError
from clearformer.training.schedule import learning_rate

Step = Callable[[list[Batch], float, int], tuple[float, float]]
"""from batches, learning rate and a seed to the loss and the gradient's norm; the update is left out if one of the two
is not finite"""
Explain = Callable[[list[Batch], int], str]
"""from batches and the number of the first to what is not finite there: "the output of decoder.norm on batch 7\""""


@dataclass(frozen=True)
class Record:
    """What one update did."""

    step: int
    """updates made so far; the first record says 1"""
    loss: float
    """nats a predicted token before the update, label smoothing included"""
    gradient_norm: float
    """before clipping"""
    learning_rate: float
    tokens: int
    """tokens read in this step, padding included"""
    tokens_per_second: float


def objective(model: Any, config: TrainConfig) -> Callable[..., Any]:
    """What gives the logits that the loss is of: the model or, with `token_loss`, what each of its tokens says."""
    return model.token_logits if config.token_loss else model


def asked(batch: Batch, config: TrainConfig) -> Batch:
    """The batch with the targets of these logits."""
    if not config.token_loss:
        return batch
    assert isinstance(batch, LabelledBatch), "a configuration asks it of a classifier alone"
    return batch.with_token_targets()


def updates(
    step: Step, explain: Explain, batches: Batches, config: TrainConfig, d_model: int, start: int = 0
) -> Iterator[Record]:
    """Update number `start` + 1 and so on, up to `config.steps`.

    Raises TrainingError instead of an update whose loss or gradient is not finite.
    """
    for number in range(start + 1, config.steps + 1):
        began = time.perf_counter()
        first = (number - 1) * config.accumulation
        micro_batches = [asked(batches.batch(first + offset), config) for offset in range(config.accumulation)]
        rate = learning_rate(config.schedule, number, config.steps, d_model)
        seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
        loss, norm = step(micro_batches, rate, seed)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"a finite loss and gradient were expected at step {number}, but {explain(micro_batches, first)} is "
                "not finite; "
                "lower the learning rate or the clip, and resume from the last checkpoint"
            )
        tokens = sum(batch.num_tokens for batch in micro_batches)
        yield Record(number, loss, norm, rate, tokens, tokens / (time.perf_counter() - began))
