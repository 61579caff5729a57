"""Which library computes: PyTorch, or an engine that does the same in its own way.

An engine is a module, and `Engine` is its type: mypy holds each module to it where `open_engine` returns it, and
`tests/conformance` holds what it computes to PyTorch. Arrays go in and arrays come out, so no caller knows the library.
"""

# an engine is imported when it is first asked for, since its library may be missing
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
    """What the module of an engine has, for its class of models M and of optimizers O."""

    def describe(self, config: Config) -> str:
        """Where it will compute, in words. Raises ClearformerError for what the engine does not do, by name."""

    def make_model(self, config: Config) -> M:
        """A model with the initial weights of (configuration, seed), in evaluation mode, where it will compute."""

    def load_weights(self, model: M, weights: Weights) -> None:
        """Copy arrays into the parameters of the same names; both must have exactly the same names and shapes."""

    def weights_of(self, model: M) -> dict[str, NDArray[np.float32]]:
        """The parameters by name, in order; what is tied once. They may share memory with the model's."""

    def make_optimizer(self, model: M, config: TrainConfig) -> O:
        """What `config` names, over all parameters."""

    def optimizer_tensors(self, model: M, optimizer: O) -> dict[str, NDArray[np.float32]]:
        """The optimizer's state by the names and shapes of `training.memory.optimizer_shapes`."""

    def load_optimizer(self, model: M, optimizer: O, tensors: Weights, config: TrainConfig) -> None:
        """Set the state that `optimizer_tensors` returned, of whichever engine."""

    def train(
        self, model: M, optimizer: O, batches: "Batches", config: TrainConfig, start: int = 0
    ) -> "Iterator[Record]":
        """Make update number `start` + 1 and so on, up to `config.steps`, and yield a record of each.

        Raises TrainingError instead of an update whose loss or gradient is not finite.
        """

    def mean_loss(self, model: M, batches: "Iterable[Batch]") -> float:
        """Nats a predicted token, over all batches, without label smoothing and dropout; the mode stays as it is."""

    def step_memory(self, model: M, batch: "Batch", config: TrainConfig) -> int:
        """Bytes that a training step on `batch` takes at its peak, beside 16 a parameter."""

    def logits_of(self, model: M, inputs: tuple[NDArray[Any], ...]) -> Float[NDArray[np.float32], "B *T V"]:
        """Logits of a batch's `inputs`, by a model in evaluation mode."""

    def continue_rows(self, model: M, prompts: Sequence[Sequence[int]], *, cached: bool) -> "Decoder":
        """A decoder that continues token ids by a language model; `cached` keeps keys and values between steps."""

    def write_targets(self, model: M, sources: Int[NDArray[np.int64], "B S"], *, cached: bool, most: int) -> "Decoder":
        """A decoder that writes, by an encoder-decoder, a target of at most `most` tokens for each padded source."""


def open_engine(name: EngineName) -> Engine[Any, Any]:
    """Import an engine. Raises ClearformerError where what it needs is not installed."""
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


def engine_of(model: object) -> Engine[Any, Any]:
    """The engine that a model belongs to: the one its class names as `engine`, else PyTorch."""
    return open_engine(getattr(model, "engine", "torch"))
