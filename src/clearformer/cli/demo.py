"""`clearformer demo`"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clearformer.api.display import say
from clearformer.cli.arguments import exit_code, parse


@dataclass(frozen=True)
class Demo:
    """Train on dates and on Python's documentation, prove four claims, and write explore.html and report.html."""

    out: Path = Path("runs/demo")
    """folder for the two runs and what is written; a finished demo there is replaced"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Demo, arguments, "demo")
    from clearformer.api.training import train_to_end
    from clearformer.demo import story

    started = time.monotonic()
    runs = story.prepare(options.out, say)
    for each in runs:
        code = exit_code(train_to_end(each))
        if code:
            return code
    verdicts = []
    print()
    for number, verdict in enumerate(story.prove(*runs), 1):
        verdicts.append(verdict)
        print(f"{number} {'holds' if verdict.holds else 'FAILS'}: {verdict.claim}\n    {verdict.measured}", flush=True)
    report, page = options.out / "report.html", options.out / "explore.html"
    story.write_report(report, verdicts, runs)
    story.write_page(page, *runs)
    held = sum(verdict.holds for verdict in verdicts)
    print(f"\n{held} of {len(verdicts)} proofs hold, after {time.monotonic() - started:.0f} s; see {report}")
    print(f"open {page}: your browser runs both models, and shows every number inside")
    return 0 if held == len(verdicts) else 1
