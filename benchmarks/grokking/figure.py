"""The study of grokking as a picture and a table: docs/grokking.svg, and the table on standard output.

python benchmarks/grokking/figure.py
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from clearformer.inspection.figures import STYLE, standalone, svg
from clearformer.inspection.page import LIGHT

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "study.json"
PUBLIC, PUBLIC_DECAY = {0.5: (163, 956), 0.6: (152, 440), 0.7: (134, 222)}, 1.0
"""fraction -> steps until the training and the held-out loss first fell below 0.1, one run each, of a public sweep with
the same model, data and optimizer"""


def main() -> None:
    runs = read()
    (ROOT / "docs" / "grokking.svg").write_text(standalone(picture(runs)), encoding="utf-8")
    print(table(runs))


def read() -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return [run for key, run in found.items() if key != "machine"]


def chosen(runs: Sequence[dict[str, Any]], fraction: float, decay: float) -> list[dict[str, Any]]:
    """The seeds of a setting, in order."""
    found = [run for run in runs if run["fraction"] == fraction and run["weight_decay"] == decay]
    return sorted(found, key=lambda run: int(run["seed"]))


def settings(runs: Sequence[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """All fractions, and all weight decays."""
    return sorted({run["fraction"] for run in runs}), sorted({run["weight_decay"] for run in runs})


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown: steps of each seed, and the median ratio."""
    lines = [
        "| share learned | weight decay | memorised, steps | generalised, steps | ratio, median |",
        "| --- " * 5 + "|",
    ]
    fractions, decays = settings(runs)
    for fraction in fractions:
        for decay in decays:
            seeds = chosen(runs, fraction, decay)
            told = [", ".join(f"{run[name]:,}" for run in seeds) for name in ("memorised", "generalised")]
            ratio = statistics.median(run["generalised"] / run["memorised"] for run in seeds)
            lines.append(f"| {fraction:g} | {decay:g} | {told[0]} | {told[1]} | {ratio:.1f} |")
    return "\n".join(lines)


def picture(runs: Sequence[dict[str, Any]]) -> str:
    """The curves of all runs, learned blue and held out red: a row for each weight decay, a column for each fraction.

    Dotted is the threshold; dashed, where the public sweep generalised.
    """
    fractions, decays = settings(runs)
    with rc_context(STYLE | {"font.size": 8}):
        figure = Figure(figsize=(7.2, 5.2), layout="constrained")
        grid = figure.subplots(len(decays), len(fractions), sharex=True, sharey=True)
        for row, decay in zip(grid, decays, strict=True):
            for axes, fraction in zip(row, fractions, strict=True):
                axes.axhline(0.1, color=LIGHT["muted"], linestyle=":", linewidth=0.8)
                for run in chosen(runs, fraction, decay):
                    for name, colour in (("train", "accent"), ("held_out", "contrast")):
                        axes.plot(*zip(*run["curve"][name], strict=True), color=LIGHT[colour], linewidth=0.9)
                if decay == PUBLIC_DECAY:
                    axes.axvline(PUBLIC[fraction][1], color=LIGHT["muted"], linestyle="--", linewidth=0.8)
                axes.set(xscale="log", yscale="log", xlim=(30, 2000), ylim=(1e-6, 20))
                axes.set_title(f"{fraction:.0%} learned, weight decay {decay:g}", fontsize=8)
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        for axes in grid[-1]:
            axes.set_xlabel("step")
        for row in grid:
            row[0].set_ylabel("loss, nats")
        return svg(figure)


if __name__ == "__main__":
    main()
