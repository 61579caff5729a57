"""Attention maps as figures: a row for each query, a column for each key, colour for the weight."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from clearformer.inspection.figures import STYLE
from clearformer.inspection.page import LIGHT
from clearformer.inspection.visible import symbol

CELL = 0.18
"""inches per token: room for a letter"""
MAP, ALL_MAPS, GAP, TITLE = 2.0, 14.0, 0.16, 0.65
"""inches: of a small map and of all maps at most, between two maps, and of a map's title"""
BAR, BAR_WIDTH = 2.0, 0.14
"""inches of the colour bar at most, and across"""
SMALLEST_LETTERS = 4.5
"""points; smaller tokens are left out beside small maps"""
COLORMAP = LinearSegmentedColormap.from_list("shades", ["#3f86e000", "#3f86e0ff"])
"""from transparent, to suit light and dark pages"""


def attention_figure(
    weights: Float[NDArray[np.floating], "T S"], rows: Sequence[str], columns: Sequence[str], labels: tuple[str, str]
) -> Figure:
    """The weights of each token of a row on each token of a column; □ is BOS and ■ is EOS.

    A colour bar shows the scale. `labels` name the two axes, x last.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(1.7 + CELL * len(columns), 1.0 + CELL * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(weights, cmap=COLORMAP, vmin=0.0, vmax=float(weights.max()))
        shown = [symbol(token) for token in columns]
        vertical = max(map(len, shown)) > 1  # horizontal words would overlap
        axes.set_xticks(range(len(columns)), shown, rotation=90 if vertical else 0)
        axes.set_yticks(range(len(rows)), [symbol(token) for token in rows])
        axes.set(xlabel=labels[1], ylabel=labels[0])
        axes.tick_params(length=0, pad=2)
        axes.spines[:].set_visible(False)
        _scale(figure, axes, image)
    return figure


def heads_figure(
    weights: Float[NDArray[np.floating], "L H T S"],
    numbers: tuple[Sequence[int], Sequence[int]],
    rows: Sequence[str],
    columns: Sequence[str],
    labels: tuple[str, str],
) -> Figure:
    """A small map for each head (a column) of each layer (a row), all on one scale, as one image with gaps.

    `numbers` are those of the layers and of the heads. Tokens stand beside the outer maps if there is room for letters.
    """
    L, H, T, S = weights.shape  # noqa: N806
    cell = min(CELL, min(MAP, ALL_MAPS / H) / max(T, S))
    down = T + math.ceil(GAP / cell)
    across = S + max(math.ceil(GAP / cell), math.ceil(TITLE / cell) - S)
    tiles = np.full((L, down, H, across), np.nan)
    tiles[:, :T, :, :S] = weights.transpose(0, 2, 1, 3)
    tiled = tiles.reshape(L * down, H * across)[: T - down, : S - across]
    letters = 72 * cell * 0.85
    with rc_context(STYLE | {"font.size": max(letters, 7.0)}):
        size = 1.9 + cell * tiled.shape[1], 0.9 + cell * tiled.shape[0]
        figure = Figure(figsize=size, layout="compressed")
        axes = figure.add_subplot()
        image = axes.imshow(tiled, cmap=COLORMAP, vmin=0.0, vmax=float(weights.max()), interpolation="nearest")
        for row, column in itertools.product(range(L), range(H)):
            corner = column * across - 0.5, row * down - 0.5
            axes.add_patch(Rectangle(corner, S, T, fill=False, edgecolor=LIGHT["muted"], linewidth=0.5, clip_on=False))
        sides = (axes.xaxis, axes.secondary_xaxis("top"), "head", numbers[1], columns, across), (
            axes.yaxis, axes.secondary_yaxis("right"), "layer", numbers[0], rows, down,
        )  # fmt: skip
        for axis, outer, name, of, tokens, step in sides:
            if letters >= SMALLEST_LETTERS:
                places = [tile * step + index for tile in range(len(of)) for index in range(len(tokens))]
                axis.set_ticks(places, [symbol(token) for token in tokens] * len(of))
            else:
                axis.set_ticks([])
            centres = [tile * step + (len(tokens) - 1) / 2 for tile in range(len(of))]
            outer.set_ticks(centres, [f"{name} {number}" for number in of])
            outer.tick_params(length=0)
            outer.spines[:].set_visible(False)
        axes.tick_params(length=0, pad=1, labelsize=letters)
        axes.tick_params(axis="x", rotation=90 if max(len(symbol(token)) for token in columns) > 1 else 0)
        axes.set(xlabel=labels[1], ylabel=labels[0])
        axes.spines[:].set_visible(False)
        _scale(figure, axes, image)
    return figure


def _scale(figure: Figure, axes: Axes, image: AxesImage) -> None:
    """A colour bar from 0 to the largest weight."""
    largest, (width, height) = image.norm.vmax, figure.get_size_inches()
    length = min(0.6 * height, BAR)
    shape = {"shrink": length / height, "aspect": length / BAR_WIDTH, "fraction": BAR_WIDTH / width}
    bar = figure.colorbar(image, ax=axes, ticks=(0, largest), **shape)
    bar.ax.set_yticklabels(["0", f"{largest:.2f}"])
    bar.outline.set_visible(False)
