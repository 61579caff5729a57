"""Figures: loss curves, and how every figure becomes SVG text or a PNG. They need neither a display nor files.

In a page they take its colours, dark or light; elsewhere those of a light page.
"""

import hashlib
import io
import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from clearformer.errors import PromptError
from clearformer.inspection.page import LIGHT, MORE, MORE_LIGHT, PALETTE

STYLE: Any = {
    "svg.hashsalt": "clearformer",  # makes the file reproducible
    "svg.fonttype": "none",  # text stays text
    "svg.image_inline": True,
    "font.family": "sans-serif",
    "text.parse_math": False,  # a token may be a dollar sign
    "axes.spines.top": False,
    "axes.spines.right": False,
}
COLOURS = {name: LIGHT[name] for name in ("accent", "contrast", "muted", "ink")} | MORE_LIGHT
"""of a figure, which a page shows in its own, dark or light"""
DPI = 200
"""dots per inch of a PNG"""


def loss_curve(lines: Sequence[dict[str, Any]], uniform_loss: float, unit: str) -> str:
    """`loss_figure` as SVG."""
    return svg(loss_figure(lines, uniform_loss, unit))


def loss_figure(lines: Sequence[dict[str, Any]], uniform_loss: float, unit: str) -> Figure:
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
        scale_losses(axes, losses)
        axes.legend(frameon=False, labelcolor="linecolor")
        return figure


def scale_losses(axes: Axes, losses: Sequence[float]) -> None:
    """Make the axis of losses logarithmic if they span more than a power of ten."""
    if max(losses) > 10 * min(losses) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(losses) < 200 * min(losses) else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
        axes.yaxis.set_minor_locator(NullLocator())


def _points(lines: Sequence[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    return [line["step"] for line in lines], [line[name] for line in lines]


def standalone(svg: str) -> str:
    """The figure as a standalone file, with a background that follows the reader's light or dark mode."""
    more = MORE if any(f"var(--{name}," in svg for name in MORE_LIGHT) else ""
    style = f"<style>{PALETTE}{more}:root {{ color: var(--ink); background: var(--paper); }}</style>"
    return svg.replace(">", f">\n{style}", 1)


def png(figure: Figure) -> bytes:
    """The figure on a light page."""
    buffer = io.BytesIO()
    with rc_context(STYLE), missing_glyphs():
        figure.savefig(buffer, format="png", dpi=DPI, facecolor=LIGHT["paper"])
    return buffer.getvalue()


@contextmanager
def missing_glyphs() -> Iterator[None]:
    """Without a warning for each letter that the font lacks: SVG has the text itself, and PNG a box."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


def svg(figure: Figure) -> str:
    """The figure without background and metadata, in the page's colours, and with ids unique within a page."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context(STYLE), missing_glyphs():
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    text = buffer.getvalue()
    text = re.sub(r'<g id="[^"]+"', "<g", text[text.index("<svg") :]).replace("#000000", "currentColor")
    text = text.replace('<text style="', '<text style="fill: currentColor; ')
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{hashlib.sha256(text.encode()).hexdigest()[:8]}-", text)
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name}, {colour})")
    return text


class Picture(ABC):
    """What draws itself as a figure."""

    @abstractmethod
    def figure(self) -> Figure:
        """The picture, for matplotlib."""

    def svg(self) -> str:
        """Return the picture as SVG."""
        return svg(self.figure())

    def _repr_svg_(self) -> str:
        """What IPython shows."""
        return self.svg()

    def save(self, path: str | Path) -> None:
        """Write an SVG or PNG file, by the name's ending. Raises PromptError for another ending or a bad path."""
        path = Path(path)
        if path.suffix.lower() not in (".svg", ".png"):
            raise PromptError(f"the name of a picture that ends in .svg or .png was expected, found {path}")
        try:
            if path.suffix.lower() == ".svg":
                path.write_text(standalone(self.svg()), encoding="utf-8")
            else:
                path.write_bytes(png(self.figure()))
        except OSError as error:
            raise PromptError(f"a file that can be written to was expected at {path}, but: {error}") from error
