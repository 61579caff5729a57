"""Train a recipe and evaluate it on its test split, compared with the untrained model and a trivial baseline.

    python benchmarks/quality/recipe.py multi30k --beam 5 --length-penalty 1 [--seed 1] [--data FOLDER] [--out RUN]

Settings were chosen on the validation split. `seconds` is the training time with validation and checkpoints, on an
otherwise idle machine; `processor_seconds` is summed over threads. Results and the loss curve go to `results/`.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import torch
from common import changed, show, write

from clearformer.data.corpora import Split
from clearformer.evaluation.evaluate import evaluate
from clearformer.generation.beam import Beam
from clearformer.recipes import RECIPES
from clearformer.runs import metrics
from clearformer.runs.folder import create_folder
from clearformer.runs.session import train_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--beam", type=int, default=1)
    parser.add_argument("--length-penalty", type=float, default=0.6)
    parser.add_argument("--data", nargs="*", default=[], help="the corpus's files; by default they are downloaded")
    parser.add_argument("--start-from", default="", help="a run whose weights this one starts from")
    parser.add_argument("--out", type=Path, help="the run's folder; by default runs/quality/RECIPE-SEED")
    options = parser.parse_args()
    config = changed(RECIPES[options.recipe](), {"train.seed": options.seed})
    config = dataclasses.replace(config, data=tuple(options.data), start_from=options.start_from)
    name = f"{options.recipe}-{options.seed}"
    run = create_folder(options.out or Path("runs/quality") / name, config, print)
    start, processor_start = time.perf_counter(), time.process_time()
    for progress in train_run(run):
        if progress.validation_loss is not None:
            show(f"step {progress.record.step:,}", {"validation_loss": round(progress.validation_loss, 4)})
    times = {
        "seconds": round(time.perf_counter() - start),
        "processor_seconds": round(time.process_time() - processor_start),
        "threads": torch.get_num_threads(),
    }
    split: Split = "test" if run.corpus.test else "validation"
    scores = evaluate(run, split, beam=Beam(options.beam, options.length_penalty)) | times
    del scores["run"]
    show(f"{name}, {split}", scores)
    lines = [line for line in metrics.read(run.metrics) if line["step"] % 50 == 0]
    curve = {key: [line.get(key) for line in lines] for key in ("step", "loss", "validation_loss")}
    write(name, scores | {"curve": curve})


if __name__ == "__main__":
    main()
