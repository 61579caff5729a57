"""`clearformer recipes`"""

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from clearformer.cli.arguments import parse
from clearformer.models.initial import count_parameters
from clearformer.recipes import MEASURED, RECIPES


@dataclass(frozen=True)
class Recipes:
    """List what can be trained, with sizes, data and measured results."""

    json: Annotated[bool, arg(name="json")] = False
    """print the full configurations as one JSON object"""


COLUMNS = {"recipe": "<", "family": "<", "params": ">", "data": "<", "steps": ">", "time": "<"}
"""headings, and the alignment of their columns"""
NOTES = (
    "params: M is a million; fewer if the data has fewer tokens than the vocabulary may. time: on two CPU cores, "
    "* on one.",
    "clearformer train RECIPE --help shows all options; --data PATH trains on your own files.",
)


def run(arguments: Sequence[str]) -> int:
    options = parse(Recipes, arguments, "recipes")
    if options.json:
        print(json.dumps({name: json.loads(make().to_json()) for name, make in RECIPES.items()}, indent=2))
        return 0
    heading, *rows = _aligned([tuple(COLUMNS), *map(_cells, RECIPES)])
    print(heading)
    for (name, make), row in zip(RECIPES.items(), rows, strict=True):
        print(row)
        _print_text((make.__doc__ or "").split("\n")[0], indent="  ")
        if name in MEASURED:
            _print_text(f"Reached: {MEASURED[name].quality}.", indent="  ")
    print()
    for note in NOTES:
        _print_text(note)
    return 0


def _cells(name: str) -> tuple[str, ...]:
    config = RECIPES[name]()
    reached = MEASURED.get(name)
    time = reached.time + "*" * (reached.cores == 1) if reached else ""
    params = f"{count_parameters(config.model) / 1e6:.2f} M"
    return name, config.model.kind, params, config.dataset, f"{config.train.steps:,}", time


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    formats = [f"{side}{width}" for side, width in zip(COLUMNS.values(), widths, strict=True)]
    return ["  ".join(map(format, row, formats)).rstrip() for row in rows]


def _print_text(text: str, indent: str = "") -> None:
    """Wrapped on a terminal, elsewhere one line."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(indent + text)
    print(textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent))
