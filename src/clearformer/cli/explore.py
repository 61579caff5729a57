"""`clearformer explore`"""

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from clearformer.api.display import say
from clearformer.cli.arguments import parse
from clearformer.explorer.contents import Precision


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
    """how many stages of training to put in, from the untrained model to the trained one; each holds all weights.
    Train with --train.checkpoint-every and --train.keep-checkpoints to have them. Of a run of `clearformer grok` 0 puts
    in 12, in half precision"""
    precision: Precision = "single"
    """half: weights of 2 bytes instead of 4, with a relative error of at most 0.05 %"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Explore, arguments, "explore")
    from clearformer.explorer.explore import explore
    from clearformer.runs.folder import open_folder

    runs = [open_folder(path, say) for path in options.runs]
    out = options.out or (options.runs[0] if options.runs else Path()) / "explore.html"
    explore(runs, out, checkpoints=options.checkpoints, precision=options.precision, notify=say)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    if options.open:
        webbrowser.open(out.resolve().as_uri())
    return 0
