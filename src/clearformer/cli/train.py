"""`clearformer train`"""

import difflib
import itertools
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from clearformer.cli.arguments import flags, parse, say
from clearformer.config import Config
from clearformer.engine import open_engine
from clearformer.errors import ConfigError
from clearformer.recipes import RECIPES, own


@dataclass(frozen=True)
class Train:
    config: Annotated[Config, arg(name="")]
    out: Path | None = None
    """the run's folder; by default runs/RECIPE, or runs/RECIPE-2 and so on if that is in use"""


KINDS = {"text": "text", "pairs": "pairs of source and target", "labels": "texts with labels"}
"""what files may hold, in words"""
OFTEN_CHANGED = (
    "--data", "--out", "--engine", "--train.steps", "--train.batch-tokens", "--train.seed", "--train.schedule.peak",
    "--train.precision", "--train.device", "--model.d-model", "--model.num-layers", "--model.num-heads",
    "--model.context", "--model.dropout", "--model.vocab-size",
)  # fmt: skip
"""flags that the help of a recipe shows first, in that order"""
INDENT = 27
"""columns before what is said of a flag"""


def run(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in ("-h", "--help"):
        print(_usage())
        raise SystemExit(0)
    name, rest = (arguments[0], arguments[1:]) if arguments and not arguments[0].startswith("-") else ("", arguments)
    files = [Path(path) for path in _values(rest, "--data")]
    if not name and not files:
        raise ConfigError(
            f"a recipe ({', '.join(RECIPES)}) or --data FILE was expected, found neither; name one behind `train`"
        )
    kind, default = ("", _recipe(name)) if name else _for_files(files)
    if "-h" in rest or "--help" in rest:
        print(_recipe_usage(name, default))
        raise SystemExit(0)
    options = parse(Train, rest, f"train {name}".strip(), Train(default))
    from clearformer.cli.display import Downloading
    from clearformer.cli.training import train_and_report
    from clearformer.runs.folder import create_run
    from clearformer.runs.plan import plan_run

    open_engine(options.config.engine).describe(options.config)  # refuses before anything is read or written
    if kind:
        say(f"{default.dataset}: taken for {KINDS[kind]}, to train a {default.model.kind}")
    folder = options.out or _free_folder(Path("runs") / (Path(name).stem or files[0].name.split(".")[0] or "own"))
    downloading = Downloading()
    try:
        run = create_run(folder, options.config, say, downloading)
    finally:
        downloading.close()
    say(f"plan: {plan_run(run)}")
    return train_and_report(run)


def _usage() -> str:
    return f"""usage: clearformer train RECIPE [--data PATH ...] [--out RUN] [--train.steps N] [...]
       clearformer train --data PATH ... [--out RUN] [--train.steps N] [...]

RECIPE is one of {", ".join(RECIPES)}, or a configuration file (.toml or .json).
Without one it is chosen by what the files hold: text, for a GPT that writes on; a .tsv of pairs, or a source and a
target file, for a translator; a .csv or .tsv of texts with labels, for a classifier.
clearformer train RECIPE --help shows all that can be changed."""


def _recipe_usage(name: str, default: Config) -> str:
    """What can be changed of a recipe, or of what was chosen for files if `name` is empty."""
    left = flags(Train, Train(default))
    flag_of = {flag.split(" ")[0]: flag for flag in left}
    first = {flag_of[key]: left.pop(flag_of[key]) for key in OFTEN_CHANGED if key in flag_of}
    what = (RECIPES[name].__doc__ or "").split("\n")[0] if name in RECIPES else f"Train a {default.model.kind}."
    return "\n".join(
        [
            f"usage: clearformer {f'train {name}'.strip()} [--FLAG VALUE ...]\n",
            textwrap.fill(what, _width()),
            "\nwhat people change:",
            *(_explained(flag, meaning) for flag, meaning in first.items()),
            "\nthe rest:",
            *(_explained(flag, meaning) for flag, meaning in left.items()),
        ]
    )


def _explained(flag: str, meaning: str) -> str:
    """A flag and, beside it or below, what is said of it."""
    indent = " " * INDENT
    text = textwrap.fill(meaning, _width(), initial_indent=indent, subsequent_indent=indent)
    start = f"  {flag}  "
    return start + text[len(start) :] if len(start) <= INDENT else f"{start.rstrip()}\n{text}"


def _width() -> int:
    return max(2 * INDENT, min(100, shutil.get_terminal_size().columns))


def _values(arguments: Sequence[str], flag: str) -> list[str]:
    """What stands behind a flag, up to the next one; or behind its equals sign."""
    for place, argument in enumerate(arguments):
        if argument == flag:
            return list(itertools.takewhile(lambda value: not value.startswith("-"), arguments[place + 1 :]))
        if argument.startswith(f"{flag}="):
            return [argument.removeprefix(f"{flag}=")]
    return []


def _for_files(files: Sequence[Path]) -> tuple[str, Config]:
    """What the files are taken for, and what suits that and how much they hold."""
    from clearformer.data.files import read_text
    from clearformer.data.load import kind_of

    kind = "pairs" if len(files) > 1 else kind_of(files[0])
    size = sum(len(read_text(path)) for path in files)
    return kind, own(kind, " and ".join(path.name for path in files), size)


def _recipe(name: str) -> Config:
    if name in RECIPES:
        return RECIPES[name]()
    if Path(name).suffix in (".toml", ".json"):
        return Config.load(Path(name))
    near = [*difflib.get_close_matches(name, RECIPES, n=1), *[f"--data {name}"] * Path(name).exists()]
    hint = f"did you mean {near[-1]!r}" if near else "see clearformer recipes"
    raise ConfigError(f"a recipe ({', '.join(RECIPES)}) or a .toml or .json file was expected, found {name!r}; {hint}")


def _free_folder(folder: Path) -> Path:
    number, free = 1, folder
    while (free / "config.json").exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free
