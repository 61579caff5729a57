"""What a page shows of a run that learned arithmetic modulo a prime: measures, key frequencies, phases.

They take longer than a page may, 0.3 seconds a checkpoint, and are measured as it is written.
"""

import dataclasses
import math
from typing import Any

from clearformer.inspection.grokking.cycles import CYCLIC, cycle
from clearformer.inspection.grokking.phases import THRESHOLD
from clearformer.inspection.grokking.runs import grokking
from clearformer.runs.folder import RunFolder


def contents(run: RunFolder) -> dict[str, Any]:
    """Of a run that `can_be_measured`: what the page's view Grok reads.

    "numbers" are those on the circle, place by place (`cycles`), or all, if the operation has no circle.
    """
    assert run.config.modular is not None
    p, operation = run.config.modular.modulus, run.config.modular.operation
    found = grokking(run)
    measures = [_line(dataclasses.asdict(each)) for each in found.history.measures]
    spans = found.phases.spans(measures[0]["step"], measures[-1]["step"])
    return {
        "frequencies": found.history.frequencies,
        "numbers": cycle(operation, p).first.tolist() if operation in CYCLIC else list(range(p)),
        "measures": measures,
        "phases": [{"name": name, "first": first, "last": last} for name, (first, last) in spans.items()],
        "threshold": THRESHOLD,
    }


def _line(measures: dict[str, Any]) -> dict[str, Any]:
    """With the sum of all squared weights, and without numbers that JSON lacks."""
    squares = sum(measures.pop("squared_weights").values())
    line = measures | {"squared_weights": squares}
    return {name: value if value is None or math.isfinite(value) else None for name, value in line.items()}
