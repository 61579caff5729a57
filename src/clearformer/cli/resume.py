"""`clearformer resume`"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from clearformer.cli.arguments import parse, say


@dataclass(frozen=True)
class Resume:
    """Go on with a run exactly where it stopped, as if it never had."""

    run: Positional[Path]
    """the run's folder"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Resume, arguments, "resume")
    from clearformer.cli.training import train_and_report
    from clearformer.runs.folder import open_run

    return train_and_report(open_run(options.run, say))
