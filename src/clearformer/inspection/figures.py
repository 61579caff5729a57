"""Figures as SVG text: loss curves, and attention of one sequence to another. No display and no file is needed."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clearformer.data.tokenizers import EOS, SPECIAL

STYLE: Any = {
    "svg.hashsalt": "clearformer",  # the same figure is the same file, to the byte
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def loss_curve(lines: Sequence[dict[str, Any]]) -> str:
    """Training and validation loss over steps, from the lines of a metrics file."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([line["step"] for line in lines], [line["loss"] for line in lines], label="training", color="#3b6fb5")
        measured = [line for line in lines if "validation_loss" in line]
        steps, losses = [line["step"] for line in measured], [line["validation_loss"] for line in measured]
        axes.plot(steps, losses, "o-", label="validation", color="#d1495b", markersize=4)
        seen = [line["loss"] for line in lines] + losses
        axes.set(xlabel="step", ylabel="loss, nats a token", yscale="log" if max(seen) > 10 * min(seen) else "linear")
        axes.legend(frameon=False)
        return _svg(figure)


def attention_svg(
    weights: Float[NDArray[np.floating], "T S"], target: Sequence[str], source: Sequence[str], labels: tuple[str, str]
) -> str:
    """How much each target token (a row) attended to each source token (a column), from 0 to 1; ■ is the end.

    `labels` name the two axes.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 0.27 * len(source), 1.0 + 0.27 * len(target)), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(weights, cmap="Blues", vmin=0.0, vmax=1.0)
        upright = max(map(len, source)) > 5  # words would run into each other
        axes.set_xticks(range(len(source)), [_visible(token) for token in source], rotation=90 if upright else 0)
        axes.set_yticks(range(len(target)), [_visible(token) for token in target])
        axes.set(xlabel=labels[1], ylabel=labels[0])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, shrink=0.8, label="attention")
        return _svg(figure)


def _visible(token: str) -> str:
    """White space and the end as signs that can be seen."""
    return token.replace(" ", "␣").replace("\n", "⏎").replace("\t", "⇥").replace(SPECIAL[EOS], "■")


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
