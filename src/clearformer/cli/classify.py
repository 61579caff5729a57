"""`clearformer classify`"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from clearformer.api.display import say
from clearformer.cli.arguments import input_lines, parse
from clearformer.config import EngineName
from clearformer.errors import PromptError
from clearformer.runs.checkpoint import CheckpointName


@dataclass(frozen=True)
class Classify:
    """Print `label TAB probability` for each line of standard input; an empty line stays empty.

    A tab in a line separates texts that are read together.
    """

    run: Positional[Path]
    """the run's folder"""
    text: tuple[str, ...] = ()
    """texts to classify, instead of standard input"""
    top: int = 1
    """how many of the likeliest classes to print, best first, separated by tabs"""
    engine: EngineName | None = None
    """the engine to compute with; by default the one that trained the run"""
    checkpoint: CheckpointName = "last"
    """best: the weights with the lowest validation loss, which --train.patience keeps"""
    json: Annotated[bool, arg(name="json")] = False
    """print one JSON object per line with `text`, `label` and all `probabilities`; null for an empty line"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Classify, arguments, "classify")
    from clearformer.api.run import open_run
    from clearformer.generation.classification import BATCH_SIZE

    if options.top < 1:
        raise PromptError(f"--top must be 1 or more, found {options.top}; raise it")
    run = open_run(options.run, engine=options.engine, checkpoint=options.checkpoint)
    run.require("classifier")
    source: Iterator[str] = iter(options.text) if options.text else input_lines()
    context, count, truncated, unknown = run.model.config.context, 0, 0, 0
    while lines := list(islice(source, 1 if not options.text and sys.stdin.isatty() else BATCH_SIZE)):
        nonempty = [line for line in lines if line.strip()]
        result = run.classifications(nonempty)
        count, truncated, unknown = count + len(nonempty), truncated + result.truncated, unknown + result.unknown
        found = iter(result.probabilities.tolist())
        for line in lines:
            pairs = zip(next(found), run.classes, strict=True) if line.strip() else ()
            ranked = sorted(pairs, key=lambda pair: -pair[0])
            print(_as_json(line, ranked) if options.json else _as_text(ranked[: options.top]), flush=True)
    if truncated:
        say(f"{truncated:,} of {count:,} lines are too long for the context of {context} tokens: truncated")
    if unknown:
        say(f"{unknown:,} tokens of the input were not in the vocabulary and read as <unk>")
    return 0


def _as_text(ranked: list[tuple[float, str]]) -> str:
    return "\t".join(f"{label}\t{probability:.4f}" for probability, label in ranked)


def _as_json(line: str, ranked: list[tuple[float, str]]) -> str:
    if not ranked:
        return "null"
    probabilities = {label: probability for probability, label in ranked}
    return json.dumps({"text": line, "label": ranked[0][1], "probabilities": probabilities})
