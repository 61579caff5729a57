"""A model: the network, the buffer of its weights, and its compiled functions."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from tinygrad import Tensor
from tinygrad.nn.state import get_state_dict

from clearformer.config import AnyModelConfig, EngineName
from clearformer.engines.tinygrad.compiled import Compiled, padded_inputs
from clearformer.engines.tinygrad.dropout import Noise
from clearformer.engines.tinygrad.models import FAMILIES, Network
from clearformer.engines.tinygrad.storage import Layout, Storage
from clearformer.models.initial import initial_weights, parameter_shapes


class Model:
    """A network of one of the families, with the initial weights of (configuration, seed)."""

    engine: ClassVar[EngineName] = "tinygrad"

    def __init__(self, config: AnyModelConfig, seed: int) -> None:
        self.config = config
        self.noise = Noise()
        self.network: Network = FAMILIES[type(config)](config, self.noise)  # type: ignore[arg-type]
        shapes = parameter_shapes(config)
        self.weights = Storage(Layout.of(shapes))
        named = get_state_dict(self.network)  # has tables and tied weights, too
        self.parameters = {name: named[name].replace(self.weights.view(name)) for name in shapes}
        self._compiled: dict[Callable[..., Tensor], Compiled] = {}
        load_weights(self, initial_weights(config, seed))

    def run(self, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        """The result of `function(network, *tensors)`, compiled; the next call with the same shapes overwrites it."""
        if function not in self._compiled:
            self._compiled[function] = Compiled(lambda *tensors: function(self.network, *tensors).realize())
        return self._compiled[function](*tensors)


def load_weights(model: Model, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy arrays into the parameters; names and shapes must match exactly."""
    model.weights.write(weights)


def weights_of(model: Model) -> dict[str, NDArray[np.float32]]:
    """Copies of the parameters by name."""
    return model.weights.read()


def logits_of(model: Model, inputs: tuple[NDArray[Any], ...]) -> Float[NDArray[np.float32], "B *T V"]:
    """Logits for a batch's `inputs`."""
    logits = model.run(_forward, *padded_inputs(inputs, model.config.context)).numpy()
    shape = inputs[-1].shape[: logits.ndim - 1]  # in every family the last input has the shape of the targets
    return logits[tuple(map(slice, shape))]


def _forward(network: Network, *inputs: Tensor) -> Tensor:
    return network(*inputs)
