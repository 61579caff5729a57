"""Which library computes: PyTorch, or one of the engines that do the same in their own way.

An engine is a module with the two functions of `Engine`. What else is done with its models is open to it by
`functools.singledispatch`, and importing the module registers it: `load_weights`, `weights_of`, `make_optimizer`,
`optimizer_tensors`, `load_optimizer`, `train`, `mean_loss`, `step_memory`, `logits_of`, `continue_rows` and
`write_targets`. So whoever calls these has a model and need not know whose it is.
"""

import importlib
from typing import Any, Protocol, cast

from clearformer.config import Config, EngineName

ENGINES: dict[EngineName, str] = {
    "torch": "clearformer.training.engine",
    "numpy": "clearformer.engines.numpy.engine",
    "tinygrad": "clearformer.engines.tinygrad.engine",
}
"""the module of each, imported when it is first asked for"""


class Engine(Protocol):
    """What the module of an engine has."""

    def make_model(self, config: Config) -> Any:
        """A model with the initial weights of (configuration, seed), in evaluation mode, where it will compute."""

    def describe(self, config: Config) -> str:
        """Where it will compute, in words. Raises ClearformerError for what the engine does not do, by name."""


def open_engine(name: EngineName) -> Engine:
    """Import an engine. Raises ClearformerError where what it needs is not installed."""
    return cast(Engine, importlib.import_module(ENGINES[name]))
