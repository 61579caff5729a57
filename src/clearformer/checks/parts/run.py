"""Run the checks of a part, one after another, each on an unchanged part."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from clearformer.checks.check import Result, run_isolated
from clearformer.checks.outcome import Outcome
from clearformer.checks.parts.catalogue import PARTS
from clearformer.checks.parts.probe import validate_declared
from clearformer.checks.subject import PartSubject
from clearformer.errors import ClearformerError


def run_part(
    name: str, target: Any, seed: int = 1, on_start: Callable[[str], None] = lambda _: None
) -> Iterator[Result]:
    """Yield each check's result as soon as it is there. `target` is the part, or a PartSubject with declarations.

    `on_start` is called with each check's id before it runs. Afterwards a module's weights, gradients, training mode
    and the random states are as before.
    Raises ClearformerError where there is no such kind of part, or PartSubject declares something unknown.
    """
    if name not in PARTS:
        raise ClearformerError(f"one of the parts {', '.join(PARTS)} was expected, found {name!r}")
    kind, subject = PARTS[name], target if isinstance(target, PartSubject) else PartSubject(target)
    validate_declared(subject, kind.probe.declarable)
    crashes: dict[str, str] = {}
    shared: dict[str, Any] = {}
    for number, (check_id, check) in enumerate(kind.checks.items()):
        on_start(check_id)
        start, check_seed = time.perf_counter(), 1000 * seed + number
        make_probe = partial(kind.probe, subject, check_seed, shared)
        outcome = run_isolated(check, subject.part, make_probe, check_seed)
        if outcome.status == "crashed" and crashes.setdefault(outcome.case, check_id) != check_id:
            outcome = Outcome("not run", case=f"it crashes as in {crashes[outcome.case]}")
        yield Result(check_id, check, outcome, time.perf_counter() - start)
