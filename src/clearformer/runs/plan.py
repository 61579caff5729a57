"""What training will cost: parameters, tokens, memory, and time, estimated from a few trial steps.

memory = weights, gradients and the optimizer's two moments      4 bytes each, 16 per parameter
       + the peak of activations and temporary buffers of a step
"""

import dataclasses
import math
import statistics
import time
from dataclasses import dataclass
from typing import Any

from clearformer.config import TrainConfig
from clearformer.data.batches import Batches
from clearformer.engine import engine_of
from clearformer.models.initial import count_parameters
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import untrained_model
from clearformer.training.steps import training_batch

WARMUP_STEPS, TIMED_STEPS = 2, 5
"""trial steps; the first are slower and not timed"""
MAX_TRIAL_SECONDS = 5.0
"""no further trial step is started after this time"""
MAX_COUNTED_BATCHES = 500
"""batches whose sizes are counted, at most; the others are extrapolated"""
UNITS = (("days", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True)
class Plan:
    """The expected cost."""

    parameters: int
    tokens: int
    """read in training, padding included; extrapolated from at most MAX_COUNTED_BATCHES batches of the first epoch"""
    epochs: float
    memory: int
    """bytes, without those of Python and PyTorch; measured on a CPU: 0.9 to 1.1 times as much, in bfloat16 1.5 times"""
    seconds: float
    """without validation"""

    def __str__(self) -> str:
        unit, length = next((unit for unit in UNITS if self.seconds >= 2 * unit[1]), UNITS[-1])
        return (
            f"{self.parameters:,} parameters; {self.tokens:,} tokens, {self.epochs:.1f} times the training data; "
            f"about {math.ceil(self.memory / 1e6):,} MB of memory beside Python's own, and "
            f"{max(1, round(self.seconds / length))} {unit}"
        )


def plan_run(run: RunFolder) -> Plan:
    """Try a few steps on a temporary model; the run does not change. Raises whatever these steps raise."""
    config, batches = run.config.train, run.batches("train")
    reads = config.steps * config.accumulation
    sizes = [
        batches.batch(number).num_tokens for number in range(min(reads, batches.batches_per_epoch, MAX_COUNTED_BATCHES))
    ]
    largest = training_batch(batches.batch(sizes.index(max(sizes))), config)
    tokens = round(statistics.fmean(sizes) * reads)
    model = untrained_model(run)
    rate = _tokens_per_second(model, batches, config)
    parameters = count_parameters(run.config.model)
    memory = 16 * parameters + engine_of(model).step_memory(model, largest, config)
    return Plan(parameters, tokens, reads / batches.batches_per_epoch, memory, tokens / rate)


def _tokens_per_second(model: Any, batches: Batches, config: TrainConfig) -> float:
    """The median training speed of a few steps of one batch each."""
    began, rates = time.perf_counter(), []
    engine, single = engine_of(model), dataclasses.replace(config, accumulation=1)
    for record in engine.train(model, engine.make_optimizer(model, config), batches, single):
        rates.append(record.tokens_per_second)
        if len(rates) == WARMUP_STEPS + TIMED_STEPS or time.perf_counter() - began > MAX_TRIAL_SECONDS:
            break
    return statistics.median(rates[WARMUP_STEPS:] or rates[-1:])
