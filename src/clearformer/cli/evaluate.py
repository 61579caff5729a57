"""`clearformer evaluate`"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from clearformer.cli.arguments import parse, say
from clearformer.data.corpora import Split


@dataclass(frozen=True)
class Evaluate:
    """Loss and perplexity over a whole split, exact match and BLEU where there are references; beside the untrained."""

    run: Positional[Path]
    """the run's folder"""
    split: Literal["auto", "train", "validation", "test"] = "auto"
    """which part of the data; auto is test, or validation where there is no test"""
    json: Annotated[bool, arg(name="json")] = False
    """print one JSON object"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Evaluate, arguments, "evaluate")
    from clearformer.cli.display import Display
    from clearformer.evaluation import evaluate as evaluation
    from clearformer.runs.folder import open_run

    run = open_run(options.run, say)
    default: Split = "test" if run.corpus.test else "validation"
    split = default if options.split == "auto" else options.split
    with Display("measuring", 1) as display:
        scores = evaluation.evaluate(run, split, lambda what, done, count: display.show(done, what, count))
    if options.json:
        print(json.dumps(scores))
        return 0
    print(f"{run.folder} at step {scores['step']}, on the {split} split\n")
    print(f"{'':<14}{'trained':>12}{'untrained':>12}")
    for name in ("loss", "perplexity", "exact_match", "bleu"):
        if name in scores:
            print(f"{name:<14}{scores[name]:>12.4g}{scores['untrained'][name]:>12.4g}")
    if "bleu_signature" in scores:
        print(f"\nBLEU is sacreBLEU's: {scores['bleu_signature']}")
    return 0
