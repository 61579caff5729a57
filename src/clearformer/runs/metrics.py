"""metrics.jsonl: one JSON object per line and logged step, with at least `step` and `loss` (nats per token).

It contains no times, so the file of an interrupted and resumed run is identical to that of an uninterrupted one.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clearformer.errors import CheckpointError, shortened

ALWAYS_LOGGED = 10
"""the first steps, which are logged whatever `log_every` is: early failures show there"""


def is_logged(step: int, log_every: int) -> bool:
    """Whether `step` has a line, even if no validation loss was measured after it."""
    return step <= ALWAYS_LOGGED or step % log_every == 0


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line. Raises CheckpointError if it cannot be written, for example to a full disk."""
    with _writing(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def sync(path: Path) -> None:
    """fsync the file; called before a checkpoint is saved, which is so never ahead of its metrics."""
    with _writing(path), path.open("a") as file:
        os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """All complete lines; an incomplete last line is ignored. Raises CheckpointError for any other damage."""
    return read_lines(path, _is_record, "an object of numbers, step and loss among them,")


def read_lines(path: Path, is_valid: Callable[[Any], bool], expected: str) -> list[dict[str, Any]]:
    """`read`, of a file whose lines are `expected`, in words."""
    if not path.exists():
        return []
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
        found = [json.loads(line) for line in lines]
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"a JSON object in every line of {path} was expected, but: {error}; repair it") from error
    for number, line in enumerate(found, 1):
        if not is_valid(line):
            raise CheckpointError(
                f"{expected} was expected in line {number} of {path}, found {shortened(line)}; repair it"
            )
    return found


def _is_record(line: Any) -> bool:
    numbers = isinstance(line, dict) and all(type(value) in (int, float) for value in line.values())
    return numbers and type(line.get("step")) is int and "loss" in line


def validation_losses(path: Path, step: int) -> list[float]:
    """Those measured until `step`, in their order."""
    return [line["validation_loss"] for line in read(path) if "validation_loss" in line and line["step"] <= step]


def truncate(path: Path, step: int) -> None:
    """Remove the lines after `step`: training resumes there and will write them again."""
    rewrite(path, [line for line in read(path) if line["step"] <= step])


def rewrite(path: Path, lines: list[dict[str, Any]]) -> None:
    """Replace the file by one with these lines, atomically."""
    temporary = path.with_suffix(".tmp")
    with _writing(path):
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        sync(temporary)  # renamed without it, the file could be empty after a power failure
        temporary.replace(path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{path} must be a file that can be written to, but: {error.strerror}; make room and resume the run"
        ) from error
