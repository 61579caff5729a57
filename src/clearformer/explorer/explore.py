"""Runs as one page: what `clearformer explore`, `run.explore` and the demo do alike."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clearformer.errors import PromptError
from clearformer.explorer.contents import Precision, contents, size
from clearformer.explorer.page import write
from clearformer.runs.folder import RunFolder

MAX_WEIGHTS = 64_000_000
"""bytes in a page; more takes browsers long to open"""
HEIGHT = 820
"""of the page in a notebook, in points"""


@dataclass(frozen=True, repr=False)
class Explorer:
    """A page in which a browser runs a model: a notebook shows it, and `path` is its file."""

    path: Path

    def __repr__(self) -> str:
        return f"Explorer({str(self.path)!r}: {self.path.stat().st_size / 1e6:.1f} MB; open it in a browser)"

    def _repr_html_(self) -> str:
        """What IPython shows: the page itself, which needs no file and no network."""
        page = html.escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe title="explorer" style="width: 100%; height: {HEIGHT}px; border: 0" srcdoc="{page}"></iframe>'


def explore(
    runs: Sequence[RunFolder],
    out: Path,
    *,
    checkpoints: int = 0,
    precision: Precision = "single",
    notify: Callable[[str], None],
) -> Explorer:
    """Write a page with these runs, and so many checkpoints of each, from the untrained model to the trained one.

    If the weights are too heavy, `notify` is called, and the page opens runs from their folders. Raises PromptError for
    a negative number, CheckpointError if a checkpoint is missing or damaged, RunError if the file cannot be written.
    """
    if checkpoints < 0:
        raise PromptError(f"--checkpoints must be 0 or more, found {checkpoints}; raise it")
    total = sum(size(each, checkpoints, precision) for each in runs)
    fits = total <= MAX_WEIGHTS
    if not fits:
        notify(
            f"the weights are {total / 1e6:.0f} MB, more than the {MAX_WEIGHTS / 1e6:.0f} MB that a page holds: it is "
            "written without them, and opens a run's folder by a button; or try --precision half or fewer --checkpoints"
        )
    write(out, [contents(each, checkpoints, precision) for each in runs] if fits else [])
    return Explorer(out)
