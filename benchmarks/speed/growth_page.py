"""The part of docs/speed.md on how time and memory grow, and its picture."""

import math
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from clearformer.inspection.figures import STYLE, standalone, svg
from clearformer.inspection.page import LIGHT

ROWS = {
    "step": ("a training step, s", 1.0),
    "first token": ("the first token, s", 1.0),
    "token": ("each other token, ms", 1e3),
    "memory": ("most memory, MB", 1.0),
    "start": ("start-up, s", 1.0),
}
"""what was measured -> the name of its axis, and the factor of its unit"""
LINES = {"training torch": "accent", "generation torch": "contrast", "generation c": "ink"}
TEXT = """### How time and memory grow

Written by `python benchmarks/speed/growth.py`. A GPT of {told},
with rotary positions; one of these numbers changes at a time. A training step is of the whole batch, in float32;
generation reads prompts and writes the last {written} tokens of the context, for all rows together. Each point is a
process of its own, and its time the least of a few. Memory is the most that the process had, with Python and PyTorch;
start-up ends with the first step or token. Axes are logarithmic.

![Time, memory and start-up against width, depth, context, vocabulary and batch]({picture})

By how much the last doubling multiplies the time: 1 is for nothing, 2 in proportion, 4 with the square.

{table}
"""
Growth = dict[str, Any]


def growth_section(growth: Growth, picture: Path) -> str:
    """Markdown; the picture is written beside the page."""
    picture.write_text(standalone(draw(growth)), encoding="utf-8")
    base, works = growth["base"], growth["works"]
    told = ", ".join(f"{axis} {value:,}" for axis, value in base.items())
    measured = {work: next(iter(axes.values()))[0] for work, axes in works.items()}
    columns = [(work, name) for work in works for name in ("step", "first token", "token") if name in measured[work]]
    head = [f"{name}, {work.split()[1]}" for work, name in columns]
    rows = [
        f"| {axis} | {' | '.join(f'{last_doubling(works[work][axis], axis, name):.2f}' for work, name in columns)} |"
        for axis in base
    ]
    return TEXT.format(
        told=told,
        written=growth["written"],
        picture=picture.name,
        table="\n".join([f"| doubled | {' | '.join(head)} |", "| --- " * (len(head) + 1) + "|", *rows]),
    )


def last_doubling(points: list[dict[str, float]], axis: str, name: str) -> float:
    """What doubling multiplies by, between the last two points."""
    before, last = points[-2:]
    doublings = math.log2(last[axis] / before[axis])
    return float((last[name] / before[name]) ** (1 / doublings))


def draw(growth: Growth) -> str:
    with rc_context(STYLE | {"font.size": 8}):
        figure = Figure(figsize=(7.6, 7.6), layout="constrained")
        grid = figure.subplots(len(ROWS), len(growth["base"]), sharex="col", sharey="row")
        for row, (name, (label, factor)) in zip(grid, ROWS.items(), strict=True):
            for axes, axis in zip(row, growth["base"], strict=True):
                for work, colour in LINES.items():
                    points = [point for point in growth["works"][work][axis] if name in point]
                    xs, ys = [point[axis] for point in points], [factor * point[name] for point in points]
                    axes.plot(xs, ys, "o-", color=LIGHT[colour], linewidth=0.9, markersize=2.5, label=work)
                axes.set(xscale="log", yscale="log")
                axes.set_xticks([point[axis] for point in growth["works"]["training torch"][axis]][::2])
                axes.xaxis.set_minor_locator(NullLocator())
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
                axes.yaxis.set_minor_formatter(NullFormatter())
                for side in (axes.xaxis, axes.yaxis):
                    side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            row[0].set_ylabel(label)
        for axes, axis in zip(grid[-1], growth["base"], strict=True):
            axes.set_xlabel(axis)
        figure.legend(
            *grid[-1][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(LINES), frameon=False
        )
        return svg(figure)
