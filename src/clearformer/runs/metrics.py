"""metrics.jsonl: one JSON object a line for each logged step, with at least `step` and `loss` (nats a token).

It holds nothing that depends on the clock, so a run that was interrupted and resumed has the same file, to the byte, as
one that was not.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clearformer.errors import CheckpointError, shortened

ALWAYS = 10
"""the first steps are logged whatever `log_every` says: what goes wrong early shows there"""


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line. Raises CheckpointError where it cannot be written, the disk being full, say."""
    with _writing(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def sync(path: Path) -> None:
    """Make what was written durable; a checkpoint does this first, so it never is ahead of its metrics."""
    with _writing(path), path.open("a") as file:
        os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """All whole lines; what a crash left of a last one is not a line. Raises CheckpointError for any other damage."""
    if not path.exists():
        return []
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
        found = [json.loads(line) for line in lines]
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"a JSON object in every line of {path} was expected, but: {error}; mend it") from error
    for number, line in enumerate(found, 1):
        if not _is_record(line):
            raise CheckpointError(
                f"an object of numbers, step and loss among them, was expected in line {number} of {path}, found "
                f"{shortened(line)}; mend it"
            )
    return found


def _is_record(line: Any) -> bool:
    numbers = isinstance(line, dict) and all(type(value) in (int, float) for value in line.values())
    return numbers and type(line.get("step")) is int and "loss" in line


def cut(path: Path, step: int) -> None:
    """Forget everything after `step`: training goes on from there and will write it again."""
    kept = [json.dumps(line) + "\n" for line in read(path) if line["step"] <= step]
    temporary = path.with_suffix(".tmp")
    with _writing(path):
        temporary.write_text("".join(kept), encoding="utf-8")
        sync(temporary)  # renamed before it is on the disk, a power cut could leave nothing
        temporary.replace(path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{path} must be a file that can be written to, but: {error.strerror}; make room and resume the run"
        ) from error
