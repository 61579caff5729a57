"""What a training will cost, said before it begins: parameters, tokens, memory, and time by a few steps tried.

memory = weights, gradients and the optimizer's two averages      4 bytes each, 16 a parameter
       + what a step holds beside these at its height
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
from clearformer.training.steps import asked

WARM_UP, TRIED = 2, 5
"""steps that are made to measure one; the first are slower and not counted"""
LONGEST_TRIAL = 5.0
"""seconds after which no other step is begun"""
COUNTED = 500
"""so many batches are looked at, at most, to know how large they are"""
UNITS = (("days", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True)
class Plan:
    """What is to be expected."""

    parameters: int
    tokens: int
    """that will be read, padding included; by the batches of the first epoch, of which at most COUNTED are counted"""
    epochs: float
    memory: int
    """bytes, beside what Python and PyTorch take themselves; measured, a CPU took 0.9 to 1.1 times as much, in bfloat16
    1.5 times"""
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
    """Try a few steps on a model that is thrown away; the run is left as it is. Raises what these steps raise."""
    config, batches = run.config.train, run.batches("train")
    reads = config.steps * config.accumulation
    sizes = [batches.batch(number).size for number in range(min(reads, batches.batches_per_epoch, COUNTED))]
    largest = asked(batches.batch(sizes.index(max(sizes))), config)
    tokens = round(statistics.fmean(sizes) * reads)
    model = untrained_model(run)
    rate = _tokens_a_second(model, batches, config)
    parameters = count_parameters(run.config.model)
    memory = 16 * parameters + engine_of(model).step_memory(model, largest, config)
    return Plan(parameters, tokens, reads / batches.batches_per_epoch, memory, tokens / rate)


def _tokens_a_second(model: Any, batches: Batches, config: TrainConfig) -> float:
    """How fast training is, by a few steps of one batch each."""
    began, rates = time.perf_counter(), []
    engine, single = engine_of(model), dataclasses.replace(config, accumulation=1)
    for record in engine.train(model, engine.make_optimizer(model, config), batches, single):
        rates.append(record.tokens_per_second)
        if len(rates) == WARM_UP + TRIED or time.perf_counter() - began > LONGEST_TRIAL:
            break
    return statistics.median(rates[WARM_UP:] or rates[-1:])
