"""Run the checks of a part, one after another, each on the part as it was given."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from clearformer.checks.check import Result, run_isolated
from clearformer.checks.outcome import Outcome
from clearformer.checks.parts.catalogue import PARTS
from clearformer.checks.parts.probe import PartSubject, validate_declared
from clearformer.errors import ClearformerError


def run_part(name: str, target: Any, seed: int = 1, on_start: Callable[[str], None] = lambda _: None) -> Iterator[Result]:
    """Yield each check's result as it comes. `target` is the part, or a Meant that says more of it.

    Afterwards a module's weights, gradients, training mode and the random states are as before.
    Raises ClearformerError where there is no such part, or Meant says what nobody asked for.
    """
    if name not in PARTS:
        raise ClearformerError(f"one of the parts {', '.join(PARTS)} was expected, found {name!r}")
    part, meant = PARTS[name], target if isinstance(target, PartSubject) else PartSubject(target)
    validate_declared(meant, part.reads.declarable)
    crashes: dict[str, str] = {}
    memory: dict[str, Any] = {}
    for number, (id_, check) in enumerate(part.checks.items()):
        on_start(id_)
        start, own = time.perf_counter(), 1000 * seed + number
        outcome = run_isolated(check, meant.part, partial(part.reads, meant, own, memory), own)
        if outcome.status == "crashed" and crashes.setdefault(outcome.case, id_) != id_:
            outcome = Outcome("not run", case=f"it crashes as in {crashes[outcome.case]}")
        yield Result(id_, check, outcome, time.perf_counter() - start)
