"""Activation patching: run a model on one text with a few activations taken from its run on another.

    with record(model) as trace:
        model(clean)
    with patch(model, trace, ("decoder.layers.1.attention.core", 3), positions=[5]):
        logits = model(corrupted)

What brings back the answer to the clean text is on the way from that text to the answer.
                                            Meng et al. 2022, arXiv:2202.05262; Wang et al. 2022, arXiv:2211.00593
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn

from clearformer.errors import InspectionError
from clearformer.inspection.places import find
from clearformer.inspection.record import Trace
from clearformer.inspection.replace import Place, name_of, replace


@contextmanager
def patch(model: nn.Module, trace: Trace, *places: Place, positions: Sequence[int] | None = None) -> Iterator[None]:
    """Until the block ends, put what `trace` recorded at these places, at the given positions or at all.

    A place is a name, such as decoder.layers.0.feed_forward, or a name and the number of a head or neuron. Positions
    count from 0 and are the same in both texts. Raises InspectionError for what the model or the trace lacks and, when
    the model runs, for texts whose lengths do not fit.
    """
    values = {}
    for place in places:
        name = name_of(place)
        recorded = trace[find(model, name)[0]]
        if name not in recorded:
            raise InspectionError(f"a trace with {name} was expected, found none; run the model inside `record`")
        values[place] = recorded[name]
    with replace(model, values, positions):
        yield
