"""Printing the report of `clearformer check`, coloured on a terminal."""

import textwrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from clearformer.checks.report.formats import Report

STYLES = {"passed": "green", "failed": "bold red", "crashed": "bold red", "does not apply": "dim", "not run": "yellow"}
MIN_WIDTH = 40
"""columns for wrapped text, even if the terminal is narrower"""


def print_report(report: "Report") -> None:
    """One line per check; how the model was used; what explains the failures, or what was not checked; a summary."""
    from clearformer.checks.report.gaps import describe_gaps, describe_use
    from clearformer.checks.report.text import describe_problems, detail, problems, summary

    console = Console(highlight=False)
    width = max((len(result.id) for result in report.results), default=0)
    for result in report.results:
        outcome = result.outcome
        more = f" ({detail(result)})" if detail(result) else ""
        style = "red" if result.follows else STYLES[outcome.status]
        line = Text(f"{result.id:<{width}}  ").append(f"{outcome.status:<14}", style)
        console.print(line.append("  " + _wrap(console, result.check.claim + more, width + 18)), soft_wrap=True)
    _print_lines(console, describe_use(report.ways))
    if not problems(report.results):
        _print_lines(console, describe_gaps(report.results))
    if problems(report.results):
        console.print()
        for row in describe_problems(report.results).splitlines():
            indent = 15 if row.startswith("    ") else 0
            console.print(Text(row[:indent] + _wrap(console, row[indent:], indent)), soft_wrap=True)
    console.print(Text(f"\n{report.name}, {report.kind}: {summary(report.results)}", "bold"), soft_wrap=True)


def _print_lines(console: Console, text: str) -> None:
    """An empty line and a paragraph, whose indented lines keep their indent when they are wrapped."""
    for number, row in enumerate(text.splitlines()):
        indent = len(row) - len(row.lstrip())
        console.print(
            Text("\n" * (not number) + row[:indent] + _wrap(console, row[indent:], indent + 4)), soft_wrap=True
        )


def _wrap(console: Console, text: str, indent: int) -> str:
    """Wrapped beside the indent on a terminal; elsewhere one line, to be searchable."""
    if not console.is_terminal:
        return text
    width = max(MIN_WIDTH, console.width - indent)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return ("\n" + " " * indent).join(lines)
