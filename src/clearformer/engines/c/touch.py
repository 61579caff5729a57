"""Look at a model while it computes, and change it: touch.c in Python.

    kept = keep(model, inputs)                          # {"decoder.layers.0.attention": [B, T, D], …}
    with changed(model, [Scale("decoder.layers.0.attention.core", heads=range(1))]):
        logits_of(model, inputs)                        # without head 0 of layer 0; decoders and losses likewise

The names are those of PyTorch's modules; `places` returns them all.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from clearformer.config import ClassifierConfig
from clearformer.engines.c import library as c
from clearformer.engines.c.model import Inputs, Model, logits_of, pointer
from clearformer.errors import PromptError

Kept = Float[NDArray[np.float32], "B *H T _"]
END = 2**40
"""stands for a number of tokens that is not known yet"""


@dataclass(frozen=True)
class Scale:
    """Multiply numbers of a place by `factor`; 0 cuts them off. A range that is None is everything.

    `tokens` are counted from the start of the text, also in a decoder with a cache; of weights they are queries, and
    `columns` keys.
    """

    name: str
    factor: float = 0.0
    heads: range | None = None
    tokens: range | None = None
    columns: range | None = None


@dataclass(frozen=True)
class Put:
    """Replace numbers of a place by those at the same heads, tokens and columns of `values`, which `keep` returned.

    The values of one text are put into all rows of a batch. Attention weights stay 0 where the mask is causal or a
    window ends.
    """

    name: str
    values: Kept
    heads: range | None = None
    tokens: range | None = None
    columns: range | None = None


def places(model: Model, T: int = END, S: int = END) -> dict[str, c.Place]:  # noqa: N803
    """Everything that can be kept or changed, by name, in the order of computation; for T tokens, and S of a source."""
    found, place = {}, c.Place()
    for number in range(model.library.end_of_places(model.at)):
        if model.library.find_place(model.at, number, T, S, place):
            found[place.name.decode()] = c.Place.from_buffer_copy(place)
    return found


def keep(model: Model, inputs: tuple[NDArray[Any], ...], names: Iterable[str] | None = None) -> dict[str, Kept]:
    """What stands at the places `names` during a pass on a batch's `inputs`, None: at all; and the logits.

    Vectors are [B, T, width], what heads have is [B, H, T, E], weights are [B, H, T, S]; logits have the name of the
    last module. Raises PromptError for an unknown name.
    """
    with keeping(model, Inputs(model, inputs).sizes, names) as kept:
        logits = logits_of(model, inputs)
    return kept | {"class_projection" if isinstance(model.config, ClassifierConfig) else "output_projection": logits}


@contextmanager
def keeping(model: Model, sizes: tuple[int, int, int], names: Iterable[str] | None = None) -> Iterator[dict[str, Kept]]:
    """Arrays that passes fill until the block ends, as `keep` returns them; a decoder with a cache token by token.

    `sizes`: B rows of T tokens and, of an encoder-decoder, S of its source. What is not computed stays 0.
    """
    B, T, S = sizes  # noqa: N806
    found = places(model, T, S)
    wanted = {name: _find(found, name) for name in (found if names is None else names)}
    kept, touches = {}, []
    for name, place in wanted.items():
        x = np.zeros((B, max(1, place.heads), place.tokens, place.columns), np.float32)
        touches.append(c.Touch(c.KEEP, 0.0, place.number, *((0, size) for size in x.shape[1:]), B, pointer(x)))
        kept[name] = x if place.heads else x[:, 0]
    with _touched(model, touches):
        yield kept


@contextmanager
def changed(model: Model, changes: Iterable[Scale | Put]) -> Iterator[None]:
    """Change what the model computes, in this order, until the block ends. It cannot be trained meanwhile.

    Raises PromptError for an unknown name, and for ranges or values that do not fit.
    """
    found = places(model)
    touches = [_touch(_find(found, change.name), change) for change in changes]
    with _touched(model, [touch for touch, _ in touches]):
        yield


@contextmanager
def _touched(model: Model, touches: list[c.Touch]) -> Iterator[None]:
    """After those that there are."""
    before = model.touches
    model.touches = [*before, *touches]
    try:
        yield
    finally:
        model.touches = before


def _find(found: dict[str, c.Place], name: str) -> c.Place:
    if name not in found:
        near = ", ".join(difflib.get_close_matches(name, found, n=3, cutoff=0))
        raise PromptError(f"the name of a part of the model was expected, found {name!r}; nearest are {near}")
    return found[name]


def _touch(place: c.Place, change: Scale | Put) -> tuple[c.Touch, NDArray[np.float32] | None]:
    """For C, and the values that C reads as long as it is in use."""
    if isinstance(change, Scale):
        sizes = max(1, place.heads), place.tokens, place.columns
        return c.Touch(c.SCALE, change.factor, place.number, *_ranges(change, sizes), 1, None), None
    x = _with_heads(place, change)
    ranges = _ranges(change, x.shape[1:])
    x = np.ascontiguousarray(x[:, *(slice(part.first, part.end) for part in ranges)], np.float32)
    return c.Touch(c.PUT, 0.0, place.number, *ranges, len(x), pointer(x)), x


def _ranges(change: Scale | Put, sizes: Iterable[int]) -> list[c.Range]:
    """Of heads, tokens and columns, within their sizes."""
    ranges = []
    for axis, size in zip(("heads", "tokens", "columns"), sizes, strict=True):
        found: range | None = getattr(change, axis)
        if found is None:
            found = range(size)
        elif found.step != 1 or not 0 <= found.start < found.stop <= size:
            limits = "from 0 on" if size == END else f"within range({size})"
            raise PromptError(f"{axis} {limits} of {change.name} were expected, found {found}; choose others")
        ranges.append(c.Range(found.start, found.stop))
    return ranges


def _with_heads(place: c.Place, change: Put) -> Float[NDArray[Any], "B H T _"]:
    """The values, with an axis of one head where the place has none."""
    x = change.values
    axes = [*[place.heads] * (place.heads > 0), "T", "S" if place.columns == END else place.columns]
    fits = x.ndim == len(axes) + 1 and all(
        isinstance(axis, str) or axis == size for axis, size in zip(axes, x.shape[1:], strict=True)
    )
    if not fits:
        words = ", ".join(map(str, ("B", *axes)))
        raise PromptError(f"values [{words}] of {change.name} were expected, found {list(x.shape)}; use those of keep")
    return x if place.heads else x[:, None]
