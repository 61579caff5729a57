"""Figures as SVG text: loss curves and attention maps. They need neither a display nor files.

In a page they take its colours, dark or light; elsewhere those of a light page.
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
    "svg.hashsalt": "clearformer",  # makes the file reproducible
    "svg.fonttype": "none",  # text stays text
    "svg.image_inline": True,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}
CELL = 0.18
"""inches per token in an attention map: room for a letter"""
COLORMAP = LinearSegmentedColormap.from_list("shades", ["#3f86e000", "#3f86e0ff"])
"""from transparent, to suit light and dark pages"""


def loss_curve(lines: Sequence[dict[str, Any]], uniform_loss: float, unit: str) -> str:
    """Training and validation loss over steps, from the lines, at least one, of a metrics file.

    `uniform_loss` is the loss of a uniform distribution over all outputs; `unit` labels the axis.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(5.0, 2.9), layout="constrained")
        axes = figure.add_subplot()
        validation_lines = [line for line in lines if "validation_loss" in line]
        axes.axhline(uniform_loss, color=LIGHT["muted"], linestyle=":", label="uniform guess")
        axes.plot(*_points(lines, "loss"), label="training", color=LIGHT["accent"], linewidth=1.2)
        validated = _points(validation_lines, "validation_loss")
        axes.plot(*validated, "o-", label="validation", color=LIGHT["contrast"], markersize=4)
        losses = [uniform_loss, *_points(lines, "loss")[1], *validated[1]]
        axes.set(xlabel="step", ylabel=f"loss, {unit}")
        if max(losses) > 10 * min(losses) > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(losses) < 200 * min(losses) else (1,)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
        axes.legend(frameon=False, labelcolor="linecolor")
        return _svg(figure)


def _points(lines: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    return [line["step"] for line in lines], [line[name] for line in lines]


def attention_svg(
    weights: Float[NDArray[np.floating], "T S"], target: Sequence[str], source: Sequence[str], labels: tuple[str, str]
) -> str:
    """The weights of each target token (a row) on each source token (a column); ■ is EOS.

    A colour bar shows the scale. `labels` name the two axes, x last.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(1.7 + CELL * len(source), 1.0 + CELL * len(target)), layout="constrained")
        axes = figure.add_subplot()
        largest = float(weights.max())
        image = axes.imshow(weights, cmap=COLORMAP, vmin=0.0, vmax=largest)
        rows, columns = ([_visible(token) for token in tokens] for tokens in (target, source))
        vertical = max(map(len, columns)) > 1  # horizontal words would overlap
        axes.set_xticks(range(len(source)), columns, rotation=90 if vertical else 0)
        axes.set_yticks(range(len(target)), rows)
        axes.set(xlabel=labels[1], ylabel=labels[0])
        axes.tick_params(length=0, pad=2)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=8, ticks=(0, largest))
        bar.ax.set_yticklabels(["0", f"{largest:.2f}"])
        bar.outline.set_visible(False)
        return _svg(figure)


def standalone(svg: str) -> str:
    """The figure as a standalone file, with a background that follows the reader's light or dark mode."""
    style = f"<style>{PALETTE}:root {{ color: var(--ink); background: var(--paper); }}</style>"
    return svg.replace(">", f">\n{style}", 1)


def _visible(token: str) -> str:
    """Replace white space and EOS by visible symbols."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥").replace(SPECIAL[EOS], "■")


def _svg(figure: Figure) -> str:
    """The figure without background and metadata, in the page's colours, and with ids unique within a page."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    text = buffer.getvalue()
    text = re.sub(r'<g id="[^"]+"', "<g", text[text.index("<svg") :]).replace("#000000", "currentColor")
    text = text.replace('<text style="', '<text style="fill: currentColor; ')
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{hashlib.sha256(text.encode()).hexdigest()[:8]}-", text)
    for name in ("accent", "contrast", "muted"):
        text = text.replace(LIGHT[name], f"var(--{name}, {LIGHT[name]})")
    return text
