"""Two systems are compared at the same work or not at all; disturbed pairs do not count."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks" / "speed"))

import bench
import pairs

COMPARISON = pairs.Comparison("ours", "theirs", "training", {"size": "S"}, "tokens/s", aim=2.0)


class Recorded:
    """A system with as many parameters as the other, whose measurements are known: (units a second, others' share)."""

    measurements: dict[str, list[tuple[float, float]]]

    asked: list[tuple[str, dict[str, Any]]]

    def __init__(self, system: str, work: str, settings: dict[str, Any]) -> None:
        self.asked.append((f"{system} {work}", settings))
        self.left = iter(self.measurements[system])
        self.found = {"parameters": 100, "facts": {"loss": 4.2}}
        self.process = self

    def measure(self, _: float) -> tuple[float, float]:
        return next(self.left)

    def kill(self) -> None: ...

    def wait(self) -> None: ...


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> type[Recorded]:
    Recorded.asked = []
    monkeypatch.setattr(pairs, "Process", Recorded)
    monkeypatch.setattr(pairs, "wait_until_quiet", lambda: 0.0)
    return Recorded


def test_a_ratio_is_the_median_of_undisturbed_pairs(recorded: type[Recorded]):
    recorded.measurements = {
        "ours": [(10, 0.0), (90, 0.5), (30, 0.0), (24, 0.01)],  # in the second pair others had half of the machine
        "theirs": [(10, 0.0), (1, 0.0), (10, 0.0), (12, 0.0)],
    }
    found = pairs.compare(COMPARISON, rounds=3, seconds=1.0)
    assert found["ratio"] == {"median": 2.0, "least": 1.0, "most": 3.0}
    assert (found["pairs"], found["disturbed"]) == (3, 1)
    assert (found["ours"], found["theirs"]) == (24, 10)


def test_a_peer_may_be_asked_for_its_own_settings(recorded: type[Recorded]):
    recorded.measurements = {"ours": [(3, 0.0)], "theirs": [(1, 0.0)]}
    comparison = replace(COMPARISON, settings={"size": "M", "precision": "bfloat16"}, theirs={"precision": "float32"})
    assert pairs.compare(comparison, rounds=1, seconds=1.0)["ratio"]["median"] == 3
    assert recorded.asked == [
        ("ours training", {"size": "M", "precision": "bfloat16"}),
        ("theirs training", {"size": "M", "precision": "float32"}),
    ]
    assert comparison.name == "training M bfloat16, ours / theirs float32"


def test_a_machine_that_is_never_quiet_is_measured_all_the_same_and_it_is_said(recorded: type[Recorded]):
    recorded.measurements = {"ours": [(20, 0.5)] * 6, "theirs": [(10, 0.5)] * 6}
    found = pairs.compare(COMPARISON, rounds=2, seconds=1.0)
    assert (found["ratio"]["median"], found["pairs"], found["disturbed"]) == (2.0, 0, 6)


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"parameters": 110, "facts": {"loss": 4.2}}, "as many parameters were expected, found 100 and 110"),
        ({"parameters": 100, "facts": {"loss": 6.9}}, "the same loss was expected, found 4.2 and 6.9"),
    ],
)
def test_other_work_is_not_compared(theirs: dict[str, Any], message: str):
    with pytest.raises(pairs.NotComparedError, match=message):
        pairs.check_same({"parameters": 100, "facts": {"loss": 4.2}}, theirs)


def test_another_number_of_tokens_is_other_work():
    ours, theirs = ({"parameters": 1, "facts": {"tokens out": count}} for count in (512, 511))
    with pytest.raises(pairs.NotComparedError, match="the same tokens out was expected, found 512 and 511"):
        pairs.check_same(ours, theirs)


def test_results_are_kept_by_processor():
    assert bench.slug("Intel(R) Xeon(R) Processor @ 2.80GHz") == "intel-xeon-processor-2.80ghz"


def test_a_peer_that_cannot_be_installed_is_said_and_not_compared(monkeypatch: pytest.MonkeyPatch):
    def refuse(_: str) -> None:
        raise pairs.NotInstalledError("no network")

    monkeypatch.setattr(pairs, "python_of", refuse)
    with pytest.raises(pairs.NotComparedError, match="joeynmt was expected from PyPI, but: no network"):
        pairs.Process("joeynmt", "training", {})
