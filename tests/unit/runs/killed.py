"""Helper of the tests: train a run in child processes that are killed with SIGKILL.

python killed.py steps RUN 3 5      die after update 3; resume, and die after update 5
python killed.py calls RUN COPIES   in the copy COPIES/n of RUN, for n = 1, 2, …, die at the n-th call that changes a
                                    file, until a copy is trained to its end
python killed.py encode RUN COPIES  the same, of a large text that is encoded, and read 64 bytes at a time
"""

import builtins
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # here, since the first optimizer would import it in every child

from clearformer.data import pieces
from clearformer.runs.folder import open_folder
from clearformer.runs.session import train_run

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # threads do not survive a fork
torch.set_num_threads(1)

CHANGES = ("fsync", "rename", "replace", "mkdir", "rmdir", "unlink")
"""functions of `os` that `Path` and `shutil` call"""


LIMIT = 300
"""seconds of a child, after which SIGALRM ends it"""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train(folder: Path, stop: int | None = None) -> None:
    for progress in train_run(open_folder(folder, print)):
        if progress.record.step == stop:
            die()


def was_killed(function: Callable[[], None]) -> bool:
    """Run `function` in a child process; return whether it was killed. Exit if it failed otherwise."""
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT)
        try:
            function()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and status != 0:
        sys.exit(f"the child ended with status {status}")
    return killed


class HalfWritten:
    """A file whose writes can be killed halfway."""

    def __init__(self, file: Any, tick: Callable[[], None]) -> None:
        self.file = file
        self.tick = tick

    def __enter__(self) -> "HalfWritten":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, content: Any) -> None:
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        self.tick()
        self.file.write(content[len(content) // 2 :])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def die_at_call(number: int) -> None:
    """Make the process die at the `number`-th call from here on that changes a file."""
    calls = 0

    def tick() -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            die()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            tick()
            return function(*arguments, **named)

        return call

    def opened(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if "w" not in mode and "a" not in mode:
            return real_open(path, mode, *arguments, **named)
        tick()
        return HalfWritten(real_open(path, mode, *arguments, **named), tick)

    real_open = io.open
    io.open = builtins.open = opened
    for name in CHANGES:
        setattr(os, name, counted(getattr(os, name)))


def encode(folder: Path) -> None:
    pieces.BLOCK = 64
    open_folder(folder, print).batches("train")


def until_call(function: Callable[[Path], None], folder: Path, number: int) -> None:
    die_at_call(number)
    function(folder)


def main() -> None:
    command, run, *rest = sys.argv[1:]
    if command == "steps":
        for step in map(int, rest):
            assert was_killed(lambda step=step: train(Path(run), step))
        return
    number, killed, function = 0, True, {"calls": train, "encode": encode}[command]
    while killed:
        number += 1
        copy = Path(rest[0]) / f"{number}"
        shutil.copytree(run, copy)
        killed = was_killed(lambda copy=copy, number=number: until_call(function, copy, number))


if __name__ == "__main__":
    main()
