"""A report for other programs, and for people elsewhere: JSON, JUnit's XML, and Markdown for an issue.

The JSON has these keys, which stay: `format` (1), `subject` (`name`, `kind`), `environment` (versions of `clearformer`,
`torch`, `python`, and the `platform`), `seed`, `seconds`, `summary` (how many `passed`, `failed`, `crashed`,
`does not apply`, `not run`), and `checks`, each with `id`, `claim`, `status`, `cause`, `measured`, `tolerance`, `case`,
`means`, `seen` and `seconds`. A number that is not there or not finite is null.
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
from clearformer.checks.report.text import counts, detail, failure, summary, wrong

NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
ELEMENTS = {"failed": "failure", "crashed": "error", "does not apply": "skipped", "not run": "skipped"}


@dataclass(frozen=True)
class Report:
    """What was checked, and what came of it."""

    name: str
    kind: str
    seed: int
    results: list[Result]

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
    """One object, whose keys are those above."""
    checks = []
    for result in report.results:
        outcome = vars(result.outcome)
        numbers = {key: _finite(outcome[key]) for key in ("measured", "tolerance")}
        named = {"id": result.id, "claim": result.check.claim}
        checks.append(named | outcome | numbers | {"seconds": round(result.seconds, 3)})
    content = {
        "format": 1,
        "subject": {"name": report.name, "kind": report.kind},
        "environment": environment(),
        "seed": report.seed,
        "seconds": round(report.seconds, 3),
        "summary": counts(report.results),
        "checks": checks,
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else number


def as_junit(report: Report) -> str:
    """One test case a check, as continuous integration reads them."""
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
    suite = _element(suites, "testsuite", attributes)
    for result in report.results:
        group = result.id.split(".")[0]
        case = _element(
            suite, "testcase", {"classname": f"clearformer.{group}", "name": result.id, "time": f"{result.seconds:.3f}"}
        )
        outcome = result.outcome
        if outcome.status != "passed":
            message = {"message": outcome.means or outcome.case, "type": outcome.cause or outcome.status}
            inside = _element(case, ELEMENTS[outcome.status], message)
            inside.text = NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", failure(result))
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def _element(parent: ElementTree.Element, tag: str, attributes: dict[str, Any]) -> ElementTree.Element:
    """XML has no place for some characters that an error message can hold."""
    clean = {key: NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", value) for key, value in attributes.items()}
    return ElementTree.SubElement(parent, tag, clean)


def as_markdown(report: Report) -> str:
    """To paste into an issue: what was checked with what, a table, and the failures in full."""
    versions = ", ".join(f"{name} {version}" for name, version in environment().items())
    rows = [
        f"| {result.id} | {result.outcome.status} | {_cell(result.check.claim)} | {_cell(detail(result.outcome))} |"
        for result in report.results
    ]
    return "\n".join(
        [
            f"## clearformer check: {report.name} ({report.kind})",
            f"\n{summary(report.results)}; seed {report.seed}; {versions}",
            *(f"\n{_fenced(failure(result))}" for result in wrong(report.results)),
            "\n| check | | claim | |\n| --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _fenced(text: str) -> str:
    """As it is, whatever it holds: the fence is longer than any in the text."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    return f"{fence}\n{text}\n{fence}"
