"""`clearformer translate`"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from clearformer.api.display import say
from clearformer.cli.arguments import input_lines, parse
from clearformer.config import EngineName
from clearformer.runs.checkpoint import CheckpointName

if TYPE_CHECKING:
    from clearformer.generation.translation import Translation


@dataclass(frozen=True)
class Translate:
    """Translate each line of standard input into a line of standard output; an empty line stays empty."""

    run: Positional[Path]
    """the run's folder"""
    beam: int = 4
    """hypotheses per sentence; 1 is greedy"""
    length_penalty: float = 0.6
    """0 ranks by probability; larger values favour longer translations"""
    n_best: int = 1
    """translations to print per line, best first, as `NUMBER ||| text ||| score`; the first line is number 0"""
    engine: EngineName | Literal["fastest"] = "fastest"
    """the engine to compute with; fastest: C instead of PyTorch if a short test found it faster on this machine"""
    checkpoint: CheckpointName = "last"
    """best: the weights with the lowest validation loss, which --train.patience keeps"""
    json: Annotated[bool, arg(name="json")] = False
    """print a JSON object per line with `source`, `text` and `hypotheses`: `text`, `log_probability` (nats), `score`"""
    cache: bool = True
    """--no-cache recomputes all tokens at each step: the same text, slower"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Translate, arguments, "translate")
    from clearformer.api.run import open_run
    from clearformer.generation.beam import Beam
    from clearformer.generation.translation import BATCH_SIZE

    beam = Beam(options.beam, options.length_penalty, options.n_best)
    run = open_run(options.run, engine=options.engine, checkpoint=options.checkpoint)
    run.require("transformer")
    unknown = number = 0
    for lines in _batches(input_lines(), 1 if sys.stdin.isatty() else BATCH_SIZE):
        unknown += sum(len(run.tokenizer.unknown(line)) for line in lines if line.strip())
        for line, found in zip(lines, run.translations(lines, beam, cached=options.cache), strict=True):
            print(_formatted(options, number, line, found), flush=True)
            number += 1
    if unknown:
        say(f"{unknown} tokens of the input were not in the vocabulary and read as <unk>")
    return 0


def _formatted(options: Translate, number: int, source: str, found: "list[Translation]") -> str:
    if options.json:
        hypotheses = [asdict(one) for one in found]
        return json.dumps({"source": source, "text": found[0].text, "hypotheses": hypotheses})
    if options.n_best == 1:
        return found[0].text
    return "\n".join(f"{number} ||| {one.text} ||| {one.score:.4f}" for one in found)


def _batches(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    group: list[str] = []
    for line in lines:
        group.append(line)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
