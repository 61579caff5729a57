"""The scripts of the guide: where they are, what each teaches, and what one stage changes in the program before it."""

import ast
import difflib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jupytext

from clearformer.errors import ClearformerError

PREDICT = "**Predict.**"
"""how a cell begins that asks the reader for a prediction"""
CONTEXT_LINES = 3
"""unchanged lines around each change of a diff"""


@dataclass(frozen=True)
class Cell:
    """A cell of a script; `number` counts all cells from 1."""

    number: int
    is_text: bool
    is_program: bool
    """of the program that grows: the tag is `code`"""
    source: str

    @property
    def asks(self) -> bool:
        """Whether the reader should predict what the next cell shows."""
        return self.is_text and self.source.startswith(PREDICT)


@dataclass(frozen=True)
class Script:
    """A stage of the guide, or a question, which has neither a number nor a stage before it."""

    path: Path
    cells: tuple[Cell, ...]
    number: int | None = None
    before: "Script | None" = None

    @property
    def name(self) -> str:
        """The file's name without its suffix: `06_softmax`, `recurrence`."""
        return self.path.stem

    @property
    def command(self) -> str:
        """What shows it: `clearformer guide 6`."""
        return f"clearformer guide {self.name if self.number is None else self.number}"

    @property
    def part(self) -> str:
        """Its folder: `1_attention`, `questions`."""
        return self.path.parent.name

    @property
    def title(self) -> str:
        """The first heading, without the number."""
        return re.sub(r"^# (\d+\. )?", "", self._opening[0])

    @property
    def teaches(self) -> str:
        """The first paragraph: what a stage teaches, or the short answer to a question."""
        return " ".join(self._opening[1].removeprefix("**In short.**").split())

    @property
    def minutes(self) -> int | None:
        """How long a reader takes, if the first cell says so: `*15 minutes*`."""
        found = re.search(r"^\*(\d+) minutes?\*$", self.cells[0].source, re.MULTILINE)
        return int(found[1]) if found else None

    @cached_property
    def program(self) -> str:
        """The program as far as this stage builds it."""
        return "\n\n\n".join(cell.source for cell in self.cells if cell.is_program) + "\n"

    @cached_property
    def diff(self) -> str:
        """A unified diff from the program of the stage before; "" if nothing changes, or no stage is before."""
        if self.before is None:
            return ""
        old, new = self.before.program.splitlines(), self.program.splitlines()
        lines = difflib.unified_diff(
            old, new, f"stage {self.before.number}", f"stage {self.number}", n=CONTEXT_LINES, lineterm=""
        )
        return "\n".join(lines)

    def is_unchanged(self, cell: Cell) -> bool:
        """Whether the stage before has the same cell of the program."""
        return self.before is not None and cell.is_program and cell.source in {old.source for old in self.before.cells}

    @property
    def modules(self) -> list[Path]:
        """Files of its folder that scripts import."""
        return sorted(path for path in self.path.parent.glob("*.py") if not _is_script(path))

    @property
    def _opening(self) -> list[str]:
        return self.cells[0].source.split("\n\n")


def folder() -> Path:
    """`guide/` of a checkout, or its copy in an installed package."""
    copied = Path(__file__).parent / "scripts"
    return copied if copied.is_dir() else Path(__file__).parents[3] / "guide"


def read_stages(root: Path | None = None) -> list[Script]:
    """All stages of the folder `root`, by default the guide's own, in order."""
    stages: list[Script] = []
    for path in sorted((root or folder()).glob("[0-9]_*/[0-9][0-9]_*.py")):
        before = stages[-1] if stages else None
        stages.append(Script(path, _read(path), int(path.stem[:2]), before))
    return stages


def read_questions(root: Path | None = None) -> list[Script]:
    """All questions of the folder `root`, by default the guide's own, by name."""
    paths = sorted((root or folder()).glob("questions/*.py"))
    return [Script(path, _read(path)) for path in paths if _is_script(path)]


def find(name: str, scripts: list[Script]) -> Script:
    """The stage with a number, or the question with a name.

    Raises ClearformerError, with the nearest name, where there is none.
    """
    for script in scripts:
        if name == script.name or (script.number is not None and name.isdecimal() and int(name) == script.number):
            return script
    numbers = [script.number for script in scripts if script.number is not None]
    names = [script.name for script in scripts if script.number is None]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "`clearformer guide` lists them"
    stages = f"a stage from {numbers[0]} to {numbers[-1]}" if numbers else "a stage"
    questions = f" or a question ({', '.join(names)})" if names else ""
    raise ClearformerError(f"{stages}{questions} was expected, found {name!r}; {hint}")


def names_of(source: str) -> list[str]:
    """The classes, functions and variables that a cell defines at its top level."""
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names


def _is_script(path: Path) -> bool:
    return path.read_text(encoding="utf-8").startswith("# %%")


def _read(path: Path) -> tuple[Cell, ...]:
    cells = jupytext.read(path, fmt="py:percent").cells
    return tuple(
        Cell(number, cell.cell_type == "markdown", "code" in cell.metadata.get("tags", ()), cell.source)
        for number, cell in enumerate(cells, 1)
    )
