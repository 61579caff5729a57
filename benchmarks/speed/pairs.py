"""Two systems at the same work, in turn, in processes of their own; the result is the ratio within each pair.

A pair in which others used the processors is measured again.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from environments import NotInstalledError
from peers import python_of
from quiet import QUIET, Clock, wait_until_quiet

CHILD = Path(__file__).with_name("child.py")
ROOT = Path(__file__).resolve().parents[2]
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34)}
"""glibc keeps freed memory, which NumPy's users can choose"""
MOST = 3
"""times the wanted pairs that are tried"""
SAME_PARAMETERS = 0.01
"""relative; a system may have an unused vector, such as Marian's bias of the logits"""
SAME_LOSS = 0.1
"""relative: that of random weights is near ln V for all"""


class NotComparedError(Exception):
    """Two systems that do other work than each other, or of which one is missing."""


@dataclass(frozen=True)
class Comparison:
    """`system` beside `against` at `work` with `settings`, and the ratio that is aimed at."""

    system: str
    against: str
    work: str
    settings: dict[str, Any]
    unit: str
    aim: float
    theirs: dict[str, Any] = field(default_factory=dict)
    """settings of `against` that differ"""

    @property
    def name(self) -> str:
        ours, theirs = (" ".join(map(str, settings.values())) for settings in (self.settings, self.theirs))
        return f"{self.work} {ours}, {self.system} / {self.against} {theirs}".rstrip()


class Process:
    """A system at its work, which waits until it is asked."""

    def __init__(self, system: str, work: str, settings: dict[str, Any]) -> None:
        wanted = {"system": system, "work": work, **settings}
        variables = {key: value for key, value in os.environ.items() if key != "OPENBLAS_CORETYPE"}
        try:
            python = python_of(system)
        except NotInstalledError as error:
            raise NotComparedError(f"{system} was expected from PyPI, but: {error}") from error
        self.process = subprocess.Popen(
            [python, str(CHILD), json.dumps(wanted)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=variables | {"PYTHONPATH": str(ROOT / "src")} | (MALLOC if "numpy" in system else {}),
        )
        self.found = self._read()

    def measure(self, seconds: float) -> tuple[float, float]:
        """Units a second, and the share of the processors that others had meanwhile."""
        clock = Clock.now()
        assert self.process.stdin is not None
        print(seconds, file=self.process.stdin, flush=True)
        answer = self._read()
        return answer["per_second"], clock.others(answer["own_seconds"])

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise NotComparedError(f"its process ended with status {self.process.wait()}; the error is above")
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.contextmanager
def processes(comparison: Comparison) -> Iterator[tuple[Process, Process]]:
    both: list[Process] = []
    try:
        for system, own in ((comparison.system, {}), (comparison.against, comparison.theirs)):
            both.append(Process(system, comparison.work, comparison.settings | own))
        yield both[0], both[1]
    finally:
        for one in both:
            one.process.kill()
            one.process.wait()


def compare(comparison: Comparison, rounds: int, seconds: float) -> dict[str, Any]:
    """Medians, and the median, least and most of the ratios of undisturbed pairs."""
    with processes(comparison) as (ours, theirs):
        check_same(ours.found, theirs.found)
        pairs: list[tuple[float, float]] = []
        disturbed: list[tuple[float, float]] = []
        while len(pairs) < rounds and len(pairs) + len(disturbed) < MOST * rounds:
            wait_until_quiet()
            (mine, first), (other, second) = ours.measure(seconds), theirs.measure(seconds)
            (pairs if max(first, second) <= QUIET else disturbed).append((mine, other))
    used = pairs or disturbed  # a machine that is never quiet is measured all the same, and it is said
    ratios = [mine / other for mine, other in used]
    return {
        "unit": comparison.unit,
        "ours": _rounded(statistics.median(mine for mine, _ in used)),
        "theirs": _rounded(statistics.median(other for _, other in used)),
        "ratio": {name: round(pick(ratios), 2) for name, pick in PICKS.items()},
        "aim": comparison.aim,
        "pairs": len(pairs),
        "disturbed": len(disturbed),
        "seconds": seconds,
        "parameters": ours.found["parameters"],
        "facts": {"ours": ours.found["facts"], "theirs": theirs.found["facts"]},
    }


PICKS: dict[str, Callable[[list[float]], float]] = {"median": statistics.median, "least": min, "most": max}


def check_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Raises NotComparedError for models of other sizes, another loss at the start, or another number of tokens."""
    if abs(ours["parameters"] / theirs["parameters"] - 1) > SAME_PARAMETERS:
        raise NotComparedError(
            f"as many parameters were expected, found {ours['parameters']} and {theirs['parameters']}"
        )
    for name, value in ours["facts"].items():
        other, tolerance = theirs["facts"][name], SAME_LOSS if name == "loss" else 0.0
        if abs(value / other - 1) > tolerance:
            raise NotComparedError(f"the same {name} was expected, found {value} and {other}")


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
