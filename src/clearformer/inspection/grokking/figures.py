"""Figures of grokking: its curves with their phases, circles of the embedding, spectra, and where "=" attends."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from torch import Tensor

from clearformer.inspection.figures import STYLE, svg
from clearformer.inspection.grokking.fourier import circle_plane
from clearformer.inspection.grokking.history import Measures
from clearformer.inspection.grokking.phases import Phases
from clearformer.inspection.maps import COLORMAP
from clearformer.inspection.page import LIGHT

SHADES = {"memorisation": 0.06, "circuit formation": 0.14, "cleanup": 0.22}
"""opacity of each phase's band"""
Line = tuple[str, str, str]
"""label, colour and style"""
PANELS: dict[str, dict[str, Line]] = {
    "loss, nats": {
        "loss": ("learned equations", "accent", "-"),
        "held_out_loss": ("held-out equations", "contrast", "-"),
        "restricted_loss": ("restricted: by the key frequencies alone", "muted", "--"),
    },
    "accuracy": {
        "accuracy": ("learned equations", "accent", "-"),
        "held_out_accuracy": ("held-out equations", "contrast", "-"),
    },
    "loss, nats ": {"excluded_loss": ("excluded: without the key frequencies", "accent", "--")},
    "Gini": {"embedding_gini": ("embedding", "muted", "-"), "unembedding_gini": ("unembedding", "muted", ":")},
    "squared weights": {"total_squared_weights": ("sum over all parameters", "muted", "-")},
}
"""label of a panel -> what it shows, by name in `Measures`"""
LOGARITHMIC = "loss, nats"
"""the panel whose values span many powers of ten"""


def curves(measures: Sequence[Measures], phases: Phases) -> str:
    """Losses, accuracies and measures over steps, on a logarithmic axis, with a band for each phase.

    Step 0 has no place on the axis.
    """
    measures = [measure for measure in measures if measure.step > 0]
    steps = [measure.step for measure in measures]
    lines = {
        label: {name: line for name, line in lines.items() if None not in _values(measures, name)}
        for label, lines in PANELS.items()
    }
    lines = {label: drawn for label, drawn in lines.items() if drawn}
    plain = FuncFormatter(lambda value, _: f"{value:,g}")
    with rc_context(STYLE | {"font.size": 9}):
        figure = Figure(figsize=(6.2, 0.7 + 1.35 * len(lines)), layout="constrained")
        panels = figure.subplots(len(lines), sharex=True, squeeze=False)[:, 0].tolist()
        for axes, (label, drawn) in zip(panels, lines.items(), strict=True):
            for name, (text, colour, style) in drawn.items():
                axes.plot(steps, _values(measures, name), style, color=LIGHT[colour], label=text, linewidth=1.3)
            axes.set_ylabel(label.strip())
            if label == LOGARITHMIC:
                axes.set_yscale("log")
            axes.yaxis.set_major_formatter(plain)
            axes.legend(frameon=False, labelcolor="linecolor", fontsize=8)
        panels[-1].set(xlabel="step", xscale="log", xlim=(steps[0], steps[-1]))
        panels[-1].xaxis.set_major_formatter(plain)
        _bands(panels, phases.spans(steps[0], steps[-1]))
        return svg(figure)


def _bands(panels: Sequence[Axes], spans: dict[str, tuple[int, int]]) -> None:
    """A band for each phase in every panel, and its name above the first; neighbours' names do not meet."""
    for index, (name, (begin, end)) in enumerate(spans.items()):
        for axes in panels:
            axes.axvspan(begin, end, color=LIGHT["muted"], alpha=SHADES[name], linewidth=0)
        place = math.sqrt(begin * end), 1.02 + 0.13 * (index % 2)
        panels[0].text(*place, name, transform=panels[0].get_xaxis_transform(), ha="center", fontsize=8)


def _values(measures: Sequence[Measures], name: str) -> list[float | None]:
    return [getattr(measure, name) for measure in measures]


def circles(embedding: Float[Tensor, "n D"], frequencies: Sequence[int], names: Sequence[int]) -> str:
    """The numbers on the plane of each key frequency, coloured by their place on the circle.

    `embedding` has a row for each place, and `names` its number. The first places are labelled.
    """
    planes = [k for k in frequencies if 2 * k < len(embedding)]  # the highest of an even n has a cosine alone
    with rc_context(STYLE | {"font.size": 9}):
        columns = min(len(planes), 4)
        rows = math.ceil(len(planes) / columns)
        figure = Figure(figsize=(1.9 * columns, 2.1 * rows), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
        for axes in panels:
            axes.axis("off")
        for axes, k in zip(panels, planes, strict=False):
            x, y = (embedding.double() @ circle_plane(embedding, k)).T.numpy()
            axes.scatter(x, y, c=np.arange(len(x)), cmap="hsv", s=9, linewidths=0)
            for place in range(3):
                axes.annotate(str(names[place]), (x[place], y[place]), fontsize=7, ha="center", va="bottom")
            axes.set(aspect="equal", title=f"k = {k}")
        return svg(figure)


def spectrum_bars(powers: dict[str, Float[Tensor, " K"]], frequencies: Sequence[int]) -> str:
    """Each spectrum, by name, as shares of its power for k > 0, with the key frequencies in another colour."""
    with rc_context(STYLE | {"font.size": 9}):
        figure = Figure(figsize=(6.2, 0.5 + 1.4 * len(powers)), layout="constrained")
        panels = figure.subplots(len(powers), sharex=True, squeeze=False)[:, 0].tolist()
        for axes, (name, power) in zip(panels, powers.items(), strict=True):
            shares = (power[1:] / power[1:].sum()).numpy()
            colours = [LIGHT["contrast" if k + 1 in frequencies else "muted"] for k in range(len(shares))]
            axes.bar(range(1, len(shares) + 1), shares, color=colours)
            axes.set_title(name, fontsize=9, loc="left")
            axes.set_ylabel("share of power")
        panels[-1].set(xlabel="frequency k")
        panels[-1].set_xticks(frequencies)
        return svg(figure)


def attention_maps(weights: Float[Tensor, "H p p 3"]) -> str:
    """The weight that each head's "=" gives to a (above) and to b (below), over all a (down) and b (across)."""
    H = len(weights)  # noqa: N806
    with rc_context(STYLE | {"font.size": 9}):
        figure = Figure(figsize=(0.9 + 1.5 * H, 3.4), layout="constrained")
        panels = figure.subplots(2, H, sharex=True, sharey=True, squeeze=False).tolist()
        for row, head in np.ndindex(2, H):
            shown = weights[head, :, :, row].numpy()
            image = panels[row][head].imshow(shown, cmap=COLORMAP, vmin=0.0, vmax=1.0)
            panels[row][head].set_title(f"head {head}, to {'ab'[row]}", fontsize=9)
        for axes, *_ in panels:
            axes.set_ylabel("a")
        for axes in panels[-1]:
            axes.set_xlabel("b")
        bar = figure.colorbar(image, ax=figure.axes, ticks=(0, 0.5, 1), shrink=0.6, label="weight")
        bar.outline.set_visible(False)
        return svg(figure)
