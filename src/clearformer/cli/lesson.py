"""Showing a script of the guide in the terminal, cell by cell, while it runs."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.markdown import Markdown
from rich.syntax import Syntax

from clearformer.cli.files import write_file
from clearformer.guide.formulas import plain
from clearformer.guide.running import running
from clearformer.guide.stages import Cell, Script, names_of
from clearformer.inspection.figures import png

THEME = "ansi_dark"
"""the terminal's own colours, so that they suit its background"""

WIDTH = 120
"""columns where there is no terminal: code is not wider"""


def show(script: Script, pictures: Path) -> None:
    """Print text and code, run each cell, print what it prints, and save its picture into a folder.

    At a prediction it waits for Enter, if standard input is a terminal. Raises CellError where a cell fails.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    with running(script) as run:
        for unchanged, cells in itertools.groupby(script.cells, script.is_unchanged):
            if unchanged:
                _run_unchanged(list(cells), run, console)
            else:
                for cell in cells:
                    _show_cell(script, cell, console)
                    if not cell.is_text:
                        _show_value(run(cell), console, pictures / f"{script.name}-{cell.number}.png")
                        console.print()


def _run_unchanged(cells: list[Cell], run: Callable[[Cell], Any], console: Console) -> None:
    """One line for all of them: the reader knows them from the stage before."""
    names = [name for cell in cells for name in names_of(cell.source)]
    console.print(f"(unchanged: {', '.join(names) or 'imports'})\n", style="dim", soft_wrap=True)
    for cell in cells:
        run(cell)


def _show_cell(script: Script, cell: Cell, console: Console) -> None:
    if not cell.is_text:
        console.print(_code(cell.source, "python"))
        return
    console.print(Markdown(plain(cell.source), code_theme=THEME))
    console.print()
    if cell.number == 1 and script.before is not None:
        _show_diff(script, script.before, console)
    if cell.asks and sys.stdin.isatty():
        print("Enter shows what happens ", end="", file=sys.stderr, flush=True)
        sys.stdin.readline()


def _show_diff(script: Script, before: Script, console: Console) -> None:
    if script.diff:
        console.print(f"What changes in the program since stage {before.number}:\n")
        console.print(_code(script.diff, "diff"))
    else:
        console.print(f"The program is that of stage {before.number}, unchanged.")
    console.print()


def _code(source: str, language: str) -> Syntax:
    return Syntax(source, language, theme=THEME, background_color="default", word_wrap=True)


def _show_value(value: Any, console: Console, picture: Path) -> None:
    if isinstance(value, Figure):
        write_file(picture, png(value))
        console.print(f"picture: {_caption(value)}{picture}", style="bold", markup=False, soft_wrap=True)
    elif value is not None:
        print(repr(value))


def _caption(figure: Figure) -> str:
    """The title of a figure, or of its first axes, and ": " after it; "" if there is none."""
    titles = [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]
    return f"{titles[0] or titles[1]}: " if any(titles[:2]) else ""
