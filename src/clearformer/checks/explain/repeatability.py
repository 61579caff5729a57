"""The outcome of comparing two outputs that should be equal."""

import math
from collections.abc import Callable

from clearformer.checks.outcome import Outcome, failed, passed
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe, difference


def pass_or_explain(probe: Probe, inputs: Inputs, worst: float, explain: Callable[[], Outcome]) -> Outcome:
    """Passed where `worst`, a difference of logits in standard deviations, is within tolerance; else `explain()`.

    `explain` is not called where two plain calls of the model differ already.
    """
    if worst <= TOLERANCE:
        return passed(worst, TOLERANCE)
    first, second = probe.logits(inputs), probe.logits(inputs)
    if not first.isfinite().all():
        return passed(math.nan, TOLERANCE)  # which run_isolated reports as not finite
    repeated = float(difference(first, second).max())
    if repeated <= TOLERANCE:
        return explain()
    return failed(
        "not-repeatable",
        repeated,
        TOLERANCE,
        case=f"two calls with the same tokens differ by {repeated:.2g} standard deviations of the logits",
        diagnosis="The model's output changes from call to call, so that nothing else can be measured: look for "
        "dropout that is active in evaluation, random numbers, or state that a call leaves behind.",
    )
