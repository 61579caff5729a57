"""`clearformer train`"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from clearformer.cli.arguments import parse, say
from clearformer.config import Config
from clearformer.errors import ConfigError
from clearformer.recipes import RECIPES


@dataclass(frozen=True)
class Train:
    config: Annotated[Config, arg(name="")]
    out: Path | None = None
    """the run's folder; by default runs/RECIPE, or runs/RECIPE-2 and so on if that is in use"""


def run(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in ("-h", "--help"):
        print("usage: clearformer train RECIPE [--data PATH ...] [--out RUN] [--train.steps N] [...]\n")
        print(f"RECIPE is one of {', '.join(RECIPES)}, or a configuration file (.toml or .json).")
        print("clearformer train RECIPE --help shows all that can be changed.")
        raise SystemExit(0)
    if not arguments:
        raise ConfigError(f"a recipe was expected ({', '.join(RECIPES)}), found none; name one behind `train`")
    name, *rest = arguments
    default = Train(_recipe(name))
    options = parse(Train, rest, f"train {name}", default)
    from clearformer.cli.display import Downloading
    from clearformer.cli.training import train_and_report
    from clearformer.runs.folder import create_run
    from clearformer.training.device import choose_device

    choose_device(options.config.train.device)  # before anything is read or written for a device that is not there
    folder = options.out or _free_folder(Path("runs") / Path(name).stem)
    downloading = Downloading()
    try:
        run = create_run(folder, options.config, say, downloading)
    finally:
        downloading.close()
    return train_and_report(run)


def _recipe(name: str) -> Config:
    if name in RECIPES:
        return RECIPES[name]()
    if Path(name).suffix in (".toml", ".json"):
        return Config.load(Path(name))
    near = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f"did you mean {near[0]!r}" if near else "see clearformer recipes"
    raise ConfigError(f"a recipe ({', '.join(RECIPES)}) or a .toml or .json file was expected, found {name!r}; {hint}")


def _free_folder(folder: Path) -> Path:
    number, free = 1, folder
    while (free / "config.json").exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free
