"""One of the processes that scaling.py starts by torchrun: seconds of training steps and of all-reduces, as JSON."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from quiet import Clock

from clearformer.config import GPTConfig, TrainConfig
from clearformer.data.batches import TextBatch
from clearformer.models.build import build
from clearformer.models.initial import count_parameters
from clearformer.training.loop import Objective
from clearformer.training.processes import Processes, joined, share

MODEL = GPTConfig(vocab_size=65, context=256, d_model=384, num_heads=6, num_layers=6, d_ff=1536, dropout=0.0)
ROWS = 2
"""of each process"""
SIZES = tuple(4**power for power in range(8, 14))
"""bytes of the all-reduces: 64 KiB to 64 MiB"""
SAMPLES, QUIETEST = 9, 3
"""how often a time is taken; the median is of those in which others used the processors least"""
LEAST = 0.2
"""seconds of a sample: the system counts a processor's time in hundredths of a second"""


class Timer:
    """Times what all processes do together, until the slowest has done it."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.others: list[float] = []
        """the share of the machine that others had, at most, in a sample that counts; of each time taken"""

    def seconds(self, work: Callable[[], object]) -> float:
        self.sample(work, 2)
        repeats = int(self.processes.sums(max(1.0, LEAST / self.sample(work, 1)[1]))[0] / self.processes.size)
        quietest = sorted(self.sample(work, repeats) for _ in range(SAMPLES))[:QUIETEST]
        self.others.append(round(quietest[-1][0], 3))
        return statistics.median(seconds for _, seconds in quietest)

    def sample(self, work: Callable[[], object], repeats: int) -> tuple[float, float]:
        """The share that others had, and the seconds of one repeat."""
        self.processes.largest(0)
        clock, own, start = Clock.now(), time.process_time(), time.perf_counter()
        for _ in range(repeats):
            work()
        self.processes.largest(0)
        seconds = time.perf_counter() - start
        return clock.others(self.processes.sums(time.process_time() - own)[0]), seconds / repeats


def measure(processes: Processes) -> dict[str, Any]:
    config = TrainConfig(parallel="ddp", device="cpu")
    tokens = np.random.default_rng(0).integers(0, MODEL.vocab_size, (ROWS * processes.size, MODEL.context + 1))
    batch = TextBatch(tokens[:, :-1], tokens[:, 1:])
    model = build(MODEL, 0)
    processes.distribute(model, config)
    objective, own = processes.wrap(Objective(model, config), batch), share(batch, processes)
    timer = Timer(processes)

    def step(now: bool) -> None:
        with processes.exchange(objective, now):
            objective(own).backward()

    found: dict[str, Any] = {"parameters": count_parameters(MODEL), "tokens": own.num_tokens}
    found |= {"compute": timer.seconds(lambda: step(False)), "step": timer.seconds(lambda: step(True))}
    if processes.size > 1:
        exchanges = {size: partial(dist.all_reduce, torch.zeros(size // 4)) for size in SIZES}
        found["all_reduce"] = {size: timer.seconds(exchange) for size, exchange in exchanges.items()}
    return found | {"others": max(timer.others)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as together:
        result = measure(together)
    if together.rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(result), encoding="utf-8")
