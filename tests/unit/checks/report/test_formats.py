"""Results as text, JSON, JUnit XML and Markdown: nothing is lost, and the syntax is valid."""

import json
import platform
from xml.etree import ElementTree

import pytest
import torch

from clearformer import __version__
from clearformer.checks.check import Check, Result
from clearformer.checks.explain.roots import link
from clearformer.checks.outcome import Outcome, failed, passed
from clearformer.checks.report.formats import Report, as_json, as_junit, as_markdown
from clearformer.checks.report.text import describe_problem, describe_problems, summary


def result(name: str, claim: str, outcome: Outcome, seconds: float) -> Result:
    return Result(name, Check(claim, lambda _: outcome), outcome, seconds)


BROKEN = failed(
    "diagonal", 0.25, 1e-4, case="at a length of 2", diagnosis="each token sees one ahead", notes=("a", "b")
)
ODD = "bad <tag> & \x00\x1b[31m ``` | [red]\ud800"  # invalid in XML, and markup in Markdown and rich
RESULTS = [
    result("masks.future", "no future token influences a past logit", BROKEN, 1.5),
    result("masks.past", "every earlier token is used", passed(3e-8, 1e-4), 2.0),
    result("order.matters", "exchanged tokens change the output", Outcome("crashed", case=ODD), 0.25),
    result("cache.steps", "cached equals uncached", Outcome("does not apply", case="write Subject(..., step=...)"), 0),
    result("cache.limit", "up to the context", Outcome("does not apply", case="no limit"), 0),
    result("learning.reversing", "reversing is learned", Outcome("not run", case="it takes long"), 0),
    result("numbers.finite", "all is finite", failed("nan", float("inf"), 0.0, case="x", diagnosis="y"), 0.25),
]
REPORT = Report("GPT", "causal", 7, RESULTS)


def test_the_summary_counts_each_status_and_omits_those_without_results():
    assert summary(RESULTS) == "1 passed, 2 failed, 1 crashed, 2 do not apply, 1 not run, in 4 s"
    assert summary(RESULTS[1:2]) == "1 passed, in 2 s"
    assert summary(RESULTS[3:4]) == "1 does not apply, in 0 s"


def test_a_failure_is_described_by_measurement_case_diagnosis_notes_and_a_link():
    assert describe_problem(RESULTS[0]).splitlines() == [
        "masks.future FAILED (diagonal): no future token influences a past logit",
        "    measured   0.25, at most 0.0001 allowed",
        "    found      at a length of 2",
        "    means      each token sees one ahead",
        "    also seen  a",
        "    also seen  b",
        "    read on    clearformer check --explain masks.future",
    ]


