"""Record the activations of a model while it runs.

    with record(model) as trace:
        model(tokens)
    trace.attention["decoder.layers.0.attention.core"]        # Float[Tensor, "B H T S"]
    trace["stream"]["decoder.layers.1"]                       # Float[Tensor, "B T D"]

`places` lists the kinds, their shapes and names.
"""

import html
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from clearformer.errors import InspectionError
from clearformer.inspection.places import READERS, Reader, places


@dataclass(frozen=True, repr=False)
class Trace:
    """Activations by kind and by the name of their module; if a module runs several times, those of its last call."""

    activations: dict[str, dict[str, Float[Tensor, "..."]]]

    def __getitem__(self, kind: str) -> dict[str, Float[Tensor, "..."]]:
        """Every activation of a kind, by name. Raises InspectionError if the kind was not recorded."""
        if kind not in self.activations:
            recorded = ", ".join(self.activations)
            raise InspectionError(f"a kind that was recorded was expected ({recorded}), found {kind!r}")
        return self.activations[kind]

    @property
    def attention(self) -> dict[str, Float[Tensor, "B H T S"]]:
        """The attention weights of every head, by the name of their core."""
        return self["attention"]

    def __repr__(self) -> str:
        counts = ", ".join(f"{kind} {len(found)}" for kind, found in self.activations.items())
        return f"Trace({counts}; trace[kind][name] is a tensor)"

    def _repr_html_(self) -> str:
        """What IPython shows: kinds, names and shapes."""
        rows = (
            f"<tr><td>{kind}</td><td>{html.escape(name)}</td><td>{' × '.join(map(str, value.shape))}</td></tr>"
            for kind, found in self.activations.items()
            for name, value in found.items()
        )
        return f"<table><tr><th>kind</th><th>name</th><th>shape</th></tr>{''.join(rows)}</table>"


@contextmanager
def record(model: nn.Module, *kinds: str) -> Iterator[Trace]:
    """Record these kinds, by default all, until the block ends. The model's output does not change.

    Inside `ablate` or `patch`, what is recorded has the replaced values. Raises InspectionError for an unknown kind.
    """
    for kind in kinds:
        if kind not in READERS:
            raise InspectionError(f"a kind of activation was expected ({', '.join(READERS)}), found {kind!r}")
    trace = Trace({kind: {} for kind in kinds or READERS})
    found = places(model)
    with ExitStack() as hooks:
        for kind, activations in trace.activations.items():
            for name, module in found[kind].items():
                hooks.enter_context(module.register_forward_hook(partial(_store, activations, name, READERS[kind])))
        yield trace


def _store(
    activations: dict[str, Tensor], name: str, read: Reader, module: nn.Module, inputs: tuple[Any, ...], output: Tensor
) -> None:
    """The hook: `partial` gives it all but the module, its inputs and its output."""
    activations[name] = read(module, inputs, output).detach()
