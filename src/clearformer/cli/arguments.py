"""Parsing command lines with tyro, from dataclasses and functions, and reading standard input."""

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
MIN_SIMILARITY = 0.65
"""of a flag to be suggested for an unknown one: --train.batch-tokens for --batch-size is just above it"""


def parse(what: Callable[..., T], arguments: Sequence[str], command: str, default: Any = None) -> T:
    """Call `what`, a function or a dataclass, with the parsed `arguments`; `--help` prints and exits.

    Raises ClearformerError for an unknown flag or an invalid value.
    """
    prog = f"clearformer {command}"
    errors = io.StringIO()
    settings = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(what, args=list(arguments), prog=prog, config=MARKERS, **settings)
    except SystemExit as exit_:
        if exit_.code == 0:
            raise
        message = _unknown_flag(arguments, flags(what, default)) or _error_message(errors.getvalue())
        raise ClearformerError(f"{message}; see {prog} --help") from exit_
    except ConfigError as error:
        flag = f"--{error.field.replace('_', '-')}"
        raise ConfigError(f"{flag}{str(error).removeprefix(error.field)}") from error


def flags(what: Callable[..., Any], default: Any = None) -> dict[str, str]:
    """Each flag as the help shows it, such as `--beam INT` or `--cache, --no-cache`, and its description.

    Empty defaults are left out.
    """
    found: dict[str, str] = {}
    flag = ""
    for line in _help(what, default).splitlines():
        text = line[2:].rstrip("│ ")
        if re.match("[│ ] --?[a-zA-Z]", line):
            flag, _, found[flag] = text.partition("  ")
        elif not text.startswith(" "):  # the title or the description of a group
            flag = ""
        if flag and text.startswith(" "):
            found[flag] += f" {text.strip()}"
    return {
        re.sub(r"\[(\w+) \[\1 \.\.\.\]\]", r"[\1 ...]", flag): re.sub(r"\(default: (None|'')?\)$", "", meaning).strip()
        for flag, meaning in found.items()
    }


def _help(what: Callable[..., Any], default: Any) -> str:
    """tyro's help in 100 columns: from 130 on it puts groups side by side. Some versions draw frames."""
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


def _unknown_flag(arguments: Sequence[str], known: dict[str, str]) -> str:
    """A message for the first unknown flag, with a suggestion if one is similar; "" if all are known.

    Flags are compared, without dashes, as a whole and by the part after the last dot: --steps means --train.steps.
    """
    names = [name for flag in known for name in re.findall("--?[a-zA-Z][a-zA-Z0-9.-]*", flag)]
    typed = [argument.split("=")[0] for argument in arguments if re.match("--?[a-zA-Z]", argument)]
    for flag in typed:
        if flag.replace("_", "-") not in names:
            similarity = {name: max(_ratio(flag, name), _ratio(_last_part(flag), _last_part(name))) for name in names}
            nearest = max(names, key=similarity.__getitem__)
            hint = f" (did you mean {nearest}?)" if similarity[nearest] >= MIN_SIMILARITY else ""
            return f"the flag {flag} is unknown{hint}"
    return ""


def _ratio(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.lstrip("-"), other.lstrip("-")).ratio()


def _last_part(flag: str) -> str:
    return flag.rpartition(".")[2]


def _error_message(box: str) -> str:
    """The text of tyro's framed error message; without UTF-8 the frame is of ASCII characters."""
    box = box[max(0, box.find("╭")) :]  # Python may print an exception in a finalizer before it, as on Ctrl-C
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()[1:]]  # the first is a title
    marked = "\n".join("" if set(line) <= {"─", "-"} else line for line in lines)
    paragraphs = [" ".join(paragraph.split()) for paragraph in marked.split("\n\n") if paragraph.strip()]
    message = paragraphs[0].rstrip(".")
    before, expected, choices = message.partition("Expected one of ")
    if "'None'" in choices:  # listed, in any order, for optional flags, but it cannot be typed
        names = sorted(set(re.findall("'(.+?)'", choices)) - {"None"})
        return f"{before}{expected}{tuple(names)}"
    return message


def exit_code(stopped: int) -> int:
    """128 + the signal that stopped training, or 0 if none did."""
    return 128 + stopped if stopped else 0


def input_lines() -> Iterator[str]:
    """Lines of standard input, without newlines and byte order mark. Raises DataError if it is not UTF-8."""
    if sys.stdin.isatty():
        say("type a line and press return; end with Ctrl-D")
    for number, line in enumerate(sys.stdin.buffer, 1):
        try:
            text = line.decode("utf-8").removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as error:
            raise DataError(f"UTF-8 text was expected, but line {number} of standard input is not: {error}") from error
        yield text.removeprefix("\ufeff") if number == 1 else text
