"""`clearformer grok`"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from clearformer.api.training import create_run, train_and_report, unused_folder
from clearformer.cli.arguments import exit_code, parse
from clearformer.config import Operation
from clearformer.recipes import RECIPES

PRESETS = {"quick": "grok-quick", "default": "grok", "paper": "grok-paper"}
"""preset -> recipe"""


@dataclass(frozen=True)
class Grok:
    """Train a model on a part of all equations modulo a prime, until it answers the others, long after its own.

    `clearformer train grok` has every other option; `resume`, `evaluate`, `generate` and `explore` take the run.
    """

    preset: Literal["quick", "default", "paper"] = "default"
    """quick: modulo 97, half of the equations; default: 113, 40 %; paper: 113, 30 %, as Nanda et al. 2023"""
    modulus: int | None = None
    """a prime other than the preset's"""
    operation: Operation = "add"
    """a + b, a - b, a * b, a / b, or a^2 + ab + b^2 (quadratic)"""
    train_fraction: Annotated[float | None, arg(metavar="SHARE")] = None
    """share of all equations that is learned, if not the preset's"""
    weight_decay: float | None = None
    """of AdamW, if not the preset's: quick 2, default and paper 1"""
    seed: int = 1
    """of the weights and of what is held out"""
    steps: int | None = None
    """the most steps, if not the preset's; training ends once the loss of the held-out equations is below 0.01"""
    out: Path | None = None
    """the run's folder; by default runs/grok, or runs/grok-2 and so on if that is in use"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Grok, arguments, "grok")
    name = PRESETS[options.preset]
    config = RECIPES[name]()
    assert config.modular is not None
    fraction = options.train_fraction
    modulus = config.modular.modulus if options.modulus is None else options.modulus
    config = dataclasses.replace(
        config,
        modular=dataclasses.replace(
            config.modular,
            modulus=modulus,
            operation=options.operation,
            train_fraction=config.modular.train_fraction if fraction is None else fraction,
        ),
        train=dataclasses.replace(
            config.train,
            steps=config.train.steps if options.steps is None else options.steps,
            batch_tokens=3 * modulus**2,
            validation_tokens=3 * modulus**2,
            weight_decay=config.train.weight_decay if options.weight_decay is None else options.weight_decay,
            seed=options.seed,
        ),
    )
    create = lambda processes: (create_run(config, options.out or unused_folder(name), processes), ())  # noqa: E731
    return exit_code(train_and_report(create)[1])
