"""`clearformer translate`"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from clearformer.cli.arguments import input_lines, parse, say
from clearformer.errors import RunError


@dataclass(frozen=True)
class Translate:
    """Translate each line of standard input into a line of standard output; an empty line stays empty."""

    run: Positional[Path]
    """the run's folder"""
    cache: bool = True
    """--no-cache computes everything anew at each step: the same text, slower"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Translate, arguments, "translate")
    from clearformer.generation.translation import SENTENCES_AT_ONCE, translate_texts
    from clearformer.models.transformer import Transformer
    from clearformer.runs.folder import open_run
    from clearformer.runs.session import load_model

    run = open_run(options.run, say)
    model, _ = load_model(run)
    if not isinstance(model, Transformer):
        raise RunError(f"a run that translates was expected, but {options.run} writes text; use: clearformer generate")
    unknown = 0
    for lines in _groups(input_lines(), 1 if sys.stdin.isatty() else SENTENCES_AT_ONCE):
        full = [line for line in lines if line.strip()]
        unknown += sum(len(run.tokenizer.unknown(line)) for line in full)
        outputs = iter(translate_texts(model, run.tokenizer, full, cached=options.cache))
        for line in lines:
            print(next(outputs) if line.strip() else "", flush=True)
    if unknown:
        say(f"{unknown} tokens of the input were not in the vocabulary and read as <unk>")
    return 0


def _groups(lines: Iterator[str], size: int) -> Iterator[list[str]]:
    group: list[str] = []
    for line in lines:
        group.append(line)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
