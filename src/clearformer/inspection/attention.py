"""Attention as pictures: of one head, or of all heads side by side. Notebooks show them, and `save` writes them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clearformer.inspection import maps
from clearformer.inspection.families import in_range
from clearformer.inspection.figures import Picture

CROSS = ("target token written (T)", "source token (S)")
SELF = ("query (T)", "key (S)")


@dataclass(frozen=True, repr=False)
class AttentionMap(Picture):
    """Attention weights, 0 to 1, of one head or the mean of several, and the tokens of their rows and columns."""

    weights: Float[NDArray[np.float32], "T S"]
    rows: list[str]
    columns: list[str]
    labels: tuple[str, str]
    """of the two axes"""

    def __repr__(self) -> str:
        return (
            f"AttentionMap({len(self.rows)} x {len(self.columns)} tokens; a notebook draws it, .save(path) writes it)"
        )

    def figure(self) -> Figure:
        return maps.attention_figure(self.weights, self.rows, self.columns, self.labels)


@dataclass(frozen=True, repr=False)
class AttentionHeads(Picture):
    """Attention weights, 0 to 1, of the heads of layers, on the same tokens."""

    weights: Float[NDArray[np.float32], "L H T S"]
    layers: list[int]
    heads: list[int]
    """numbers of the layers and heads"""
    rows: list[str]
    columns: list[str]
    labels: tuple[str, str]
    """of the two axes of each map"""

    def __repr__(self) -> str:
        size = f"{len(self.layers)} x {len(self.heads)} heads"
        return f"AttentionHeads({size}; a notebook draws them, .map(layer, head) is one, .save(path) writes them)"

    def select(self, layer: int | None, head: int | None) -> "AttentionHeads":
        """Only one layer, or one head of each layer; negative numbers count from the end.

        Raises InspectionError for a layer or head that does not exist.
        """
        layers = slice(None) if layer is None else [in_range("layer", layer, len(self.layers))]
        heads = slice(None) if head is None else [in_range("head", head, len(self.heads))]
        numbers = np.array(self.layers)[layers].tolist(), np.array(self.heads)[heads].tolist()
        return AttentionHeads(self.weights[layers][:, heads], *numbers, self.rows, self.columns, self.labels)

    def map(self, layer: int = -1, head: int | None = None) -> AttentionMap:
        """One head of a layer, or the mean over its heads; negative numbers count from the end.

        Raises InspectionError for a layer or head that does not exist.
        """
        heads = self.weights[in_range("layer", layer, len(self.layers))]
        weights = heads.mean(0) if head is None else heads[in_range("head", head, len(heads))]
        return AttentionMap(weights, self.rows, self.columns, self.labels)

    def figure(self) -> Figure:
        return maps.heads_figure(self.weights, (self.layers, self.heads), self.rows, self.columns, self.labels)
