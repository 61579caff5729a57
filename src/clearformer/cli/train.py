"""`clearformer train`"""

import itertools
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from clearformer.api.display import say
from clearformer.api.run import Run
from clearformer.api.trackers import TrackerName, require_trackers
from clearformer.api.training import choose_config, create_run, train_and_report, unused_folder
from clearformer.cli.arguments import exit_code, flags, parse
from clearformer.config import Config
from clearformer.errors import ConfigError
from clearformer.recipes import RECIPES
from clearformer.training.processes import Processes, may_restart


@dataclass(frozen=True)
class Train:
    config: Annotated[Config, arg(name="")]
    out: Path | None = None
    """the run's folder; by default runs/RECIPE, or runs/RECIPE-2 and so on if that is in use"""
    log: tuple[TrackerName, ...] = ()
    """where to log to besides the run's folder; what it names must be installed"""


COMMON_FLAGS = (
    "--data", "--out", "--log", "--engine", "--train.steps", "--train.batch-tokens", "--train.seed",
    "--train.schedule.peak", "--train.patience", "--train.samples", "--train.precision", "--train.device",
    "--model.d-model", "--model.num-layers", "--model.num-heads", "--model.context", "--model.dropout",
    "--model.vocab-size",
)  # fmt: skip
"""flags that the help of a recipe shows first, in this order"""
INDENT = 27
"""columns before the description of a flag"""


def run(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in ("-h", "--help"):
        print(_usage())
        raise SystemExit(0)
    return exit_code(train_and_report(lambda processes: _create(arguments, processes))[1])


def _create(arguments: Sequence[str], processes: Processes) -> tuple[Run, Sequence[TrackerName]]:
    name, rest = (arguments[0], arguments[1:]) if arguments and not arguments[0].startswith("-") else ("", arguments)
    files = [Path(path) for path in _values(rest, "--data")]
    run_name, default = choose_config(name, files, say)
    if "-h" in rest or "--help" in rest:
        print(_recipe_usage(name, default))
        raise SystemExit(0)
    options = parse(Train, rest, f"train {name}".strip(), Train(default))
    require_trackers(options.log)
    if options.out is None and may_restart():
        raise ConfigError("--out RUN was expected with --max-restarts, since a restart goes on in that folder; add it")
    return create_run(options.config, options.out or unused_folder(run_name), processes), options.log


def _usage() -> str:
    return f"""usage: clearformer train RECIPE [--data PATH ...] [--out RUN] [--train.steps N] [...]
       clearformer train --data PATH ... [--out RUN] [--train.steps N] [...]

RECIPE is one of {", ".join(RECIPES)}, or a configuration file (.toml or .json).
Without one, a configuration is chosen for the files: for text, a GPT; for a .tsv of pairs, or a source and a target
file, a translator; for a .csv or .tsv of texts with labels, a classifier. Text may be many files, or a pattern in
quotes, "corpus/*.txt"; each plain, .gz or .zst, and .jsonl or .parquet with its text in --data-column.
clearformer train RECIPE --help shows all options."""


def _recipe_usage(name: str, default: Config) -> str:
    """The options of a recipe, or of the configuration chosen for files if `name` is empty."""
    other = flags(Train, Train(default))
    flag_of = {flag.split(" ")[0]: flag for flag in other}
    common = {flag_of[key]: other.pop(flag_of[key]) for key in COMMON_FLAGS if key in flag_of}
    summary = (RECIPES[name].__doc__ or "").split("\n")[0] if name in RECIPES else f"Train a {default.model.kind}."
    return "\n".join(
        [
            f"usage: clearformer {f'train {name}'.strip()} [--FLAG VALUE ...]\n",
            textwrap.fill(summary, _width()),
            "\ncommon options:",
            *(_flag_help(flag, meaning) for flag, meaning in common.items()),
            "\nother options:",
            *(_flag_help(flag, meaning) for flag, meaning in other.items()),
        ]
    )


def _flag_help(flag: str, meaning: str) -> str:
    """A flag and its description, beside it or below."""
    indent = " " * INDENT
    text = textwrap.fill(meaning, _width(), initial_indent=indent, subsequent_indent=indent)
    start = f"  {flag}  "
    return start + text[len(start) :] if len(start) <= INDENT else f"{start.rstrip()}\n{text}"


def _width() -> int:
    return max(2 * INDENT, min(100, shutil.get_terminal_size().columns))


def _values(arguments: Sequence[str], flag: str) -> list[str]:
    """The values after a flag, up to the next flag; or the one after its equals sign."""
    for index, argument in enumerate(arguments):
        if argument == flag:
            return list(itertools.takewhile(lambda value: not value.startswith("-"), arguments[index + 1 :]))
        if argument.startswith(f"{flag}="):
            return [argument.removeprefix(f"{flag}=")]
    return []
