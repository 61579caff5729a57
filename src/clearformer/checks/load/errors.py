"""Which line of the user's code an error comes from."""

import sysconfig
import traceback
from pathlib import Path

OURS = str(Path(__file__).parents[1])
PYTHON = sysconfig.get_paths()["stdlib"]
INSTALLED = ("site-packages", "dist-packages")


def what_happened(error: BaseException) -> str:
    """The error's first line, and the last line of the user's own code that it went through."""
    said = (str(error).splitlines() or [""])[0]
    name = type(error).__name__
    return f"{name}: {said} ({_where(error)})" if said else f"{name} ({_where(error)})"


def _where(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:  # it has no frame of its own
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if _whose(frame.filename) == "theirs"]
    libraries = [frame for frame in frames if _whose(frame.filename) == "a library's"]
    for found in (theirs, libraries, frames):
        if found:
            return f"{found[-1].filename}:{found[-1].lineno}, in {found[-1].name}"
    return "no line is known"


def _whose(filename: str) -> str:
    if any(folder in filename for folder in INSTALLED) and not filename.startswith(OURS):
        return "torch's" if "/torch/" in Path(filename).as_posix() else "a library's"
    return "ours or Python's" if filename.startswith((OURS, PYTHON, "<frozen")) else "theirs"
