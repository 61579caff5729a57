"""The user's model, from `FILE.py:FUNCTION`, `package.module:FUNCTION` or a run's folder; what is wrong with that is
said in one sentence, with the user's own file and line.
"""

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from clearformer.checks.load.errors import what_happened
from clearformer.checks.parts.probe import Meant
from clearformer.checks.subject import Subject
from clearformer.errors import CheckError


@contextlib.contextmanager
def loaded(target: str, notify: Callable[[str], None], part: bool = False) -> Iterator[Any]:
    """What the function that `target` names returned: a model or a Subject; a part of one, which it may be itself.

    While it is in use the current folder and the file's can be imported from, since a model may import late.
    Raises CheckError.
    """
    place, _, name = target.rpartition(":")
    kept = list(sys.path)
    sys.path[:0] = [str(Path.cwd()), *([str(Path(place).resolve().parent)] if place.endswith(".py") else [])]
    try:
        if (Path(target) / "config.json").exists():
            yield _of_run(Path(target), notify)
        elif place and name:
            yield _made(_function(_module_of(place), place, name), name, part)
        else:
            raise CheckError(
                f"FILE.py:FUNCTION or package.module:FUNCTION was expected, found {target!r}; "
                "name the function that returns the model"
            )
    finally:
        sys.path[:] = kept


def _of_run(folder: Path, notify: Callable[[str], None]) -> Any:
    from clearformer.runs.folder import open_folder
    from clearformer.runs.session import load_model

    return load_model(open_folder(folder, notify), "torch")[0].cpu()


def _made(function: Callable[..., Any], name: str, part: bool) -> Any:
    called = f"{name}{_line(function)}"
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        if part and not isinstance(function, type):
            return function
        raise CheckError(
            f"a function without arguments was expected, but {called} needs some: {error}; "
            "write one that makes the model and returns it"
        ) from error
    try:
        made = function()
    except (Exception, SystemExit) as error:
        raise CheckError(f"{called} returned no model but raised {what_happened(error)}; mend it first") from error
    if isinstance(made, type) or not (callable(made) or isinstance(made, Subject | Meant)):
        found = f"the class {made.__name__}, not an object of it" if isinstance(made, type) else repr(made)[:60]
        raise CheckError(f"a model or a Subject was expected of {called}, but it returned {found}; return a model")
    return made


def _module_of(place: str) -> ModuleType:
    path = Path(place).resolve()
    if place.endswith(".py") and not path.is_file():
        near = difflib.get_close_matches(path.name, [other.name for other in path.parent.glob("*.py")], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CheckError(f"a file was expected at {place}, but there is none{hint}")
    try:
        return _from_file(path) if place.endswith(".py") else importlib.import_module(place)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
            raise CheckError(
                f"a module {place} was expected, installed or in the current folder, but there is none; "
                "for a file write FILE.py:FUNCTION"
            ) from error
        raise CheckError(f"{place} cannot be imported: {what_happened(error)}; mend it first") from error


def _from_file(path: Path) -> ModuleType:
    """The file as a module with a name of its own, since it may be called like one that is there already."""
    spec = importlib.util.spec_from_file_location(f"checked_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _function(module: ModuleType, place: str, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if not callable(function):
        own = [other for other, value in vars(module).items() if callable(value) and not other.startswith("_")]
        near = difflib.get_close_matches(name, own, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(own) or 'no functions'}"
        raise CheckError(f"a function {name!r} was expected in {place}, but there is none; {hint}")
    return function


def _line(function: Callable[..., Any]) -> str:
    try:
        return f" ({inspect.getsourcefile(function)}:{inspect.getsourcelines(function)[1]})"
    except (OSError, TypeError):  # not written in Python
        return ""
