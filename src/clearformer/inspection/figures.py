"""Figures as SVG text: loss curves, and attention of one sequence to another. No display and no file is needed.

Their colours are the page's where one is around them, dark or light, and those of a light page where none is.
"""

import hashlib
import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from clearformer.data.tokenizers import EOS, SPECIAL
from clearformer.inspection.page import LIGHT, PALETTE

STYLE: Any = {
    "svg.hashsalt": "clearformer",  # the same figure is the same file, to the byte
    "svg.fonttype": "none",  # text stays text
    "svg.image_inline": True,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
CELL = 0.18
"""inches from one token to the next in an attention map, which leaves room for a letter"""
SHADES = LinearSegmentedColormap.from_list("shades", ["#3f86e000", "#3f86e0ff"])
"""from transparent, so that they suit light and dark paper"""


def loss_curve(lines: Sequence[dict[str, Any]], chance: float, unit: str) -> str:
    """Training and validation loss over steps, from the lines of a metrics file, of which there is at least one.

    `chance` is the loss of guessing evenly among all answers; `unit` is that of all losses.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5.0, 2.9), layout="constrained")
        axes = figure.add_subplot()
        measured = [line for line in lines if "validation_loss" in line]
        axes.axhline(chance, color=LIGHT["muted"], linestyle=":", label="guessing evenly")
        axes.plot(*_points(lines, "loss"), label="training", color=LIGHT["accent"], linewidth=1.2)
        validated = _points(measured, "validation_loss")
        axes.plot(*validated, "o-", label="validation", color=LIGHT["contrast"], markersize=4)
        seen = [chance, *_points(lines, "loss")[1], *validated[1]]
        axes.set(xlabel="step", ylabel=f"loss, {unit}")
        if max(seen) > 10 * min(seen) > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(seen) < 200 * min(seen) else (1,)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
        axes.legend(frameon=False, labelcolor="linecolor")
        return _svg(figure)


def _points(lines: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    return [line["step"] for line in lines], [line[name] for line in lines]


def attention_svg(
    weights: Float[NDArray[np.floating], "T S"], target: Sequence[str], source: Sequence[str], labels: tuple[str, str]
) -> str:
    """How much each target token (a row) attended to each source token (a column); ■ is the end.

    A bar says which weight has the full colour. `labels` name the two axes.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(1.7 + CELL * len(source), 1.0 + CELL * len(target)), layout="constrained")
        axes = figure.add_subplot()
        most = float(weights.max())
        image = axes.imshow(weights, cmap=SHADES, vmin=0.0, vmax=most)
        rows, columns = ([_visible(token) for token in tokens] for tokens in (target, source))
        upright = max(map(len, columns)) > 1  # words would run into each other
        axes.set_xticks(range(len(source)), columns, rotation=90 if upright else 0)
        axes.set_yticks(range(len(target)), rows)
        axes.set(xlabel=labels[1], ylabel=labels[0])
        axes.tick_params(length=0, pad=2)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=8, ticks=(0, most))
        bar.ax.set_yticklabels(["0", f"{most:.2f}"])
        bar.outline.set_visible(False)
        return _svg(figure)


def alone(svg: str) -> str:
    """The figure as a file of its own, on paper that is light or dark as the reader's screen is."""
    style = f"<style>{PALETTE}:root {{ color: var(--ink); background: var(--paper); }}</style>"
    return svg.replace(">", f">\n{style}", 1)


def _visible(token: str) -> str:
    """White space and the end as signs that can be seen."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥").replace(SPECIAL[EOS], "■")


def _svg(figure: Figure) -> str:
    """Without background and metadata, in the page's colours, and with ids that no other figure of a page has."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = re.sub(r'<g id="[^"]+"', "<g", text[text.index("<svg") :]).replace("#000000", "currentColor")
    text = text.replace('<text style="', '<text style="fill: currentColor; ')
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{hashlib.sha256(text.encode()).hexdigest()[:8]}-", text)
    for name in ("accent", "contrast", "muted"):
        text = text.replace(LIGHT[name], f"var(--{name}, {LIGHT[name]})")
    return text
