"""The interface of an engine: the library that computes, PyTorch or another.

An engine is a module, and `Engine` is its protocol: mypy checks each module against it in `open_engine`, and
`tests/conformance` checks its results against PyTorch's. Callers pass and receive NumPy arrays only.
"""

# engines are imported lazily, since their libraries may not be installed
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clearformer.config import Config, EngineName, TrainConfig

if TYPE_CHECKING:
    from clearformer.data.batches import Batch, Batches
    from clearformer.generation.decoder import Decoder
    from clearformer.training.steps import Record

M = TypeVar("M")
O = TypeVar("O")  # noqa: E741
Weights = Mapping[str, NDArray[np.float32]]


class Engine(Protocol[M, O]):
    """The functions of an engine's module; M is its model class, O its optimizer class."""

    def describe(self, config: Config) -> str:
        """Name the device. Raises ClearformerError, naming the setting, where the engine lacks support for it."""

    def make_model(self, config: Config) -> M:
        """A model on its device, in evaluation mode, with the initial weights of (configuration, seed)."""

    def load_weights(self, model: M, weights: Weights) -> None:
        """Copy arrays into the parameters; names and shapes must match exactly."""

    def weights_of(self, model: M) -> dict[str, NDArray[np.float32]]:
        """The parameters by name, in order, tied ones once. The arrays may share memory with the model."""

    def make_optimizer(self, model: M, config: TrainConfig) -> O:
        """The optimizer that `config` names, over all parameters."""

    def optimizer_tensors(self, model: M, optimizer: O) -> dict[str, NDArray[np.float32]]:
        """The optimizer's state, with the names and shapes of `training.optimizer_state.optimizer_shapes`."""

    def load_optimizer(self, model: M, optimizer: O, tensors: Weights, config: TrainConfig) -> None:
        """Restore a state that `optimizer_tensors` of any engine returned."""

    def train(
        self, model: M, optimizer: O, batches: "Batches", config: TrainConfig, start: int = 0
    ) -> "Iterator[Record]":
        """Make updates `start` + 1 to `config.steps`, and yield a record after each.

        Raises TrainingError before an update whose loss or gradient is not finite.
        """

    def mean_loss(self, model: M, batches: "Iterable[Batch]") -> float:
        """Mean nats per predicted token over `batches`, without label smoothing or dropout; keeps the model's mode."""

    def step_memory(self, model: M, batch: "Batch", config: TrainConfig) -> int:
        """Peak memory of a training step on `batch`, in bytes, without the 16 per parameter."""

    def logits_of(self, model: M, inputs: tuple[NDArray[Any], ...]) -> Float[NDArray[np.float32], "B *T V"]:
        """Logits for a batch's `inputs`; the model must be in evaluation mode."""

    def make_decoder(self, model: M, prompts: Sequence[Sequence[int]], *, cached: bool) -> "Decoder":
        """A decoder that continues `prompts` (token ids) with a language model; `cached`: with a key-value cache."""

    def make_target_decoder(
        self, model: M, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, max_length: int
    ) -> "Decoder":
        """An encoder-decoder's decoder: a target of at most `max_length` tokens for each padded source."""


def open_engine(name: EngineName) -> Engine[Any, Any]:
    """Import an engine. Raises ClearformerError if its library is not installed."""
    match name:
        case "torch":
            from clearformer.engines import torch as torch_engine

            return torch_engine
        case "numpy":
            from clearformer.engines.numpy import engine as numpy_engine

            return numpy_engine
        case "tinygrad":
            from clearformer.engines.tinygrad import engine as tinygrad_engine

            return tinygrad_engine
        case "c":
            from clearformer.engines.c import engine as c_engine

            return c_engine


def engine_name(model: object) -> EngineName:
    """The name of a model's engine: its attribute `engine`, PyTorch by default."""
    name: EngineName = getattr(model, "engine", "torch")
    return name


def engine_of(model: object) -> Engine[Any, Any]:
    """The engine of a model."""
    return open_engine(engine_name(model))
