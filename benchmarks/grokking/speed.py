"""A step of grokking as `clearformer grok` takes it, beside the same step written straightforwardly, in one run.

    env -u OPENBLAS_CORETYPE python benchmarks/grokking/speed.py grok-paper --rounds 6

Straightforwardly: the logits of all positions, PyTorch's AdamW as it comes, and the held-out loss after every step in
place of every 50th. Each of the two is a process of its own; blocks of steps alternate, at the start of training and
once all equations are memorised. The floor is the time that the step's matrix products take alone, at the rate measured
here for the largest of them; beside the ratio of times stands that of operations. The losses of the first 200 steps are
compared, too. Prints one JSON object.
"""

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from clearformer.config import Config
from clearformer.data.batches import Batches
from clearformer.data.modular import equations, number_tokenizer
from clearformer.engine import open_engine
from clearformer.recipes import RECIPES
from clearformer.runs.splits import make_batches
from clearformer.training.schedule import learning_rate

STARTS = {"start": 5, "memorised": 400}
"""steps before the first block of each part"""
COMPARED = 200
"""steps whose losses are compared"""
TRIALS = 30
"""products whose median time is taken"""


class Ours:
    """A configuration in training: `step` makes an update and returns its loss."""

    block = 50
    """steps between two held-out losses"""

    def __init__(self, config: Config, dtype: torch.dtype = torch.float32) -> None:
        batches, self.held_out = splits(config)
        self.engine, self.taken = open_engine("torch"), 0
        self.model = self.engine.make_model(config).to(dtype)
        optimizer = self.engine.make_optimizer(self.model, config.train)
        self.records: Iterator[Any] = self.engine.train(self.model, optimizer, batches, config.train)

    def step(self) -> float:
        self.taken += 1
        loss = float(next(self.records).loss)
        if self.taken % self.block == 0:
            self.engine.mean_loss(self.model, self.held_out.in_order())
        return loss


class Straightforward:
    """The same training, with nothing saved."""

    block = 10

    def __init__(self, config: Config, dtype: torch.dtype = torch.float32) -> None:
        self.equations, self.held_out = map(tensors, splits(config))
        self.config, self.taken = config, 0
        self.model = open_engine("torch").make_model(config).to(dtype)
        matrices = [weight for weight in self.model.parameters() if weight.dim() > 1]
        vectors = [weight for weight in self.model.parameters() if weight.dim() < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": config.train.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            betas=(config.train.beta1, config.train.beta2),
            eps=config.train.epsilon,
        )

    def step(self) -> float:
        self.taken += 1
        train = self.config.train
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(train.schedule, self.taken, train.steps, self.config.model.d_model)
        loss = self.loss(*self.equations)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.loss(*self.held_out).item()
        return loss.item()

    def loss(self, tokens: Tensor, answers: Tensor) -> Tensor:
        return F.cross_entropy(self.model(tokens)[:, -1].double(), answers)


KINDS: dict[str, Callable[..., Any]] = {"ours": Ours, "straightforward": Straightforward}


def splits(config: Config) -> tuple[Batches, Batches]:
    assert config.modular is not None
    corpus, tokenizer = equations(config.modular, config.train.seed), number_tokenizer(config.modular.modulus)
    train, held_out = (make_batches(config, tokenizer, corpus, split, print) for split in ("train", "validation"))
    return train, held_out


def tensors(batches: Batches) -> tuple[Tensor, Tensor]:
    """All equations, and their answers."""
    parts = [(torch.from_numpy(part.inputs[0]), torch.from_numpy(part.targets[:, -1])) for part in batches.in_order()]
    tokens, answers = zip(*parts, strict=True)
    return torch.cat(tokens), torch.cat(answers)


class Worker:
    """A process that trains when it is asked to."""

    def __init__(self, kind: str, recipe: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        context.Process(target=serve, args=(theirs, kind, recipe), daemon=True).start()

    def seconds(self, step: int = 0) -> float:
        """The seconds a step of all steps until `step`, or of one block."""
        self.connection.send(step)
        return float(self.connection.recv())


def serve(connection: Connection, kind: str, recipe: str) -> None:
    training = KINDS[kind](RECIPES[recipe]())
    for step in iter(connection.recv, None):
        count = step - training.taken if step else training.block
        connection.send(timed(training.step, count) / count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=[name for name in RECIPES if name.startswith("grok")])
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    config = RECIPES[options.recipe]()
    rows, held_out = (len(tensors(split)[0]) for split in splits(config))
    products = operations(config, rows)
    floor = products / product_rate(config, rows)
    result: dict[str, Any] = {
        "recipe": options.recipe,
        "threads": torch.get_num_threads(),
        "gigaflop": round(products / 1e9, 2),
        "floor_milliseconds": round(1e3 * floor, 1),
        "more_operations_straightforwardly": round(straightforward_operations(config, rows, held_out) / products, 2),
    }
    workers = {kind: Worker(kind, options.recipe) for kind in KINDS}
    for part, start in STARTS.items():
        for worker in workers.values():
            worker.seconds(start)
        rounds = [{kind: worker.seconds() for kind, worker in workers.items()} for _ in range(options.rounds)]
        ratios = sorted(times["straightforward"] / times["ours"] for times in rounds)
        medians = {kind: statistics.median(times[kind] for times in rounds) for kind in KINDS}
        result[part] = {
            "milliseconds": {kind: round(1e3 * seconds, 1) for kind, seconds in medians.items()},
            "ratio": round(statistics.median(ratios), 2),
            "ratios": [round(ratio, 2) for ratio in ratios],
            "share_of_floor": round(floor / medians["ours"], 2),
        }
    for worker in workers.values():
        worker.connection.send(None)
    print(json.dumps(result | {"largest_differences": compare(config)}))


def timed(act: Callable[[], object], count: int) -> float:
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


def straightforward_operations(config: Config, rows: int, held_out: int) -> float:
    """The same for all positions, with queries, keys and values, and of the held-out equations forward, too."""
    model = config.model
    D, F, V, T = model.d_model, model.d_ff, model.vocab_size, model.context  # noqa: N806
    return (3 * rows + held_out) * T * 2.0 * (4 * D * D + 2 * D * F + D * V)


def product_rate(config: Config, rows: int) -> float:
    """Operations a second of [rows, D] times [D, F]."""
    a, b = torch.randn(rows, config.model.d_model), torch.randn(config.model.d_model, config.model.d_ff)
    out = a @ b
    seconds = [timed(lambda: torch.mm(a, b, out=out), 1) for _ in range(TRIALS)]
    return 2.0 * a.numel() * b.shape[1] / statistics.median(seconds)


def compare(config: Config) -> dict[str, float]:
    """The largest relative difference of two losses over the first COMPARED steps, by what differs.

    Training amplifies rounding, so that float32 against float64 is the measure of what is the same to rounding.
    """
    single, double, plain_single, plain_double = (
        losses(kind(config, dtype)) for kind in KINDS.values() for dtype in (torch.float32, torch.float64)
    )
    pairs = {
        "ours and straightforward, float32": (single, plain_single),
        "straightforward, float32 and float64": (plain_single, plain_double),
        "ours and straightforward, float64": (double, plain_double),
    }
    return {name: float(f"{(abs(one - other) / other).max():.2g}") for name, (one, other) in pairs.items()}


def losses(training: Ours | Straightforward) -> NDArray[np.float64]:
    return np.array([training.step() for _ in range(COMPARED)])


if __name__ == "__main__":
    main()
