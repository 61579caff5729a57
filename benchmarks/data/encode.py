"""How fast a text of any size becomes tokens, and how much memory that takes.

    python benchmarks/data/encode.py --megabytes 25 100 1000

For each size, a text is made out of Python's documentation: its lines in random order, one in twenty with a new word.
A process of its own makes a run of it (`create_folder`: survey, tokenizer, tokens), then draws batches. Beside it the
package tokenizers alone encodes the text's first megabytes, in the same batches, and keeps nothing.
Results: encode.json; where other processes share the machine, the time on a core says more than the clock.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np

from clearformer.config import Config, GPTConfig, TrainConfig
from clearformer.data.load import load_corpus
from clearformer.data.pieces import read_pieces
from clearformer.data.tokenizers import Tokenizer
from clearformer.runs.folder import create_folder
from clearformer.runs.tokens import BATCH

RESULTS = Path(__file__).with_suffix(".json")
CHUNK = 20_000_000
"""bytes written at once"""
ALONE = 8_000_000
"""bytes that the package alone encodes"""
DRAWN = 200
"""batches that are drawn"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[25, 100, 1000])
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--tokenizer", choices=("bpe", "word", "character"), default="bpe")
    parser.add_argument("--process", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        path, out = map(Path, options.process)
        print(json.dumps(measure(path, out, options.tokenizer, options.vocab_size)))
        return
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for size in options.megabytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "text.txt"
            make_text(path, size * 1_000_000)
            command = [sys.executable, __file__, "--process", str(path), f"{folder}/run"]
            command += ["--tokenizer", options.tokenizer, "--vocab-size", str(options.vocab_size)]
            row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        found[f"{options.tokenizer}, {size:,} MB"] = row
        print(size, json.dumps(row, indent=2))
        RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def make_text(path: Path, size: int) -> None:
    """Lines of the documentation of Python in random order, one in twenty with a word that is nowhere else."""
    lines = np.array(str(load_corpus("pydocs").train).split("\n"), dtype=object)
    rng = np.random.default_rng(0)
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            chosen = rng.choice(lines, CHUNK // 40)
            new = rng.random(len(chosen)) < 0.05
            words = rng.integers(0, 1 << 40, new.sum())
            chosen[new] = [f"{line} {word:x}" for line, word in zip(chosen[new], words, strict=True)]
            file.write("\n".join(chosen)[:CHUNK] + "\n")
        file.truncate(size)


def measure(path: Path, out: Path, tokenizer: Literal["bpe", "word", "character"], vocab_size: int) -> dict[str, Any]:
    """Seconds, speeds and the peak of memory of a new run, and of tokenizers alone."""
    model = GPTConfig(vocab_size=vocab_size, context=256, d_model=64, num_heads=4, num_layers=2, d_ff=256)
    config = Config("text", model, tokenizer, data=(str(path),), train=TrainConfig(batch_tokens=4096))
    marks: list[tuple[float, float]] = []

    def progress(what: str, *_: int) -> None:
        if what.startswith("encoding"):
            marks.append(clocks())

    before, began = peak(), clocks()
    with patch("clearformer.data.load.LARGE", 0):  # so that any size shows it
        run = create_folder(out, config, lambda words: print(words, file=sys.stderr), progress)
    ended, encoded, batches = clocks(), peak(), run.batches("train")
    for step in range(DRAWN):
        batches.batch(step)
    drawn, after = clocks(), peak()
    count = sum(tokens.ids.size for tokens in run.tokens().values())
    # the first mark is made after the first batch, which may be slower
    seconds, cpu_seconds = (last - first for first, last in zip(marks[0], marks[-1], strict=True))
    megabytes = path.stat().st_size / 1e6
    return {
        "tokens": count,
        "seconds in all": round(ended[0] - began[0], 1),
        "CPU seconds in all": round(ended[1] - began[1], 1),
        "of these survey and tokenizer": round(marks[0][1] - began[1], 1),
        "encoding": speeds(megabytes, count, seconds, cpu_seconds),
        "tokenizers alone": encode_alone(run.tokenizer, path),
        "memory before, MB": round(before),
        "peak of memory, MB": round(encoded),
        "with pages of the mapped tokens that batches were drawn from, MB": round(after),
        "CPU ms to draw a batch": round(1000 * (drawn[1] - ended[1]) / DRAWN, 2),
        "load": [round(each, 1) for each in os.getloadavg()],
        "cores": os.cpu_count(),
    }


def speeds(megabytes: float, tokens: int, seconds: float, cpu_seconds: float) -> dict[str, float]:
    """By the clock, and by the time of all threads on a core, which other processes disturb less."""
    return {
        "MB/s": round(megabytes / seconds, 2),
        "tokens/s": round(tokens / seconds),
        "MB/CPU second": round(megabytes / cpu_seconds, 2),
        "tokens/CPU second": round(tokens / cpu_seconds),
    }


def encode_alone(tokenizer: Tokenizer, path: Path) -> dict[str, float]:
    """The speeds of the package for the first ALONE bytes, without what follows: the ids are not even read."""
    size, count, spent, batch = 0, 0, [0.0, 0.0], list[str]()
    for piece in read_pieces(path):
        batch.append(piece)
        if len(batch) < BATCH:
            continue
        lines = [line for text in batch for line in text.splitlines(keepends=True)]
        began = clocks()
        found = tokenizer.backend.encode_batch_fast(lines, add_special_tokens=False)
        spent = [before + now - start for before, now, start in zip(spent, clocks(), began, strict=True)]
        count += sum(map(len, found))
        size += sum(len(text.encode()) for text in batch)
        batch = []
        if size > ALONE:
            break
    return speeds(size / 1e6, count, *spent)


def clocks() -> tuple[float, float]:
    """Seconds by the clock, and of all threads of this process on a core."""
    return time.perf_counter(), time.process_time()


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
