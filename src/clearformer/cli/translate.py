"""`clearformer translate`"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from clearformer.cli.arguments import input_lines, parse, say
from clearformer.config import EngineName

if TYPE_CHECKING:
    from clearformer.generation.translation import Translation


@dataclass(frozen=True)
class Translate:
    """Translate each line of standard input into a line of standard output; an empty line stays empty."""

    run: Positional[Path]
    """the run's folder"""
    beam: int = 4
    """how many hypotheses to follow at once; 1 is greedy"""
    length_penalty: float = 0.6
    """0 prefers the likeliest translation; a larger one lets longer translations win"""
    n_best: int = 1
    """print so many of each line, best first, as `NUMBER ||| text ||| score`; the first line is number 0"""
    engine: EngineName | None = None
    """the library that computes; by default the one that the run was trained by"""
    json: Annotated[bool, arg(name="json")] = False
    """print a JSON object a line with `source`, `text` and `hypotheses`: `text`, `log_probability` (nats), `score`"""
    cache: bool = True
    """--no-cache computes everything anew at each step: the same text, slower"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Translate, arguments, "translate")
    from clearformer.cli.family import require_family
    from clearformer.generation.beam import Beam
    from clearformer.generation.translation import SENTENCES_AT_ONCE, Translation, n_best_texts
    from clearformer.runs.folder import open_run
    from clearformer.runs.session import load_model

    beam = Beam(options.beam, options.length_penalty, options.n_best)
    run = open_run(options.run, say)
    require_family(run, "transformer")
    model, _ = load_model(run, options.engine)
    unknown = number = 0
    empty = [Translation("", 0.0, 0.0)]
    for lines in _groups(input_lines(), 1 if sys.stdin.isatty() else SENTENCES_AT_ONCE):
        full = [line for line in lines if line.strip()]
        unknown += sum(len(run.tokenizer.unknown(line)) for line in full)
        outputs = iter(n_best_texts(model, run.tokenizer, full, beam, cached=options.cache))
        for line in lines:
            print(_shown(options, number, line, next(outputs) if line.strip() else empty), flush=True)
            number += 1
    if unknown:
        say(f"{unknown} tokens of the input were not in the vocabulary and read as <unk>")
    return 0


def _shown(options: Translate, number: int, source: str, found: "list[Translation]") -> str:
    if options.json:
        hypotheses = [asdict(one) for one in found]
        return json.dumps({"source": source, "text": found[0].text, "hypotheses": hypotheses})
    if options.n_best == 1:
        return found[0].text
    return "\n".join(f"{number} ||| {one.text} ||| {one.score:.4f}" for one in found)


def _groups(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    group: list[str] = []
    for line in lines:
        group.append(line)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
