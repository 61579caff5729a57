"""A report as JSON, JUnit XML and Markdown.

The JSON has these keys, which are stable: `format` (1), `subject` (`name`, `kind`), `environment` (versions of
`clearformer`, `torch`, `python`, and the `platform`), `seed`, `seconds`, `summary` (how many `passed`, `failed`,
`crashed`, `does not apply`, `not run`), `start_here` (the ids of the failures that explain all others, the first to fix
first), `ways` (how the model was used, where that was found out), `not_checked` (what could not be checked: `reason`
and `checks`), and `checks`, each with `id`, `claim`, `status`, `cause`, `follows` (the id of the failure that explains
this one), `measured`, `tolerance`, `case`, `means` (the diagnosis), `seen` (notes) and `seconds`. Absent and non-finite
numbers are null.
"""

import json
import math
import platform
import re
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import torch

from clearformer import __version__
from clearformer.checks.check import Result
from clearformer.checks.explain.roots import roots
from clearformer.checks.report.gaps import gaps
from clearformer.checks.report.text import counts, describe_problem, describe_problems, detail, problems, summary
from clearformer.checks.report.xml import element, valid_in_xml

JUNIT_ELEMENTS = {"failed": "failure", "crashed": "error", "does not apply": "skipped", "not run": "skipped"}


@dataclass(frozen=True)
class Report:
    """What was checked, and the results."""

    name: str
    kind: str
    seed: int
    results: list[Result]
    ways: tuple[str, ...] = ()
    """how the model was used, as it was found out"""

    @property
    def seconds(self) -> float:
        return sum(result.seconds for result in self.results)


def environment() -> dict[str, str]:
    return {
        "clearformer": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def as_json(report: Report) -> str:
    """One JSON object with the keys listed above."""
    content = {
        "format": 1,
        "subject": {"name": report.name, "kind": report.kind},
        "environment": environment(),
        "seed": report.seed,
        "seconds": round(report.seconds, 3),
        "summary": counts(report.results),
        "start_here": [result.id for result in roots(report.results)],
        "ways": report.ways,
        "not_checked": [gap.__dict__ for gap in gaps(report.results)],
        "checks": [_check_as_dict(result) for result in report.results],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _check_as_dict(result: Result) -> dict[str, Any]:
    outcome = result.outcome
    return {
        "id": result.id,
        "claim": result.check.claim,
        "status": outcome.status,
        "measured": _finite(outcome.measured),
        "tolerance": _finite(outcome.tolerance),
        "cause": outcome.cause,
        "follows": result.follows,
        "case": outcome.case,
        "means": outcome.diagnosis,
        "seen": outcome.notes,
        "seconds": round(result.seconds, 3),
    }


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number


def as_junit(report: Report) -> str:
    """JUnit XML with one test case per check, for continuous integration."""
    count = counts(report.results)
    attributes = {
        "name": f"clearformer check {report.name}",
        "tests": str(len(report.results)),
        "failures": str(count["failed"]),
        "errors": str(count["crashed"]),
        "skipped": str(count["does not apply"] + count["not run"]),
        "time": f"{report.seconds:.3f}",
    }
    suites = ElementTree.Element("testsuites")
    suite = element(suites, "testsuite", attributes)
    for result in report.results:
        group = result.id.split(".")[0]
        case = element(
            suite, "testcase", {"classname": f"clearformer.{group}", "name": result.id, "time": f"{result.seconds:.3f}"}
        )
        outcome = result.outcome
        if outcome.status != "passed":
            kind = "consequence" if result.follows else outcome.cause or outcome.status
            message = {"message": outcome.diagnosis or outcome.case, "type": kind}
            body = element(case, JUNIT_ELEMENTS[outcome.status], message)
            body.text = valid_in_xml(describe_problem(result, report.results))
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def as_markdown(report: Report) -> str:
    """Markdown for an issue: versions, the failures in full, and a table of all checks."""
    versions = ", ".join(f"{name} {version}" for name, version in environment().items())
    rows = [
        f"| {result.id} | {result.outcome.status} | {_cell(result.check.claim)} | {_cell(detail(result))} |"
        for result in report.results
    ]
    return "\n".join(
        [
            f"## clearformer check: {report.name} ({report.kind})",
            f"\n{summary(report.results)}; seed {report.seed}; {versions}",
            *([f"\n{_fenced(describe_problems(report.results))}"] if problems(report.results) else []),
            "\n| check | | claim | |\n| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _fenced(text: str) -> str:
    """A code block, whatever the text holds: the fence is longer than any in it."""
    fence = "`" * max(3, *(len(ticks) + 1 for ticks in re.findall("`+", text)), 3)
    return f"{fence}\n{text}\n{fence}"
