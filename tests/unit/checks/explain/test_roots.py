"""Of many failures the one that explains the others comes first, and those say nothing untrue of their own."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import clearformer.checks
from clearformer.checks.check import Result
from clearformer.checks.explain.roots import EXPLAINS, UNKNOWING, knows, link, roots
from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.outcome import Outcome

SOURCES = [path.read_text(encoding="utf-8") for path in Path(clearformer.checks.__file__).parent.rglob("*.py")]
CAUSES = {*re.findall('"([a-z0-9-]+)"', "".join(SOURCES)), "over-batch"}
"""all strings in the sources that may be a cause, and one that is put together"""
PATTERNS = {*EXPLAINS, *UNKNOWING, *(target for targets in EXPLAINS.values() for target in targets)}


def result(name: str) -> Result:
    """Of `check:cause`, or `check` for one that passed."""
    check, _, cause = name.partition(":")
    status = "crashed" if cause == "crashed" else "failed" if cause else "passed"
    outcome = Outcome(status, 1.0, 0.0, "" if cause == "crashed" else cause, "a case", "a diagnosis", ("a note",))
    return Result(check, CHECKS[check], outcome, 0.0)


def found(*names: str) -> list[Result]:
    return link([result(name) for name in names])


def follows(*names: str) -> dict[str, str]:
    return {result.id: result.follows for result in found(*names)}


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_each_pattern_names_a_check_and_a_cause_that_exist(pattern: str):
    check, _, cause = pattern.partition(":")
    assert any(fnmatchcase(name, check) for name in CHECKS)
    assert cause == "" or any(fnmatchcase(text, cause) for text in CAUSES)


def test_a_leak_explains_cache_and_loss_but_no_formula_that_fits():
    assert follows(
        "masks.future:no-mask", "masks.past", "cache.steps:empty-cache", "loss.shift:other", "loss.padding:summed"
    ) == {
        "masks.future": "",
        "masks.past": "",
        "cache.steps": "masks.future",
        "loss.shift": "masks.future",
        "loss.padding": "",
    }


def test_noise_in_evaluation_explains_everything():
    assert follows("masks.future:leak", "batches.permuted:row-number", "learning.dropout:dropout-in-evaluation") == {
        "masks.future": "learning.dropout",
        "batches.permuted": "learning.dropout",
        "learning.dropout": "",
    }


def test_what_follows_from_a_consequence_follows_from_its_root():
    names = ("masks.future:leak", "learning.dropout:not-reached-by-eval", "parameters.registered:module-in-a-list")
    assert follows(*names) == {
        "masks.future": "parameters.registered",
        "learning.dropout": "parameters.registered",
        "parameters.registered": "",
    }


def test_the_first_root_is_the_most_fundamental_and_one_that_knows_stands_above_one_that_does_not():
    results = found(
        "loss.shift:other", "loss.smoothing:other-smoothing", "masks.scaled:finite-mask", "masks.past:crashed"
    )
    assert [root.id for root in roots(results)][-2:] == ["masks.past", "loss.shift"]
    assert [knows(root) for root in roots(results)] == [True, True, False, False]
    assert roots(found("cache.steps:past-cut", "masks.past:past-unused"))[0].id == "masks.past"


def test_a_consequence_keeps_its_measurement_and_says_whose_it_is_instead_of_a_cause():
    consequence = found("masks.future:no-mask", "cache.steps:past-cut")[1].outcome
    assert (consequence.status, consequence.measured, consequence.case) == ("failed", 1.0, "a case")
    assert (consequence.cause, consequence.notes) == ("", ())
    assert consequence.diagnosis == "It follows from masks.future."


def test_crashes_with_one_error_are_one_whatever_the_sizes_in_it():
    def crash(name: str, error: str) -> Result:
        return Result(name, CHECKS[name], Outcome("crashed", case=error), 0.0)

    results = link([crash("masks.past", "size 3"), crash("order.matters", "size 12"), crash("state.saved", "a name")])
    assert [result.follows for result in results] == ["", "masks.past", ""]
