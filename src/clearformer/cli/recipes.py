"""`clearformer recipes`"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from clearformer.cli.arguments import parse
from clearformer.models.initial import count_parameters
from clearformer.recipes import RECIPES


@dataclass(frozen=True)
class Recipes:
    """What can be trained, with sizes and data."""

    json: Annotated[bool, arg(name="json")] = False
    """print whole configurations, as one JSON object"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Recipes, arguments, "recipes")
    if options.json:
        print(json.dumps({name: json.loads(make().to_json()) for name, make in RECIPES.items()}, indent=2))
        return 0
    print(f"{'recipe':<16} {'model':<12} {'parameters':>11} {'steps':>6}  what it learns")
    for name, make in RECIPES.items():
        config = make()
        size = f"≤ {count_parameters(config.model) / 1e6:.2f} M"
        what = (make.__doc__ or "").split("\n")[0]
        print(f"{name:<16} {config.model.kind:<12} {size:>11} {config.train.steps:>6}  {what}")
    print("\nclearformer train RECIPE --help shows all that can be changed; --data PATH trains on your own files.")
    return 0
