"""The training loop of every engine: batches, learning rate and seed of each step, and its record.

    for record in updates(step, explain, batches, config, d_model): ...

All randomness of step n is a function of (seed, n), so a loop that starts at n
repeats the rest of a longer one exactly.
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
"""make an update on micro-batches, with a learning rate and a seed, unless loss or gradient norm is not finite; return
both"""
Explain = Callable[[list[Batch], int], str]
"""name what is not finite in micro-batches, given the number of the first: "the output of decoder.norm on batch 7\""""


@dataclass(frozen=True)
class Record:
    """The result of one update."""

    step: int
    """counted from 1"""
    loss: float
    """nats per predicted token before the update, with label smoothing"""
    gradient_norm: float
    """before clipping"""
    learning_rate: float
    tokens: int
    """tokens read in this step, padding included"""
    tokens_per_second: float


def training_forward(model: Any, config: TrainConfig) -> Callable[..., Any]:
    """The forward pass of training: the model's own or, with `token_loss`, a classifier's logits of each token."""
    return model.token_logits if config.token_loss else model


def training_batch(batch: Batch, config: TrainConfig) -> Batch:
    """The batch with targets for the logits of `training_forward`."""
    if not config.token_loss:
        return batch
    assert isinstance(batch, LabelledBatch), "the configuration allows token_loss for classifiers only"
    return batch.with_token_targets()


def updates(
    step: Step, explain: Explain, batches: Batches, config: TrainConfig, d_model: int, start: int = 0
) -> Iterator[Record]:
    """Make updates `start` + 1 to `config.steps`, and yield a record after each.

    Raises TrainingError before an update whose loss or gradient is not finite.
    """
    for number in range(start + 1, config.steps + 1):
        start_time = time.perf_counter()
        first = (number - 1) * config.accumulation
        micro_batches = [training_batch(batches.batch(first + offset), config) for offset in range(config.accumulation)]
        rate = learning_rate(config.schedule, number, config.steps, d_model)
        seed = int(np.random.SeedSequence([config.seed, number]).generate_state(1)[0])
        loss, norm = step(micro_batches, rate, seed)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingError(
                f"a finite loss and gradient were expected at step {number}, but {explain(micro_batches, first)} is "
                "not finite; lower the learning rate or the clip, and resume from the last checkpoint"
            )
        tokens = sum(batch.num_tokens for batch in micro_batches)
        yield Record(number, loss, norm, rate, tokens, tokens / (time.perf_counter() - start_time))
