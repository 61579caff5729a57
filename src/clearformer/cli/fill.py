"""`clearformer fill`"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from clearformer.api.display import say
from clearformer.cli.arguments import input_lines, parse
from clearformer.config import EngineName
from clearformer.errors import PromptError
from clearformer.runs.checkpoint import CheckpointName


@dataclass(frozen=True)
class Fill:
    """Replace each <mask> by its likeliest token, all of a text at once and independently."""

    run: Positional[Path]
    """the run's folder"""
    prompt: tuple[str, ...] = ()
    """texts with <mask>; by default, the lines of standard input"""
    top: int = 1
    """if more than 1: also print this many of the likeliest tokens of each mask"""
    engine: EngineName | None = None
    """the engine to compute with; by default the one that trained the run"""
    checkpoint: CheckpointName = "last"
    """best: the weights with the lowest validation loss, which --train.patience keeps"""
    json: Annotated[bool, arg(name="json")] = False
    """print a JSON list of objects with `prompt`, `text`, `masks` and `unknown`"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Fill, arguments, "fill")
    from clearformer.api.run import open_run

    if options.top < 1:
        raise PromptError(f"--top must be 1 or more, found {options.top}; raise it")
    run = open_run(options.run, engine=options.engine, checkpoint=options.checkpoint)
    run.require("bert")
    prompts = list(options.prompt) or list(input_lines())
    if not prompts:
        raise PromptError("a text with <mask> was expected, found none; give --prompt TEXT or lines on standard input")
    filled = run.fillings(prompts, options.top)
    if unknown := sum(each.unknown for each in filled):
        say(f"{unknown} tokens of the input were not in the vocabulary and read as <unk>")
    if options.json:
        results = zip(prompts, map(dataclasses.asdict, filled), strict=True)
        print(json.dumps([{"prompt": prompt} | result for prompt, result in results]))
        return 0
    for each in filled:
        print(each.text)
        for number, candidates in enumerate(each.masks if options.top > 1 else [], 1):
            for candidate in candidates:
                print(f"  mask {number}  {candidate.probability:>7.2%}  {candidate.token!r}")
    return 0
