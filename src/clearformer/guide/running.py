"""Run the code cells of a script one by one, as a notebook does: what the last line evaluates to is shown."""

import ast
import linecache
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, ModuleType
from typing import Any, ClassVar

import matplotlib.pyplot as plt

from clearformer.errors import ClearformerError
from clearformer.guide.stages import Cell, Script


class CellError(ClearformerError):
    """A cell raised an error, such as a failed assertion."""

    exit_code: ClassVar[int] = 1


@contextmanager
def running(script: Script) -> Iterator[Callable[[Cell], Any]]:
    """Yield a function that runs a code cell and returns the value of its last line, None if that is a statement.

    All cells share a module of their own, which is `__main__` until the context ends. Pictures need no display, and are
    closed at the end. The function raises CellError for whatever a cell raises, except KeyboardInterrupt.
    """
    module = ModuleType("__main__")
    main, path, backend = sys.modules["__main__"], list(sys.path), plt.get_backend()
    sys.modules["__main__"] = module
    sys.path.insert(0, str(script.path.parent))
    plt.switch_backend("agg")
    try:
        yield lambda cell: _run(script, cell, module)
    finally:
        plt.close("all")
        plt.switch_backend(backend)
        sys.path[:] = path
        sys.modules["__main__"] = main


def _run(script: Script, cell: Cell, module: ModuleType) -> Any:
    filename = f"<{script.path.name}, cell {cell.number}>"
    linecache.cache[filename] = (len(cell.source), None, cell.source.splitlines(keepends=True), filename)
    try:
        statements, last = _compile(cell.source, filename)
        exec(statements, vars(module))
        return None if last is None else eval(last, vars(module))
    except (Exception, SystemExit) as error:
        raise CellError(_describe(script, cell, error)) from error


def _compile(source: str, filename: str) -> tuple[CodeType, CodeType | None]:
    """All statements but the last, and the last, if it is an expression; else all statements and None."""
    tree = ast.parse(source, filename)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    value = compile(ast.Expression(last.value), filename, "eval") if isinstance(last, ast.Expr) else None
    return compile(tree, filename, "exec"), value


def _describe(script: Script, cell: Cell, error: BaseException) -> str:
    """The cell, the last line of the script that was reached, and the error as Python names it."""
    reached = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith("<")]
    reached = [frame for frame in reached if script.path.name in frame.filename]
    where = ""
    if reached:
        number = reached[-1].filename.rpartition("cell ")[2].rstrip(">")
        other = "" if number == str(cell.number) else f" of cell {number}"
        where = f" in line {reached[-1].lineno}{other}, `{reached[-1].line}`"
    what = "".join(traceback.format_exception_only(error)).strip()
    return f"cell {cell.number} of {script.path} stopped{where}: {what}"
