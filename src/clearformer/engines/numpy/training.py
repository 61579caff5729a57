"""Training: loss, gradients and updates; and the source of numbers that are not finite."""

import math
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from clearformer.config import AnyModelConfig, TrainConfig
from clearformer.data.batches import IGNORE, Batch, Batches
from clearformer.engines.numpy import functional as F
from clearformer.engines.numpy.models import FAMILIES, Model
from clearformer.engines.numpy.modes import GradientError, debug, manual_seed, no_grad
from clearformer.engines.numpy.modules import Module
from clearformer.engines.numpy.optimizer import Optimizer
from clearformer.engines.numpy.tensor import Tensor
from clearformer.models.initial import initial_weights
from clearformer.training.steps import Record, training_forward, updates


def build(config: AnyModelConfig, seed: int) -> Model:
    """A model in training mode with the initial weights of (config, seed), float32."""
    model = FAMILIES[type(config)](config)  # type: ignore[arg-type]  # the table pairs each class with its own
    load_weights(model, initial_weights(config, seed))
    return model


def load_weights(model: Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Copy arrays into the parameters; names and shapes must match exactly."""
    parameters = dict(model.named_parameters())
    assert parameters.keys() == weights.keys(), f"names differ: {sorted(parameters.keys() ^ weights.keys())}"
    for name, parameter in parameters.items():
        assert parameter.shape == weights[name].shape, f"{name}: {parameter.shape}, {weights[name].shape}"
        with no_grad():
            parameter.copy_(weights[name])


def weights_of(model: Module) -> dict[str, NDArray[np.float32]]:
    """The parameters' arrays by name, not copied."""
    return {name: parameter.data for name, parameter in model.named_parameters()}


def optimizer_tensors(model: Module, optimizer: Optimizer) -> dict[str, NDArray[np.float32]]:
    """The optimizer's state by name, in the order of the parameters."""
    state = optimizer.state
    return {f"{name}.{key}": value for name, _ in model.named_parameters() for key, value in state[name].items()}


def load_optimizer(
    _model: Module, optimizer: Optimizer, tensors: Mapping[str, NDArray[np.float32]], _config: TrainConfig
) -> None:
    """Restore the state that `optimizer_tensors` returned."""
    for name, state in optimizer.state.items():
        for key, value in state.items():
            np.copyto(value, tensors[f"{name}.{key}"])


def train(
    model: Model, optimizer: Optimizer, batches: Batches, config: TrainConfig, start: int = 0
) -> Iterator[Record]:
    """Make updates `start` + 1 to `config.steps`, and yield a record after each.

    Raises TrainingError before an update whose loss or gradient is not finite.
    """
    model.train()
    parameters = list(model.parameters())

    def step(micro_batches: list[Batch], rate: float, seed: int) -> tuple[float, float]:
        manual_seed(seed)
        with np.errstate(all="ignore"):  # reported by `explain` instead
            loss = accumulate_gradients(model, parameters, micro_batches, config)
            norm = clip_gradients(parameters, config.clip)
        if math.isfinite(loss) and math.isfinite(norm):
            optimizer.step(rate)
        return loss, norm

    def explain(micro_batches: list[Batch], first: int) -> str:
        return _locate_nonfinite(model, micro_batches, config, first)

    return updates(step, explain, batches, config, model.config.d_model, start)


def accumulate_gradients(
    model: Model, parameters: Iterable[Tensor], micro_batches: list[Batch], config: TrainConfig
) -> float:
    """Compute the gradients of all micro-batches as if they were one batch; return the loss.

    `parameters` are the model's, collected once by the caller.
    """
    for parameter in parameters:
        parameter.grad = None
    count = sum(int((batch.targets != IGNORE).sum()) for batch in micro_batches)
    total = 0.0
    for batch in micro_batches:
        loss = _summed_loss(model, batch, config) / count
        loss.backward()
        total += loss.item()
    return total


def _summed_loss(model: Model, batch: Batch, config: TrainConfig) -> Tensor:
    return F.cross_entropy(training_forward(model, config)(*batch.inputs), batch.targets, config.label_smoothing)


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients so that their joint norm is at most `max_norm` (0: no limit); return the original norm."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = math.sqrt(sum(float(np.vdot(gradient, gradient)) for gradient in gradients))
    if max_norm > 0 and math.isfinite(norm) and norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / (norm + 1e-6)
    return norm


def mean_loss(model: Model, batches: Iterable[Batch]) -> float:
    """Mean nats per predicted token, without label smoothing or dropout; keeps the model's mode."""
    training = model.training
    model.eval()
    total, count = 0.0, 0
    with no_grad():
        for batch in batches:
            total += F.cross_entropy(model(*batch.inputs), batch.targets).item()
            count += int((batch.targets != IGNORE).sum())
    model.train(training)
    return total / count


def _locate_nonfinite(model: Model, micro_batches: list[Batch], config: TrainConfig, first: int) -> str:
    """The first operation with a result that is not finite, and the batch."""
    for offset, batch in enumerate(micro_batches):
        try:
            with debug():
                _summed_loss(model, batch, config).backward()
        except GradientError as error:
            return f"{str(error).removeprefix('finite numbers were expected, found ')} on batch {first + offset}"
    return f"the norm of all gradients on batches {first} to {first + len(micro_batches) - 1}"
