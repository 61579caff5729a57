"""A lock that lets one process at a time train a run: two would overwrite each other's checkpoints and metrics."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clearformer.errors import RunError


@contextmanager
def exclusive_lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Lock the folder until the block ends; the system releases the lock when the process dies, even if killed.

    If another process holds the lock, `wait` for it, or raise RunError. Windows cannot lock folders, and none is
    locked there.
    """
    if os.name == "nt":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"{folder} is being trained by another process; wait for it, or stop it first") from error
        yield
    finally:
        os.close(descriptor)
