"""What `clearformer check` found, for people: words first, and colour where there is a terminal."""

import textwrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from clearformer.checks.report.formats import Report

STYLES = {"passed": "green", "failed": "bold red", "crashed": "bold red", "does not apply": "dim", "not run": "yellow"}
NARROW = 40
"""columns that a text gets even where the terminal has fewer"""


def print_report(report: "Report") -> None:
    """A line a check, then the failures in full, then how many there were of each."""
    from clearformer.checks.report.text import describe_problems, detail, problems, summary

    console = Console(highlight=False)
    width = max((len(result.id) for result in report.results), default=0)
    for result in report.results:
        outcome = result.outcome
        more = f" ({detail(outcome)})" if detail(outcome) else ""
        line = Text(f"{result.id:<{width}}  ").append(f"{outcome.status:<14}", STYLES[outcome.status])
        console.print(line.append("  " + _fill(console, result.check.claim + more, width + 18)), soft_wrap=True)
    if problems(report.results):
        console.print()
        for row in describe_problems(report.results).splitlines():
            console.print(Text(row[:15] + _fill(console, row[15:], 15)), soft_wrap=True)
    console.print(Text(f"\n{report.name}, {report.kind}: {summary(report.results)}", "bold"), soft_wrap=True)


def _fill(console: Console, text: str, indent: int) -> str:
    """Broken to fit beside the indent on a terminal; elsewhere one line, to be searched."""
    if not console.is_terminal:
        return text
    width = max(NARROW, console.width - indent)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(lines)
