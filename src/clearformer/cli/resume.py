"""`clearformer resume`"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from clearformer.api.trackers import TrackerName
from clearformer.cli.arguments import exit_code, parse


@dataclass(frozen=True)
class Resume:
    """Continue a run exactly where it stopped, with the same result as without the stop."""

    run: Positional[Path]
    """the run's folder"""
    log: tuple[TrackerName, ...] = ()
    """where to log to besides the run's folder; what it names must be installed"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Resume, arguments, "resume")
    from clearformer.api.run import open_run
    from clearformer.api.training import train_and_report

    return exit_code(train_and_report(lambda _: (open_run(options.run), options.log))[1])
