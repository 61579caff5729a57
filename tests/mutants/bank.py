"""The bank: planted bugs, and right models, as a person would give them to `clearformer check`, without a word on their
use. `run_bank.py` checks them all."""

import contextlib
import importlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from bare.bug import Bug
from bare.older import OLDER

from clearformer.checks.load.target import load_target
from mutants import STYLES as OLDER_STYLES

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "checks" / "results" / "bank.json"
NEW_STYLES = ("nano", "annotated", "llama", "bert")
"""files of `styles` that have a function `model`; the others have `subject`"""
STYLES = (*OLDER_STYLES, *NEW_STYLES)


def bugs_in(folder: str) -> Iterator[Bug]:
    """The bugs of all styles in `bare`, or in `held_out`."""
    for style in (*STYLES, "right_models", "unseen_bugs", "sixth_bugs", "seventh_bugs", "eighth_bugs"):
        if (HERE / folder / f"{style}.py").exists():
            for bug in importlib.import_module(f"{folder}.{style}").BUGS:
                yield replace(bug, style=bug.style or style)


def open_bugs() -> dict[str, Bug]:
    """All by their ids, but for those that are set aside."""
    return {bug.id: bug for bug in (*bugs_in("bare"), *OLDER)}


def held_out_bugs() -> dict[str, Bug]:
    return {bug.id: bug for bug in bugs_in("held_out")}


def right_models() -> dict[str, Callable[[], Any]]:
    """By `family: name`."""
    return {f"{family}: {name}": make for family in right_families() for name, make in _right(family).MODELS.items()}


def known_faults() -> dict[str, dict[str, str]]:
    """Of right models whose library is at fault: the checks that say so, each with the reason."""
    return {
        f"{family}: {name}": faults
        for family in right_families()
        for name, faults in getattr(_right(family), "KNOWN", {}).items()
    }


def right_families() -> list[str]:
    return [path.stem for path in sorted((HERE / "right").glob("[a-z]*.py"))]


def _right(family: str) -> Any:
    return importlib.import_module(f"right.{family}")


def source(style: str) -> str:
    """The style's file, or that of a right model, with a function `model` that returns the model alone."""
    family, _, name = style.partition(": ")
    if name:
        text = (HERE / "right" / f"{family}.py").read_text(encoding="utf-8")
        return f'{text}\n\ndef model():\n    return MODELS["{name}"]()\n'
    text = (HERE / "styles" / f"{style}.py").read_text(encoding="utf-8")
    return text if style in NEW_STYLES else f"{text}\n\ndef model():\n    return subject().model\n"


def patched(bug: Bug) -> str:
    return source(bug.style).replace(bug.old, bug.new, 1)


@contextlib.contextmanager
def model_of(text: str) -> Iterator[Any]:
    """The model that the function `model` of this source returns, loaded from a file as the command does it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transformer_to_check.py"
        path.write_text(text, encoding="utf-8")
        with load_target(f"{path}:model", print) as model:
            yield model


def is_right(bug: Bug, line: str) -> bool:
    """Whether this line, `check:cause`, is a true answer to what is wrong."""
    name, _, cause = line.partition(":")
    for pattern in bug.first:
        wanted, _, wanted_cause = pattern.partition(":")
        if fnmatch(name, wanted) and fnmatch(cause, wanted_cause or "*"):
            return True
    return False
