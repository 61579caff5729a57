"""A step of grokking as `clearformer grok` takes it, beside the same step written straightforwardly, in one process.

    python benchmarks/grokking/speed.py grok-paper --rounds 10

Straightforwardly: the logits of all positions, and the held-out loss after every step in place of every 50th. Blocks of
steps of both alternate. The floor is the time that the step's matrix products take alone, at the rate measured here for
the largest of them. Losses of the two over the first 200 steps are compared, too. Prints one JSON object.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clearformer.config import Config
from clearformer.data.corpora import Split
from clearformer.data.modular import equations, number_tokenizer
from clearformer.engine import open_engine
from clearformer.recipes import RECIPES
from clearformer.runs.splits import make_batches

WARMUP, STEPS = 5, 10
"""steps before the first block, and of a block"""
COMPARED = 200
"""steps whose losses are compared"""
TRIALS = 30
"""products whose median time is taken"""


class Training:
    """A configuration in training: `step` makes an update and returns its loss."""

    def __init__(self, config: Config, dtype: torch.dtype = torch.float32) -> None:
        assert config.modular is not None
        corpus, tokenizer = equations(config.modular, config.train.seed), number_tokenizer(config.modular.modulus)
        batches, self.held_out = (make_batches(config, tokenizer, corpus, split, print) for split in SPLITS)
        self.engine = open_engine("torch")
        self.model = self.engine.make_model(config).to(dtype)
        optimizer = self.engine.make_optimizer(self.model, config.train)
        self.records: Iterator[Any] = self.engine.train(self.model, optimizer, batches, config.train)
        self.rows = batches.batch(0).num_tokens // 3

    def step(self) -> float:
        return float(next(self.records).loss)

    def evaluate(self) -> None:
        self.engine.mean_loss(self.model, self.held_out.in_order())


SPLITS: tuple[Split, ...] = ("train", "validation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=[name for name in RECIPES if name.startswith("grok")])
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    config = RECIPES[options.recipe]()
    plain = dataclasses.replace(config, train=dataclasses.replace(config.train, last_only=False))
    fast, slow = Training(config), Training(plain)
    for training in (fast, slow):
        for _ in range(WARMUP):
            training.step()
        training.evaluate()
    times: dict[str, list[float]] = {"ours": [], "straightforward": []}
    for _ in range(options.rounds):
        steps, evaluation = timed(fast.step, STEPS), timed(fast.evaluate, 1)
        times["ours"].append(steps / STEPS + evaluation / config.train.validate_every)
        times["straightforward"].append((timed(slow.step, STEPS) + timed(slow.evaluate, STEPS)) / STEPS)
    ratios = [slow / fast for fast, slow in zip(times["ours"], times["straightforward"], strict=True)]
    products = operations(config, fast.rows)
    floor = products / product_rate(config, fast.rows)
    ours = statistics.median(times["ours"])
    result = {
        "recipe": options.recipe,
        "threads": torch.get_num_threads(),
        "milliseconds": {name: round(1e3 * statistics.median(values), 1) for name, values in times.items()},
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in sorted(ratios)],
        "gigaflop": round(products / 1e9, 2),
        "floor_milliseconds": round(1e3 * floor, 1),
        "share_of_floor": round(floor / ours, 2),
        "largest_differences": compare(config, plain),
    }
    print(json.dumps(result))


def timed(act: Any, count: int) -> float:
    """Seconds that `count` calls take."""
    started = time.perf_counter()
    for _ in range(count):
        act()
    return time.perf_counter() - started


def operations(config: Config, rows: int) -> float:
    """Of a step's products for each equation, forward and twice backward: attention's output, feed-forward, logits."""
    model = config.model
    D, F, V = model.d_model, model.d_ff, model.vocab_size  # noqa: N806
    return 3 * 2.0 * rows * (D * D + 2 * D * F + D * V)


def product_rate(config: Config, rows: int) -> float:
    """Operations a second of [rows, D] times [D, F]."""
    a, b = torch.randn(rows, config.model.d_model), torch.randn(config.model.d_model, config.model.d_ff)
    out = a @ b
    seconds = [timed(lambda: torch.mm(a, b, out=out), 1) for _ in range(TRIALS)]
    return 2.0 * a.numel() * b.shape[1] / statistics.median(seconds)


def compare(fast: Config, plain: Config) -> dict[str, float]:
    """The largest relative difference of two losses over the first COMPARED steps, by what differs.

    Training amplifies rounding, so that float32 against float64 is the measure of what is the same to rounding.
    """
    settings = [(config, dtype) for config in (fast, plain) for dtype in (torch.float32, torch.float64)]
    single, double, plain_single, plain_double = (losses(Training(*setting)) for setting in settings)
    pairs = {
        "ours and straightforward, float32": (single, plain_single),
        "straightforward, float32 and float64": (plain_single, plain_double),
        "ours and straightforward, float64": (double, plain_double),
    }
    return {name: float(f"{(abs(one - other) / other).max():.2g}") for name, (one, other) in pairs.items()}


def losses(training: Training) -> NDArray[np.float64]:
    return np.array([training.step() for _ in range(COMPARED)])


if __name__ == "__main__":
    main()
