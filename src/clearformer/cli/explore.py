"""`clearformer explore`"""

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from clearformer.api.display import say
from clearformer.cli.arguments import parse
from clearformer.errors import PromptError
from clearformer.explorer.contents import Precision

MAX_WEIGHTS = 64_000_000
"""bytes in a page; more takes browsers long to open"""


@dataclass(frozen=True)
class Explore:
    """Write one HTML file in which a browser runs the model: type, and see what it computes. Nothing else is needed."""

    runs: Positional[tuple[Path, ...]] = ()
    """the folders of one or more runs; with none, the page opens a folder by itself"""
    out: Path | None = None
    """the file; by default explore.html in the first run's folder"""
    open: bool = True
    """--no-open only writes the file"""
    checkpoints: int = 0
    """how many of a run's checkpoints to put in, evenly chosen, to see the model learn; each holds all weights"""
    precision: Precision = "single"
    """half: weights of 2 bytes instead of 4, with a relative error of at most 0.05 %"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Explore, arguments, "explore")
    from clearformer.explorer.contents import contents, size
    from clearformer.explorer.page import write
    from clearformer.runs.folder import open_folder

    if options.checkpoints < 0:
        raise PromptError(f"--checkpoints must be 0 or more, found {options.checkpoints}; raise it")
    runs = [open_folder(path, say) for path in options.runs]
    total = sum(size(each, options.checkpoints, options.precision) for each in runs)
    fits = total <= MAX_WEIGHTS
    if not fits:
        say(
            f"the weights are {total / 1e6:.0f} MB, more than the {MAX_WEIGHTS / 1e6:.0f} MB that a page holds: it is "
            "written without them, and opens a run's folder by a button; or try --precision half or fewer --checkpoints"
        )
    out = options.out or (options.runs[0] if options.runs else Path()) / "explore.html"
    write(out, [contents(each, options.checkpoints, options.precision) for each in runs] if fits else [])
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    if options.open:
        webbrowser.open(out.resolve().as_uri())
    return 0
