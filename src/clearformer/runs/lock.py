"""One process trains a run at a time: two would overwrite each other's checkpoints and mix their metrics."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clearformer.errors import RunError


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder until the block ends; the system lets go of it when the process dies, however it dies.

    Raises RunError if another process holds it. Windows has no such lock on folders, and none is taken there.
    """
    if os.name == "nt":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"{folder} is being trained by another process; wait for it, or stop it first") from error
        yield
    finally:
        os.close(descriptor)
