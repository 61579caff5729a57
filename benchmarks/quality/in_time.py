"""Quality for time: the loss on unseen text against seconds of training, beside nanoGPT and JoeyNMT.

    python benchmarks/quality/in_time.py tinyshakespeare clearformer --data FOLDER
    python benchmarks/quality/in_time.py tinyshakespeare nanogpt --data FOLDER       with NANOGPT=FOLDER, its source
    python benchmarks/quality/in_time.py multi30k clearformer --data FOLDER --minutes 15
    python benchmarks/quality/in_time.py multi30k joeynmt --data FOLDER --minutes 15
    python benchmarks/quality/in_time.py picture

Both systems have the same tokens, and their losses are nats a token of the whole validation split, without label
smoothing or dropout. Seconds are those of training, validation not counted, on an otherwise idle machine; or both run
at once, on a core each: with `OMP_NUM_THREADS=1` under `taskset -c 0`, and `-c 1`. Each has its own recipe: nanoGPT's
for a CPU, JoeyNMT's as in `in_time_joeynmt.py`. tinyshakespeare's recipes have a number of steps; for Multi30k ours has
as many as fit into the minutes, by the time of the first few. Translations of the 2016 test set are scored at the end,
with a beam of 5. Results go to `results/`, the picture to docs/in-time.svg.
"""

import argparse
import dataclasses
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.pop("OPENBLAS_CORETYPE", None)
sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import changed, write
from peers import OF_PEERS, python_of

from clearformer import recipes
from clearformer.config import Config
from clearformer.evaluation.scores import bleu
from clearformer.generation.beam import Beam, beam_search
from clearformer.models.build import build
from clearformer.runs.folder import RunFolder, create_folder
from clearformer.training.loop import train
from clearformer.training.loss import mean_loss
from clearformer.training.optimizer import make_optimizer

SYSTEMS = {"tinyshakespeare": ("clearformer", "nanogpt"), "multi30k": ("clearformer", "joeynmt")}
POINTS = 20
"""of a curve, about"""
TIMED = 8
"""steps by which the time of a step is found; the first is left out"""
BEAM, ROWS = Beam(size=5, length_penalty=1.0), 32


class Curve:
    """Losses of the validation split, and the seconds of training before each."""

    def __init__(self) -> None:
        self.points: list[dict[str, float]] = []
        self.seconds, self._since = 0.0, time.perf_counter()

    def started(self) -> None:
        self._since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The clock stands while the loss is measured."""
        self.seconds += time.perf_counter() - self._since
        yield
        self.started()

    def add(self, step: int, loss: float) -> None:
        self.points.append({"step": step, "seconds": round(self.seconds, 1), "loss": round(loss, 4)})
        print(f"step {step:,}  {self.seconds:.1f} s  loss {loss:.4f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=(*SYSTEMS, "picture"))
    parser.add_argument("system", nargs="?", choices=sorted({name for names in SYSTEMS.values() for name in names}))
    parser.add_argument("--data", nargs="*", default=[], help="the corpus's files; by default they are downloaded")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, for multi30k")
    options = parser.parse_args()
    if options.task == "picture":
        importlib.import_module("in_time_page").write_picture()
        return 0
    if options.system not in SYSTEMS[options.task]:
        parser.error(f"for {options.task}, one of {', '.join(SYSTEMS[options.task])} was expected")
    python = python_of(options.system)
    if options.system in OF_PEERS and Path(sys.prefix) != Path(python).parents[1]:
        source = {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
        return subprocess.run([python, *sys.argv], env=os.environ | source).returncode
    recipe = recipes.tinyshakespeare_minute() if options.task == "tinyshakespeare" else recipes.multi30k()
    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(recipe, data=tuple(options.data))
        run = create_folder(Path(folder) / "run", config, print)
        if options.system == "clearformer":
            found = clearformer(run, options.minutes if options.task == "multi30k" else None)
        else:
            found = importlib.import_module(f"in_time_{options.system}").run(run, Curve(), 60 * options.minutes)
    write(f"in-time-{options.task}-{options.system}", found)
    return 0


def clearformer(run: RunFolder, minutes: float | None) -> dict[str, Any]:
    """The recipe of the run, or as many of its steps as fit into the minutes."""
    config = run.config if minutes is None else fitted(run, 60 * minutes)
    steps, batches, validation = config.train.steps, run.batches("train"), run.batches("validation")
    model = build(config.model, config.train.seed)
    curve = Curve()
    for record in train(model, make_optimizer(model, config.train), batches, config.train):
        if record.step % max(1, steps // POINTS) == 0 or record.step == steps:
            with curve.paused():
                curve.add(record.step, mean_loss(model, validation.in_order()))
    found = {"curve": curve.points, "steps": steps, "parameters": sum(each.numel() for each in model.parameters())}
    if minutes is None:
        return found
    model.eval()
    sources = [source for _, (source, _) in run.pairs("test")]
    found_of = [beam_search(model, sources[first : first + ROWS], BEAM) for first in range(0, len(sources), ROWS)]
    return found | scored(run, [hypotheses[0].tokens for batch in found_of for hypotheses in batch])


def fitted(run: RunFolder, seconds: float) -> Config:
    """The run's configuration with as many steps as it makes in so many seconds."""
    model = build(run.config.model, run.config.train.seed)
    records = train(model, make_optimizer(model, run.config.train), run.batches("train"), run.config.train)
    next(records)
    started = time.perf_counter()
    for _ in islice(records, TIMED):
        pass
    return changed(run.config, {"train.steps": round(seconds * TIMED / (time.perf_counter() - started))})


def scored(run: RunFolder, translations: Sequence[Sequence[int]]) -> dict[str, Any]:
    """sacreBLEU of translations of the test split, as token ids."""
    score, signature = bleu(
        [run.tokenizer.decode(tokens) for tokens in translations], [pair[1] for pair, _ in run.pairs("test")]
    )
    print(f"sacreBLEU {score:.1f}", flush=True)
    return {"bleu": round(score, 1), "signature": signature}


if __name__ == "__main__":
    sys.exit(main())
