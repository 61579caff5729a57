"""Stop on SIGINT or SIGTERM where it is safe: the first asks, the second does not wait."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from clearformer.api.display import say


@dataclass
class Stop:
    """`signal` is the number of the signal that asked us to stop, or 0."""

    signal: int = 0


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Note a first signal instead of dying of it; restore the usual behaviour for a second, and at the end.

    Only the main thread can; in another one signals do what they always do.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def ask(number: int, _frame: FrameType | None) -> None:
        stop.signal = number
        restore()
        say("stopping after this step; once more stops at once")

    for number in usual:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()
