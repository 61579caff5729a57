"""`clearformer compare`"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from clearformer.cli.arguments import parse


@dataclass(frozen=True)
class Compare:
    """Print what runs differ in and how good they are, and draw their loss curves in one picture."""

    runs: Positional[tuple[Path, ...]] = ()
    """the folders of the runs"""
    out: Path | None = None
    """a file to draw the curves into, .svg or .png"""
    x: Literal["step", "tokens"] = "step"
    """what the curves are drawn over: steps, or tokens read, padding included"""
    json: Annotated[bool, arg(name="json")] = False
    """print a JSON list of objects with `run`, `parameters`, `step`, `last`, `best` and the `settings` that differ"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Compare, arguments, "compare")
    from clearformer.api.compare import compare

    comparison = compare(*options.runs, axis=options.x)
    if options.out is not None:
        comparison.save(options.out)
    print(json.dumps(comparison.to_list()) if options.json else comparison)
    if options.out is not None and not options.json:
        print(options.out)
    return 0
