"""What is said of a number that is too large, where two outputs should be the same."""

import math
from collections.abc import Callable

from clearformer.checks.outcome import Outcome, failed, passed
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe, difference


def pass_or_explain(probe: Probe, inputs: Inputs, worst: float, explain: Callable[[], Outcome]) -> Outcome:
    """Passed where `worst` is small. Else what `explain` says, unless a plain call of the model goes wrong already."""
    if worst <= TOLERANCE:
        return passed(worst, TOLERANCE)
    once, again = probe.logits(inputs), probe.logits(inputs)
    if not once.isfinite().all():
        return passed(math.nan, TOLERANCE)  # which the runner reports as not finite
    moved = float(difference(once, again).max())
    if moved <= TOLERANCE:
        return explain()
    return failed(
        "not-repeatable",
        moved,
        TOLERANCE,
        case=f"two calls with the same tokens differ by {moved:.2g} of the logits' spread",
        diagnosis="The model is not the same from one call to the next, so that nothing else can be told: look for dropout "
        "that stays on in evaluation, random numbers, or state that a call leaves behind.",
    )
