"""Graceful shutdown on SIGINT or SIGTERM: the first stops after the current step, the second immediately."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from clearformer.api.display import say


@dataclass
class Stop:
    """`signal` is the number of the signal received, or 0."""

    signal: int = 0


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Record a first signal instead of being terminated; restore the previous handlers for a second, and at the end.

    In other threads than the main one, where handlers cannot be set, signals are not handled.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.signal = number
        restore()
        say("stopping after this step; interrupt again to stop immediately")

    for number in previous:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()
