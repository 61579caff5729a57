"""Compare runs: their curves in one picture, and a table of what they differ in."""

from pathlib import Path
from typing import TYPE_CHECKING

from clearformer.api.display import say
from clearformer.runs.folder import RunFolder, open_folder
from clearformer.runs.splits import Notify

if TYPE_CHECKING:
    from clearformer.inspection.comparison import Axis, Comparison


def compare(*runs: str | Path | RunFolder, axis: "Axis" = "step", notify: Notify = say) -> "Comparison":
    """Return runs, or the runs in these folders, side by side.

    Notebooks show the picture of their losses over `axis`, "step" or "tokens", and `.save("x.svg")` writes it; printed,
    it is a table of results and of the settings that differ. `notify` is told, by default on standard error, if losses
    do not compare since data or tokens differ. Raises RunError if there is no run in a folder, or it has no metrics.
    """
    from clearformer.inspection.comparison import compare_runs

    return compare_runs([run if isinstance(run, RunFolder) else open_folder(Path(run), notify) for run in runs], axis)
