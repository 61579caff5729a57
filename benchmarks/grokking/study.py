"""Steps until addition modulo 113 is memorised and generalised: three fractions, three weight decays, three seeds.

    python benchmarks/grokking/study.py --out results/study.json

A run is `grok` with other settings, until its held-out loss is below 0.1. The file is written after every run; runs
that it holds already are not repeated. `figure.py` draws it.
"""

import argparse
import dataclasses
import itertools
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import clearformer
from clearformer.config import Config
from clearformer.recipes import grok
from clearformer.runs import metrics

FRACTIONS, DECAYS, SEEDS = (0.5, 0.6, 0.7), (0.5, 1.0, 2.0), (1, 2, 3)
THRESHOLD = 0.1
"""a loss, in nats: memorised when the training loss is below it, generalised when the held-out loss is"""
STEPS = 20_000
EVERY = 25
"""steps between held-out losses"""
POINTS = 60
"""of a curve, at even distances on a logarithmic axis"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "study.json")
    out = parser.parse_args().out
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    found.pop("machine", None)
    for seed, fraction, decay in itertools.product(SEEDS, reversed(FRACTIONS), reversed(DECAYS)):
        key = f"{fraction} {decay} {seed}"
        if key not in found:
            found[key] = {"fraction": fraction, "weight_decay": decay, "seed": seed} | measure(fraction, decay, seed)
            print(key, {name: value for name, value in found[key].items() if name != "curve"}, flush=True)
            write(out, found)


def write(out: Path, found: dict[str, Any]) -> None:
    machine = {"processor": processor(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in ({"machine": machine} | found).items())
    out.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def processor() -> str:
    """The model's name where Linux tells it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def configuration(fraction: float, decay: float, seed: int) -> Config:
    config = grok()
    assert config.modular is not None
    train = dataclasses.replace(
        config.train,
        steps=STEPS,
        seed=seed,
        weight_decay=decay,
        validate_every=EVERY,
        log_every=1,
        stop_below=THRESHOLD,
        milestones=0,
        checkpoint_every=STEPS,
    )
    modular = dataclasses.replace(config.modular, train_fraction=fraction)
    return dataclasses.replace(config, modular=modular, train=train)


def measure(fraction: float, decay: float, seed: int) -> dict[str, Any]:
    """Train once; None stands for a threshold that was not reached."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = clearformer.train(configuration(fraction, decay, seed), out=Path(folder) / "run")
        lines = metrics.read(run.metrics)
    memorised = next((line["step"] for line in lines if line["loss"] < THRESHOLD), None)
    validated = [line for line in lines if "validation_loss" in line]
    generalised = next((line["step"] for line in validated if line["validation_loss"] < THRESHOLD), None)
    chosen = {round(len(lines) ** (index / (POINTS - 1))) for index in range(POINTS)}
    return {
        "memorised": memorised,
        "generalised": generalised,
        "seconds": round(time.perf_counter() - started, 1),
        "curve": {
            "train": [[line["step"], float(f"{line['loss']:.3g}")] for line in lines if line["step"] in chosen],
            "held_out": thinned([[line["step"], float(f"{line['validation_loss']:.3g}")] for line in validated]),
        },
    }


def thinned(points: list[Any]) -> list[Any]:
    """About POINTS of them, the last among them."""
    return points[:: -1 * max(1, len(points) // POINTS)][::-1]


if __name__ == "__main__":
    main()
