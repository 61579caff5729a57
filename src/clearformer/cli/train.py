"""`clearformer train`"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from clearformer.api.display import say
from clearformer.api.training import choose, free_folder, start, train_and_report
from clearformer.cli.arguments import exit_code, parse
from clearformer.config import Config
from clearformer.recipes import RECIPES


@dataclass(frozen=True)
class Train:
    config: Annotated[Config, arg(name="")]
    out: Path | None = None
    """the run's folder; by default runs/RECIPE, or runs/RECIPE-2 and so on if that is in use"""


def run(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in ("-h", "--help"):
        print(_usage())
        raise SystemExit(0)
    name, rest = (arguments[0], arguments[1:]) if arguments and not arguments[0].startswith("-") else ("", arguments)
    files = [Path(path) for path in _values(rest, "--data")]
    run_name, default = choose(name, files, say)
    options = parse(Train, rest, f"train {name}".strip(), Train(default))
    return exit_code(train_and_report(start(options.config, options.out or free_folder(run_name))))


def _usage() -> str:
    return f"""usage: clearformer train RECIPE [--data PATH ...] [--out RUN] [--train.steps N] [...]
       clearformer train --data PATH ... [--out RUN] [--train.steps N] [...]

RECIPE is one of {", ".join(RECIPES)}, or a configuration file (.toml or .json).
Without one it is chosen by what the files hold: text, for a GPT that writes on; a .tsv of pairs, or a source and a
target file, for a translator; a .csv or .tsv of texts with labels, for a classifier.
clearformer train RECIPE --help shows all that can be changed."""


def _values(arguments: Sequence[str], flag: str) -> list[str]:
    """What stands behind a flag, up to the next one; or behind its equals sign."""
    for place, argument in enumerate(arguments):
        if argument == flag:
            return list(itertools.takewhile(lambda value: not value.startswith("-"), arguments[place + 1 :]))
        if argument.startswith(f"{flag}="):
            return [argument.removeprefix(f"{flag}=")]
    return []
