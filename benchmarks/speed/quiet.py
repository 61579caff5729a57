"""Whether the machine is quiet: how much of its processors' time goes to others than the one that is measured."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

STAT = Path("/proc/stat")
IDLE = (3, 4)
"""columns of idle time, and of waiting for a disk"""
QUIET = 0.08
"""share of all processors that others may have while nothing is measured; a virtual machine's own threads had 0.02"""
LOOK, PATIENCE = 0.3, 20.0
"""seconds of one look, and of waiting before it is measured all the same"""


@dataclass(frozen=True)
class Clock:
    """A moment; the busy seconds of all processors since then are `busy_since`."""

    wall: float
    busy: float

    @classmethod
    def now(cls) -> "Clock":
        if not STAT.exists():  # macOS, Windows: nothing is known of others
            return cls(time.perf_counter(), 0.0)
        columns = [int(number) for number in STAT.read_text().split("\n", 1)[0].split()[1:9]]
        ticks = sum(count for column, count in enumerate(columns) if column not in IDLE)
        return cls(time.perf_counter(), ticks / os.sysconf("SC_CLK_TCK"))

    def others(self, own_seconds: float) -> float:
        """The share of all processors' time since then that was not `own_seconds`; 0 where it is not known."""
        now = Clock.now()
        everything = (now.wall - self.wall) * (os.cpu_count() or 1)
        return max(0.0, now.busy - self.busy - own_seconds) / everything if STAT.exists() else 0.0


def wait_until_quiet() -> float:
    """Wait until others are quiet, or for PATIENCE; return how busy they were last."""
    started = time.perf_counter()
    while True:
        clock = Clock.now()
        time.sleep(LOOK)
        share = clock.others(0.0)
        if share <= QUIET or time.perf_counter() - started > PATIENCE:
            return share
