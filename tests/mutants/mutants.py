"""Planted bugs: a textual patch each, over a correct model of `styles`, and the check that names its cause.

All of them stand in `planted`, a file for each group of checks.
"""

import types
from dataclasses import replace
from pathlib import Path

from planted import (
    arguments,
    batches,
    cache,
    encoder_decoder,
    learning,
    loss,
    masks,
    numbers,
    order,
    parameters,
    state,
    ways,
)
from planted.mutant import Mutant

from clearformer.checks.subject import Subject

STYLES = ("single_file", "hugging", "functional", "modular", "textbook", "whole_class")
"""files of `styles`, a correct model each"""

GROUPS = (masks, batches, arguments, order, cache, parameters, loss, learning, state, encoder_decoder, numbers, ways)
MUTANTS: tuple[Mutant, ...] = tuple(
    replace(mutant, check=check) for group in GROUPS for check, mutants in group.PLANTED.items() for mutant in mutants
)


def source(style: str) -> str:
    return (Path(__file__).parent / "styles" / f"{style}.py").read_text(encoding="utf-8")


def subject(style: str, old: str = "", new: str = "") -> Subject:
    """The style's model, with `new` in place of `old`."""
    module = types.ModuleType(style)
    exec(compile(source(style).replace(old, new, 1), f"{style}.py", "exec"), module.__dict__)
    patched: Subject = module.subject()
    return patched
