"""Attention maps as characters, for a terminal: the fuller a cell, the larger the weight."""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size

from clearformer.inspection.attention import AttentionHeads
from clearformer.inspection.visible import symbol

SHADES = " ░▒▓█"
MAX_NAME = 12
"""letters of a token; longer ones are cut"""


def lines(maps: AttentionHeads, width: int | None = None) -> Iterator[str]:
    """The maps as lines of text, those of a layer side by side, as many as fit into `width` columns (None: all).

    A map that is wider is cut off. The cells of a single map are two columns wide if they fit.
    """
    rows, columns = ([symbol(token)[:MAX_NAME] for token in tokens] for tokens in (maps.rows, maps.columns))
    left = max(map(cell_len, rows)) + 1
    titles = [[f"layer {layer} head {head}" for head in maps.heads] for layer in maps.layers]
    cell = 2 if maps.weights.shape[:2] == (1, 1) and (width is None or left + 2 * len(columns) <= width) else 1
    block = max(cell * len(columns), *(len(title) for row in titles for title in row)) + 2
    at_once = len(maps.heads) if width is None else max(1, (width - left + 2) // block)
    largest = float(maps.weights.max())
    yield f"rows: {maps.labels[0]}; columns: {maps.labels[1]}; {SHADES[-1]} is {largest:.2f}, the largest weight"
    for names, weights in zip(titles, maps.weights, strict=True):
        for first in range(0, len(names), at_once):
            heads = slice(first, first + at_once)
            blocks = [
                _block(name, columns, one / (largest or 1.0), cell)
                for name, one in zip(names[heads], weights[heads], strict=True)
            ]
            labels = [""] * (len(blocks[0]) - len(rows)) + rows
            yield ""
            for label, parts in zip(labels, zip(*blocks, strict=True), strict=True):
                line = (set_cell_size(label, left) + "".join(set_cell_size(part, block) for part in parts)).rstrip()
                yield line if width is None or cell_len(line) <= width else set_cell_size(line, width)


def _block(title: str, columns: Sequence[str], shares: Float[NDArray[np.floating], "T S"], cell: int) -> list[str]:
    """One map: its title, the names of its columns from top to bottom, and its cells."""
    height = max(map(len, columns))
    upright = [name.rjust(height) for name in columns]
    names = ["".join(set_cell_size(name[line], cell) for name in upright) for line in range(height)]
    shades = np.rint(shares * (len(SHADES) - 1)).astype(int).tolist()
    return [title, *names, *("".join(SHADES[shade] * cell for shade in row) for row in shades)]
