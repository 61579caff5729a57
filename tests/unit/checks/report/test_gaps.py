"""What was not checked for want of a line is said with that line; what most checks wait for stands first."""

from clearformer.checks.check import Check, Result
from clearformer.checks.models.run import MISSING
from clearformer.checks.outcome import Outcome, passed
from clearformer.checks.report.gaps import describe_gaps, describe_use, gaps


def result(name: str, reason: str) -> Result:
    outcome = Outcome("does not apply", case=reason) if reason else passed(0.0, 1.0)
    return Result(name, Check("", lambda _: outcome), outcome, 0.0)


RESULTS = [
    result("masks.future", ""),
    result("masks.both-sides", "it is about bidirectional models, and this one is causal"),
    result("loss.shift", MISSING["loss"]),
    result("cache.steps", MISSING["step"]),
    result("cache.chunks", MISSING["step"]),
]


def test_checks_that_wait_for_one_line_stand_together_and_the_most_first():
    assert [gap.checks for gap in gaps(RESULTS)] == [("cache.steps", "cache.chunks"), ("loss.shift",)]
    heading, first, second = describe_gaps(RESULTS).splitlines()
    assert heading == "Not checked, for want of one line each:"
    assert first.startswith("    2 checks: no step with a cache was found: add --step model.METHOD")
    assert second.startswith("    1 check: the model's own loss was not found: add --loss model.METHOD")


def test_nothing_is_said_where_nothing_is_missing_or_was_found_out():
    assert describe_gaps(RESULTS[:2]) == ""
    assert describe_use(()) == ""
    assert describe_use(["kind: a guess"]) == "Found by trying the model:\n    kind: a guess"
