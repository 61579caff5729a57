"""The command line of each command, made by tyro from the dataclasses and functions it sets."""

import contextlib
import difflib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import tyro

from clearformer.api.display import say
from clearformer.errors import ClearformerError, ConfigError, DataError

T = TypeVar("T")

MARKERS = (tyro.conf.AvoidSubcommands, tyro.conf.DisallowNone)
ALIKE = 0.65
"""how alike two flags must be for one to be a slip of the other: --batch-size and --train.batch-tokens are, just"""


def parse(what: Callable[..., T], arguments: Sequence[str], command: str, default: Any = None) -> T:
    """Call `what`, a function or a dataclass, with what `arguments` say; `--help` prints and leaves.

    Raises ClearformerError, in one sentence, for a flag or a value that cannot be.
    """
    prog = f"clearformer {command}"
    complaint = io.StringIO()
    settings = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(what, args=list(arguments), prog=prog, config=MARKERS, **settings)
    except SystemExit as leaving:
        if leaving.code == 0:
            raise
        sentence = _unknown(arguments, flags(what, default)) or _sentence(complaint.getvalue())
        raise ClearformerError(f"{sentence}; see {prog} --help") from leaving
    except ConfigError as error:
        flag = f"--{error.field.replace('_', '-')}"
        raise ConfigError(f"{flag}{str(error).removeprefix(error.field)}") from error


def flags(what: Callable[..., Any], default: Any = None) -> dict[str, str]:
    """Each flag as the help shows it, such as `--beam INT` or `--cache, --no-cache`, and what that says of it.

    A default that is nothing is left out.
    """
    found: dict[str, str] = {}
    flag = ""
    for line in _help(what, default).splitlines():
        text = line[2:].rstrip("│ ")
        if re.match("[│ ] --?[a-zA-Z]", line):
            flag, _, found[flag] = text.partition("  ")
        elif not text.startswith(" "):  # the title of a group, or what it says of itself
            flag = ""
        if flag and text.startswith(" "):
            found[flag] += f" {text.strip()}"
    return {
        re.sub(r"\[(\w+) \[\1 \.\.\.\]\]", r"[\1 ...]", flag): re.sub(r"\(default: (None|'')?\)$", "", meaning).strip()
        for flag, meaning in found.items()
    }


def _help(what: Callable[..., Any], default: Any) -> str:
    """What tyro shows, in 100 columns: from 130 on it sets groups side by side. Some versions draw frames."""
    settings = {} if default is None else {"default": default}
    shown, columns = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
            tyro.cli(what, args=["--help"], config=MARKERS, **settings)
    finally:
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns
    return shown.getvalue()


def _unknown(arguments: Sequence[str], known: dict[str, str]) -> str:
    """What to say of the first flag that the command does not have, with the nearest that it has; "" if all are known.

    Flags are alike as a whole, or in what stands behind their last dots: --steps means --train.steps.
    """
    names = [name for flag in known for name in re.findall("--?[a-zA-Z][a-zA-Z0-9.-]*", flag)]
    typed = [argument.split("=")[0] for argument in arguments if re.match("--?[a-zA-Z]", argument)]
    for flag in typed:
        if flag.replace("_", "-") not in names:
            alike = {name: max(_alike(flag, name), _alike(_last(flag), _last(name))) for name in names}
            nearest = max(names, key=alike.__getitem__)
            hint = f" (did you mean {nearest}?)" if alike[nearest] >= ALIKE else ""
            return f"the flag {flag} is unknown{hint}"
    return ""


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def _last(flag: str) -> str:
    return flag.rpartition(".")[2].lstrip("-")


def _sentence(box: str) -> str:
    """The complaint in the frame that tyro draws. It draws without UTF-8 too."""
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()[1:]]  # the first is a title
    marked = "\n".join("" if set(line) <= {"─", "-"} else line for line in lines)
    paragraphs = [" ".join(paragraph.split()) for paragraph in marked.split("\n\n") if paragraph.strip()]
    sentence = paragraphs[0].rstrip(".")
    before, expected, choices = sentence.partition("Expected one of ")
    if "'None'" in choices:  # tyro names it, in any order, where a flag may be left out; it cannot be typed
        names = sorted(set(re.findall("'(.+?)'", choices)) - {"None"})
        return f"{before}{expected}{tuple(names)}"
    return sentence


def exit_code(stopped: int) -> int:
    """The exit code of a training that a signal stopped, or 0 of one that went to its end."""
    return 128 + stopped if stopped else 0


def input_lines() -> Iterator[str]:
    """Lines of standard input, without their ends and a byte order mark. Raises DataError where it is not UTF-8."""
    if sys.stdin.isatty():
        say("type a line and press return; end with Ctrl-D")
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            text = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise DataError(f"UTF-8 text was expected, but line {number} of standard input is not: {error}") from error
        yield text.removeprefix("\ufeff") if number == 1 else text
