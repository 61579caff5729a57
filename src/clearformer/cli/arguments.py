"""The command line of each command, made by tyro from the dataclasses and functions it sets."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import tyro

from clearformer.errors import ClearformerError, ConfigError, DataError

T = TypeVar("T")

MARKERS = (tyro.conf.AvoidSubcommands,)


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
        raise ClearformerError(f"{_sentence(complaint.getvalue())}; see {prog} --help") from leaving
    except ConfigError as error:
        flag = f"--{error.field.replace('_', '-')}"
        raise ConfigError(f"{flag}{str(error).removeprefix(error.field)}") from error


def _sentence(box: str) -> str:
    """The complaint in the frame that tyro draws, and the flag that was perhaps meant. It draws without UTF-8 too."""
    lines = [line.strip("│╭╮╰╯ ") for line in box.splitlines()[1:]]  # the first is a title
    marked = "\n".join("" if set(line) <= {"─", "-"} else line for line in lines)
    paragraphs = [" ".join(paragraph.split()) for paragraph in marked.split("\n\n") if paragraph.strip()]
    hints = [word for line in paragraphs[1:] for word in line.split() if word.startswith("--")]
    meant = f" (did you mean {hints[0]}?)" if "Perhaps you meant" in box and hints else ""
    return paragraphs[0].rstrip(".") + meant


def say(message: str) -> None:
    """A line for the person, not for the program that reads our output."""
    print(message, file=sys.stderr, flush=True)


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
