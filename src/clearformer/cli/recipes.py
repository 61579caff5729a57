"""`clearformer recipes`"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import arg

from clearformer.cli.arguments import parse
from clearformer.models.initial import count_parameters
from clearformer.recipes import REACHES, RECIPES


@dataclass(frozen=True)
class Recipes:
    """What can be trained, with sizes, data and what each was measured to reach."""

    json: Annotated[bool, arg(name="json")] = False
    """print whole configurations, as one JSON object"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Recipes, arguments, "recipes")
    if options.json:
        print(json.dumps({name: json.loads(make().to_json()) for name, make in RECIPES.items()}, indent=2))
        return 0
    for name, make in RECIPES.items():
        config = make()
        what = (make.__doc__ or "").split("\n")[0]
        size = f"{config.model.kind} of at most {count_parameters(config.model) / 1e6:.2f} million parameters"
        reaches = f"; reaches {REACHES[name]}" if name in REACHES else ""
        print(f"{name}\n    {what}\n    {size}, {config.train.steps:,} steps{reaches}")
    print("\nclearformer train RECIPE --help shows all that can be changed; --data PATH trains on your own files.")
    return 0
