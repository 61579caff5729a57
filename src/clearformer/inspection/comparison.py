"""Several runs beside each other: their loss curves in one picture, and a table of what they differ in."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from clearformer.config import Config
from clearformer.errors import RunError
from clearformer.inspection.figures import COLOURS, STYLE, Picture, scale_losses
from clearformer.inspection.page import LIGHT
from clearformer.models.initial import count_parameters
from clearformer.runs import metrics
from clearformer.runs.folder import RunFolder

Axis = Literal["step", "tokens"]
LINES = [COLOURS[name] for name in ("accent", "fifth", "third", "fourth", "ink")]
"""colours of the runs"""
MARKERS = "os^Dv*"
"""as many as make thirty pairs with the colours"""
MARKED = 12
"""about how many points of a curve are marked"""
ABSENT = "-"


@dataclass(frozen=True)
class Compared:
    """What a comparison knows of a run."""

    name: str
    config: Config
    lines: list[dict[str, Any]]
    """of its metrics, at least one"""

    @property
    def validated(self) -> list[dict[str, Any]]:
        """The lines with a validation loss."""
        return [line for line in self.lines if "validation_loss" in line]

    def at(self, axis: Axis) -> dict[int, int]:
        """The place of each line's step on the axis. Of steps that are not logged, tokens are taken from the next."""
        steps = [line["step"] for line in self.lines]
        if axis == "step":
            return dict(zip(steps, steps, strict=True))
        counts = (
            (step - before) * line["tokens"] for before, step, line in zip([0, *steps], steps, self.lines, strict=False)
        )
        return dict(zip(steps, itertools.accumulate(counts), strict=True))

    def results(self) -> dict[str, Any]:
        """Parameters and last step; and the last and the best validation loss with their steps, if there are any."""
        found: dict[str, Any] = {"parameters": count_parameters(self.config.model), "step": self.lines[-1]["step"]}
        if self.validated:
            best = min(self.validated, key=lambda line: line["validation_loss"])
            for name, line in (("last", self.validated[-1]), ("best", best)):
                found[name] = {"validation_loss": line["validation_loss"], "step": line["step"]}
        return found


@dataclass(frozen=True, repr=False)
class Comparison(Picture):
    """Runs side by side: printed a table, in a notebook and as a file a picture."""

    runs: list[Compared]
    axis: Axis = "step"
    """what the curves are drawn over: steps, or tokens read"""

    def __repr__(self) -> str:
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows)
        return "\n".join("  ".join(line) for line in lines)

    def rows(self) -> list[list[str]]:
        """The table: results of each run, a column a run, then the settings in which the runs differ."""
        results = [run.results() for run in self.runs]
        rows = [["", *(run.name for run in self.runs)]]
        rows += [[name, *(f"{found[name]:,}" for found in results)] for name in ("parameters", "step")]
        for which in ("last", "best"):
            rows.append([f"validation loss, {which}", *(_loss(found.get(which)) for found in results)])
        settings = self.differences()
        return rows + [[name, *(_shown(value) for value in values)] for name, values in settings.items()]

    def differences(self) -> dict[str, list[Any]]:
        """Each setting in which the runs differ, and its value in each; None where a run has no such setting."""
        settings = [_flat(json.loads(run.config.to_json())) for run in self.runs]
        names = dict.fromkeys(name for each in settings for name in each)
        values = {name: [each.get(name) for each in settings] for name in names}
        return {name: found for name, found in values.items() if any(value != found[0] for value in found)}

    def to_list(self) -> list[dict[str, Any]]:
        """The table for programs: an object a run."""
        differences = self.differences()
        return [
            {"run": run.name, **run.results(), "settings": {name: differences[name][index] for name in differences}}
            for index, run in enumerate(self.runs)
        ]

    def figure(self) -> Figure:
        """Training losses as thin lines, validation losses as marked ones, over steps or tokens.

        The axis of losses is logarithmic if they span more than a power of ten; that of steps if all runs learn
        equations, which they do by heart soon and in general late.
        """
        with rc_context(STYLE | {"font.size": 9}):
            figure = Figure(figsize=(6.2, 3.6), layout="constrained")
            axes = figure.add_subplot()
            losses: list[float] = []
            for index, run in enumerate(self.runs):
                places = run.at(self.axis)
                colour, marker = LINES[index % len(LINES)], MARKERS[index % len(MARKERS)]
                training = [line["loss"] for line in run.lines]
                axes.plot(list(places.values()), training, color=colour, linewidth=0.8, alpha=0.45)
                x = [places[line["step"]] for line in run.validated]
                validation = [line["validation_loss"] for line in run.validated]
                every = max(1, len(x) // MARKED)
                axes.plot(
                    x, validation, marker=marker, markevery=every, color=colour, markersize=4, linewidth=1.4,
                    label=run.name,
                )  # fmt: skip
                losses += training + validation
            axes.set(xlabel="tokens read" if self.axis == "tokens" else "step", ylabel=f"loss, {self._unit()}")
            if all(run.config.modular for run in self.runs):
                axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            scale_losses(axes, losses)
            kinds = [
                Line2D([], [], color=LIGHT["muted"], linewidth=0.8, alpha=0.7, label="thin: training"),
                Line2D([], [], color=LIGHT["muted"], linewidth=1.4, marker="o", markersize=4, label="validation"),
            ]
            handles, _ = axes.get_legend_handles_labels()
            axes.legend(handles=[*handles, *kinds], frameon=False, labelcolor="linecolor", fontsize=8)
            return figure

    def _unit(self) -> str:
        kinds = {run.config.model.kind for run in self.runs}
        return "nats" if kinds == {"classifier"} else "nats per token"


def compare_runs(runs: Sequence[RunFolder], axis: Axis = "step") -> Comparison:
    """Compare runs, and notify of what makes losses incomparable. Raises RunError for none, or one without metrics."""
    if not runs:
        raise RunError("the folder of at least one run was expected, found none; name the runs to compare")
    compared = []
    for run, name in zip(runs, _names([run.folder for run in runs]), strict=True):
        lines = metrics.read(run.metrics)
        if not lines:
            raise RunError(f"a run with metrics was expected, but {run.folder} has none: it was not trained here")
        compared.append(Compared(name, run.config, lines))
    if len({run.data_hash for run in runs}) > 1:
        runs[0].notify("these runs have different data, so that their losses do not compare")
    elif len({run.tokenizer.backend.to_str() for run in runs}) > 1:
        runs[0].notify("a token is not the same in these runs, so that their losses per token do not compare")
    return Comparison(compared, axis)


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' last parts, or the whole paths if two have the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _flat(settings: dict[str, Any], where: str = "") -> dict[str, Any]:
    """Nested settings by their whole names, such as train.schedule.peak."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _flat(value, f"{where}{name}.") if isinstance(value, dict) else {f"{where}{name}": value}
    return found


def _loss(found: dict[str, Any] | None) -> str:
    return f"{found['validation_loss']:.4g} at {found['step']:,}" if found else ABSENT


def _shown(value: Any) -> str:
    if value in (None, "", []):
        return ABSENT
    if isinstance(value, list):
        return " ".join(Path(item).name for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
