"""How start-up, memory and time grow with a GPT's width, depth, context, vocabulary and batch, one of them at a time.

    python benchmarks/speed/growth.py

Every point is a process of its own. `training` is a step of the project's own loop in float32; `generation` reads a
prompt and writes tokens up to the end of the context, by PyTorch and by the engine in C. Start-up is from the process
to the end of the first step or the first token; memory is the most that the process ever had; times are the least of
several. Results go to results/PROCESSOR.json, and from there to docs/speed.md and its picture.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any

import numpy as np
from bench import RESULTS, processor, slug, write
from quiet import wait_until_quiet
from systems.clearformer import make_model, training_of

from clearformer.config import EngineName, GPTConfig
from clearformer.engine import engine_of

BASE = {"width": 256, "depth": 4, "context": 256, "vocabulary": 4096, "batch": 4}
AXES = {
    "width": (64, 128, 256, 512, 1024),
    "depth": (1, 2, 4, 8, 16),
    "context": (64, 256, 1024, 4096),
    "vocabulary": (256, 1024, 4096, 16384, 65536),
    "batch": (1, 4, 16, 64),
}
HEAD = 64
"""width of a head"""
WORKS: dict[str, EngineName] = {"training torch": "torch", "generation torch": "torch", "generation c": "c"}
WRITTEN = 32
"""tokens that are generated, at the end of the context"""
RUNS = 3
"""of which the least counts"""
MEGABYTE = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help=f"of {', '.join(WORKS)}, with * for anything")
    parser.add_argument("--point", nargs=3, metavar=("WORK", "SETTINGS", "LAUNCHED"), help="print this one alone")
    options = parser.parse_args()
    if options.point:
        work, settings, launched = options.point
        print(json.dumps(point(work, json.loads(settings), float(launched))))
        return
    path = RESULTS / f"{slug(processor())}.json"
    saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"comparisons": {}}
    works = saved.get("growth", {}).get("works", {})
    for work in WORKS:
        if fnmatch(work, options.only):
            works[work] = {axis: [run(work, axis, value) for value in values] for axis, values in AXES.items()}
    saved["growth"] = {"base": BASE, "written": WRITTEN, "works": works}
    write(path, saved)


def run(work: str, axis: str, value: int) -> dict[str, float]:
    """A point in a process of its own."""
    wait_until_quiet()
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"}
    command = [sys.executable, __file__, "--point", work, json.dumps(BASE | {axis: value}), str(time.time())]
    answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found = {axis: value} | json.loads(answer.stdout.splitlines()[-1])
    print(work, json.dumps(found), flush=True)
    return found


def point(work: str, settings: dict[str, int], launched: float) -> dict[str, float]:
    """One point, in a process that began at `launched`: seconds, and memory in MB."""
    width, context, batch = settings["width"], settings["context"], settings["batch"]
    config = replace(
        GPTConfig(dropout=0.0, positions="rotary"),
        vocab_size=settings["vocabulary"],
        context=context,
        d_model=width,
        num_heads=width // HEAD,
        num_layers=settings["depth"],
        d_ff=4 * width,
    )
    rng = np.random.default_rng(1)
    if work.startswith("training"):
        windows = rng.integers(4, config.vocab_size, (batch, context + 1))
        step = training_of(config, windows, "float32", WORKS[work]).run
        started_up = time.time() - launched
        found = {"step": min(timed(step) for _ in range(RUNS))}
    else:
        prompts = rng.integers(4, config.vocab_size, (batch, context - WRITTEN)).tolist()
        model = make_model(config, WORKS[work])
        write_tokens(model, prompts, 1)
        started_up = time.time() - launched
        runs = [write_tokens(model, prompts, WRITTEN) for _ in range(RUNS)]
        found = {
            "first token": min(seconds[0] for seconds in runs),
            "token": min(statistics.median(seconds[1:]) for seconds in runs),
        }
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found |= {"start": started_up, "memory": used / MEGABYTE}
    return {name: float(f"{value:.3g}") for name, value in found.items()}


def timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def write_tokens(model: Any, prompts: list[list[int]], count: int) -> list[float]:
    """The seconds that each of `count` tokens after each prompt takes, all rows together."""
    decoder, seconds = engine_of(model).make_decoder(model, prompts, cached=True), []
    for _ in range(count):
        started = time.perf_counter()
        decoder.append(decoder.next_logits().argmax(-1).tolist())
        seconds.append(time.perf_counter() - started)
    return seconds


if __name__ == "__main__":
    main()
