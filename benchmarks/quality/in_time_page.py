"""docs/in-time.svg: losses against seconds of training, from the results of `in_time.py`."""

import json
from pathlib import Path
from typing import Any

from common import RESULTS
from matplotlib import rc_context
from matplotlib.figure import Figure

from clearformer.inspection.figures import STYLE, standalone, svg
from clearformer.inspection.page import LIGHT

PICTURE = Path(__file__).parents[2] / "docs" / "in-time.svg"
PANELS = {
    "tinyshakespeare": ("seconds of training", 1.0, "nats a character"),
    "multi30k": ("minutes of training", 60.0, "nats a token"),
}
"""a task -> the names of its axes, and the seconds of a unit"""
COLOURS = {"clearformer": "accent", "nanogpt": "ink", "joeynmt": "ink"}
NAMES = {"clearformer": "clearformer", "nanogpt": "nanoGPT", "joeynmt": "JoeyNMT"}
SHOWN = 0.15
"""seconds of training, as a share of the longest, before which a loss is still too high to be drawn with the others"""


def write_picture() -> None:
    PICTURE.write_text(standalone(draw()), encoding="utf-8")


def draw() -> str:
    with rc_context(STYLE | {"font.size": 8}):
        tasks = [task for task in PANELS if any(path(task, system).exists() for system in COLOURS)]
        figure = Figure(figsize=(3.8 * len(tasks), 2.8), layout="constrained")
        for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
            x_name, unit, y_name = PANELS[task]
            found = {system: read(task, system) for system in COLOURS if path(task, system).exists()}
            early = SHOWN * max(each["curve"][-1]["seconds"] for each in found.values())
            for system, each in found.items():
                xs, ys = ([point[key] for point in each["curve"]] for key in ("seconds", "loss"))
                line = {"color": LIGHT[COLOURS[system]], "linewidth": 1.2, "markersize": 2.5}
                axes.plot([x / unit for x in xs], ys, "o-", label=NAMES[system], **line)
            shown = [point["loss"] for each in found.values() for point in each["curve"] if point["seconds"] >= early]
            axes.set_ylim(min(shown) * 0.97, max(shown) * 1.03)
            axes.set(xlabel=x_name, ylabel=y_name, title=task, xlim=(0, None))
            axes.legend(frameon=False)
        return svg(figure)


def read(task: str, system: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path(task, system).read_text(encoding="utf-8"))
    return found


def path(task: str, system: str) -> Path:
    return RESULTS / f"in-time-{task}-{system}.json"