def test_json_holds_every_result_under_the_documented_keys():
    content = json.loads(as_json(REPORT), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    keys = [
        "format",
        "subject",
        "environment",
        "seed",
        "seconds",
        "summary",
        "start_here",
        "ways",
        "not_checked",
        "checks",
    ]
    assert list(content) == keys
    assert content["format"] == 1
    assert content["subject"] == {"name": "GPT", "kind": "causal"}
    assert content["environment"]["clearformer"] == __version__
    assert content["environment"]["torch"] == torch.__version__
    assert content["environment"]["python"] == platform.python_version()
    assert (content["seed"], content["seconds"]) == (7, 4.0)
    assert content["summary"] == {"passed": 1, "failed": 2, "crashed": 1, "does not apply": 2, "not run": 1}
    assert content["checks"][0] == {
        "id": "masks.future",
        "claim": "no future token influences a past logit",
        "status": "failed",
        "measured": 0.25,
        "tolerance": 1e-4,
        "cause": "diagonal",
        "follows": "",
        "case": "at a length of 2",
        "means": "each token sees one ahead",
        "seen": ["a", "b"],
        "seconds": 1.5,
    }
    assert [check["id"] for check in content["checks"]] == [one.id for one in RESULTS]
    assert {tuple(check) for check in content["checks"]} == {tuple(content["checks"][0])}
    assert content["checks"][2]["case"] == ODD
    assert content["checks"][6]["measured"] is None


def test_junit_has_a_test_case_per_check_and_counts_failures():
    (suite,) = ElementTree.fromstring(as_junit(REPORT))
    assert suite.attrib == {
        "name": "clearformer check GPT", "tests": "7", "failures": "2", "errors": "1", "skipped": "3", "time": "4.000",
    }  # fmt: skip
    assert [case.get("name") for case in suite] == [one.id for one in RESULTS]
    tags = [[inside.tag for inside in case] for case in suite]
    assert tags == [["failure"], [], ["error"], ["skipped"], ["skipped"], ["skipped"], ["failure"]]
    assert suite[0].attrib == {"classname": "clearformer.masks", "name": "masks.future", "time": "1.500"}
    assert suite[0][0].attrib == {"message": "each token sees one ahead", "type": "diagonal"}
    assert suite[0][0].text == describe_problem(RESULTS[0])
    assert suite[2][0].get("message") == "bad <tag> & \ufffd\ufffd[31m ``` | [red]\ufffd"
    assert suite[3][0].get("message") == "write Subject(..., step=...)"


def test_markdown_names_the_versions_and_holds_a_table_and_the_failures_in_full():
    text = as_markdown(REPORT)
    lines = text.splitlines()
    assert lines[0] == "## clearformer check: GPT (causal)"
    for words in (summary(RESULTS), "seed 7", f"clearformer {__version__}", f"torch {torch.__version__}", "python 3."):
        assert words in lines[2]
    assert f"```\n{describe_problems(RESULTS)}\n```" in text
    alone = as_markdown(Report("GPT", "causal", 7, [RESULTS[2]]))
    assert f"````\n{describe_problems([RESULTS[2]])}\n````" in alone  # longer than the fence in the model's message
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) == 2 + len(RESULTS)
    assert table[2].startswith("| masks.future | failed | no future token influences a past logit | 0.25, at most ")
    assert {row.replace("\\|", "").count("|") for row in table} == {5}


def test_a_fence_in_markdown_is_longer_than_any_in_a_message():
    crash = [result("order.matters", "exchanged tokens change the output", Outcome("crashed", case=ODD), 0.25)]
    assert f"````\n{describe_problems(crash)}\n````" in as_markdown(Report("GPT", "causal", 7, crash))


LINKED = link(
    [
        result("masks.future", "no future token influences a past logit", BROKEN, 1.5),
        result("cache.steps", "cached equals uncached", failed("past-cut", 1.0, 0.0, case="x", diagnosis="y"), 0),
        result("loss.shift", "shifted by one", failed("other", 1.0, 0.0, case="x", diagnosis="No known mistake"), 0),
        result("loss.smoothing", "as declared", failed("other-smoothing", 1.0, 0.0, case="x", diagnosis="z"), 0),
        result("state.saved", "saved", Outcome("crashed", case="KeyError"), 0),
    ]
)


def test_text_says_where_to_start_what_follows_what_stands_beside_it_and_what_is_not_explained():
    start, beside, unexplained = describe_problems(LINKED).split("\n\n")
    assert (
        start.splitlines()[0] == "Start here: masks.future FAILED (diagonal): no future token influences a past logit"
    )
    assert start.splitlines()[-2:] == [
        "    explains   cache.steps, loss.shift",
        "    read on    clearformer check --explain masks.future",
    ]
    assert beside.startswith("Beside it: loss.smoothing FAILED (other-smoothing): as declared\n")
    assert unexplained.startswith("Not explained: state.saved. No known mistake gives what they measured")
    assert unexplained.endswith("run them again: clearformer check TARGET --only state.saved")
    assert "No known mistake" not in start + beside


def test_every_format_says_of_what_a_failure_is_a_consequence():
    report = Report("GPT", "causal", 7, LINKED)
    content = json.loads(as_json(report))
    assert content["start_here"] == ["masks.future", "loss.smoothing", "state.saved"]
    assert [check["follows"] for check in content["checks"]] == ["", "masks.future", "masks.future", "", ""]
    assert (content["checks"][1]["cause"], content["checks"][1]["means"]) == ("", "It follows from masks.future.")
    (suite,) = ElementTree.fromstring(as_junit(report))
    assert suite[1][0].attrib == {"message": "It follows from masks.future.", "type": "consequence"}
    assert "| cache.steps | failed | cached equals uncached | follows from masks.future |" in as_markdown(report)
