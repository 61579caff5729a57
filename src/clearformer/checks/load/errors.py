"""Which line of the user's code an error comes from."""

import sysconfig
import traceback
from pathlib import Path

CHECKS_FOLDER = str(Path(__file__).parents[1])
STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"]
INSTALLED = ("site-packages", "dist-packages")


def describe_error(error: BaseException) -> str:
    """The error's type, the first line of its message, and the last line of the user's code in its traceback."""
    message = (str(error).splitlines() or [""])[0]
    name = type(error).__name__
    return f"{name}: {message} ({_location(error)})" if message else f"{name} ({_location(error)})"


def _location(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:  # the offending file has no frame
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    of_user = [frame for frame in frames if _owner(frame.filename) == "user"]
    of_libraries = [frame for frame in frames if _owner(frame.filename) == "library"]
    for candidates in (of_user, of_libraries, frames):
        if candidates:
            return f"{candidates[-1].filename}:{candidates[-1].lineno}, in {candidates[-1].name}"
    return "no line is known"


def _owner(filename: str) -> str:
    if any(folder in filename for folder in INSTALLED) and not filename.startswith(CHECKS_FOLDER):
        return "torch" if "/torch/" in Path(filename).as_posix() else "library"
    return "checks or Python" if filename.startswith((CHECKS_FOLDER, STANDARD_LIBRARY, "<frozen")) else "user"
