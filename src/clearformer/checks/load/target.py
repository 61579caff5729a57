"""The user's model, from `FILE.py:FUNCTION`, `package.module:FUNCTION` or a run's folder.

Every error is one sentence with the user's file and line.
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

from clearformer.checks.load.errors import describe_error
from clearformer.checks.subject import PartSubject, Subject
from clearformer.errors import CheckError


@contextlib.contextmanager
def load_target(target: str, notify: Callable[[str], None], part: bool = False) -> Iterator[Any]:
    """Call the function that `target` names and yield what it returns: a model or a Subject.

    With `part`, yield a part of a model; a function with arguments is itself the part. Until the context ends, the
    current folder and the file's are on sys.path, since a model may import late. `notify` gets warnings about a run.
    Raises CheckError.
    """
    location, _, name = target.rpartition(":")
    original_path = list(sys.path)
    sys.path[:0] = [str(Path.cwd()), *([str(Path(location).resolve().parent)] if location.endswith(".py") else [])]
    try:
        if (Path(target) / "config.json").exists():
            yield _load_run(Path(target), notify)
        elif location and name:
            yield _call(_find_function(_import(location), location, name), name, part)
        else:
            raise CheckError(
                f"FILE.py:FUNCTION or package.module:FUNCTION was expected, found {target!r}; "
                "name the function that returns the model"
            )
    finally:
        sys.path[:] = original_path


def resolve_way(text: str) -> str | Callable[..., Any] | None:
    """The function that `FILE.py:FUNCTION` names, or the name of a method unchanged; None for "". Raises CheckError."""
    location, _, name = text.rpartition(":")
    return _find_function(_import(location), location, name) if location and name else text or None


def _load_run(folder: Path, notify: Callable[[str], None]) -> Any:
    from clearformer.runs.folder import open_folder
    from clearformer.runs.session import load_model

    return load_model(open_folder(folder, notify), "torch")[0].cpu()


def _call(function: Callable[..., Any], name: str, part: bool) -> Any:
    described = f"{name}{_line(function)}"
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        if part and not isinstance(function, type):
            return function
        raise CheckError(
            f"a function without arguments was expected, but {described} needs some: {error}; "
            "write one that makes the model and returns it"
        ) from error
    try:
        returned = function()
    except (Exception, SystemExit) as error:
        raise CheckError(
            f"{described} raised {describe_error(error)} instead of returning a model; fix that first"
        ) from error
    if isinstance(returned, type) or not (callable(returned) or isinstance(returned, Subject | PartSubject)):
        is_class = isinstance(returned, type)
        found = f"the class {returned.__name__}, not an instance of it" if is_class else repr(returned)[:60]
        raise CheckError(f"a model or a Subject was expected of {described}, but it returned {found}; return a model")
    return returned


def _import(location: str) -> ModuleType:
    path = Path(location).resolve()
    if location.endswith(".py") and not path.is_file():
        near = difflib.get_close_matches(path.name, [other.name for other in path.parent.glob("*.py")], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise CheckError(f"a file was expected at {location}, but there is none{hint}")
    try:
        return _import_file(path) if location.endswith(".py") else importlib.import_module(location)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{location}.".startswith(f"{error.name}."):
            raise CheckError(
                f"a module {location} was expected, installed or in the current folder, but there is none; "
                "for a file write FILE.py:FUNCTION"
            ) from error
        raise CheckError(f"{location} cannot be imported: {describe_error(error)}; fix that first") from error


def _import_file(path: Path) -> ModuleType:
    """The file as a module under a new name, since a module of its name may be loaded already."""
    spec = importlib.util.spec_from_file_location(f"checked_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _find_function(module: ModuleType, location: str, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if not callable(function):
        names = [other for other, value in vars(module).items() if callable(value) and not other.startswith("_")]
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names) or 'no functions'}"
        raise CheckError(f"a function {name!r} was expected in {location}, but there is none; {hint}")
    return function


def _line(function: Callable[..., Any]) -> str:
    try:
        return f" ({inspect.getsourcefile(function)}:{inspect.getsourcelines(function)[1]})"
    except (OSError, TypeError):  # not written in Python
        return ""
