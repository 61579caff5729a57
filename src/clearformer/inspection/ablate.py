"""Ablation: run a model without some of its parts, and see what they were for.

    with ablate(model, ("decoder.layers.1.attention.core", 3), "decoder.layers.0.feed_forward"):
        logits = model(tokens)

A head, a neuron or a sub-layer's whole output is replaced by zero, or by its mean over a batch. Zero may be far from
everything the later layers have seen; the mean takes out only what depends on the text.
                                  Michel et al. 2019, arXiv:1905.10650 (zero); Wang et al. 2022, arXiv:2211.00593 (mean)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clearformer.inspection.families import family, real_tokens
from clearformer.inspection.places import find
from clearformer.inspection.record import record
from clearformer.inspection.replace import Place, name_of, replace


@contextmanager
def ablate(
    model: nn.Module,
    *places: Place,
    mean: Sequence[Tensor] | None = None,
    by_position: bool = False,
    positions: Sequence[int] | None = None,
) -> Iterator[None]:
    """Until the block ends, replace the places by zero, or by their means over the batch `mean` (a model's inputs).

    A place is a name, such as decoder.layers.0.feed_forward, or a name and the number of a head or neuron. The mean is
    over all tokens that are not padding or, with `by_position`, over the rows at each position; texts must then be as
    long as those of `mean`. Only the given `positions` are replaced, or all. Raises InspectionError for what the model
    lacks.
    """
    names = {name_of(place): find(model, name_of(place))[0] for place in places}
    values: dict[str, Tensor | None] = dict.fromkeys(names)
    if mean is not None:
        with torch.no_grad(), record(model, *set(names.values())) as trace:
            model(*mean)
        values = {
            name: mean_of(trace[kind][name], real_tokens(family(model), mean, name), by_position=by_position)
            for name, kind in names.items()
        }
    with replace(model, {place: values[name_of(place)] for place in places}, positions):
        yield


def mean_of(
    x: Float[Tensor, "B *H T width"], real: Bool[Tensor, "B T"], *, by_position: bool
) -> Float[Tensor, "1 *H _ width"]:
    """The mean over rows and positions, or over rows alone; tokens that are not `real` do not count."""
    weights = real[..., None] if x.dim() == 3 else real[:, None, :, None]
    axes = 0 if by_position else (0, -2)
    return torch.where(weights, x, 0).sum(axes, keepdim=True) / weights.sum(axes, keepdim=True).clamp(min=1)
