"""`clearformer train`"""

import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from clearformer.cli.arguments import parse, say
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
