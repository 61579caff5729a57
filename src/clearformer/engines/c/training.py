"""Training: loss, gradients and updates; and the source of numbers that are not finite."""

import ctypes
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from clearformer.config import TrainConfig
from clearformer.data.batches import IGNORE, Batch, Batches
from clearformer.engines.c import library as c
from clearformer.engines.c.model import Inputs, Model, Weights, pointer
from clearformer.training.optimizer_state import (
    MOMENTUM,
    NEWTON_SCHULZ,
    NEWTON_SCHULZ_STEPS,
    STATE,
    decays,
    optimizer_of,
    optimizer_shapes,
)
from clearformer.training.steps import Record, updates

State = dict[str, NDArray[np.float32]]


def make_optimizer(model: Model, config: TrainConfig) -> State:
    """The state of AdamW and Muon: moments and step, or momentum, of each parameter."""
    shapes = {name: value.shape for name, value in model.parameters.items()}
    return {name: np.zeros(shape, np.float32) for name, shape in optimizer_shapes(shapes, config).items()}


def optimizer_tensors(_model: Model, optimizer: State) -> State:
    return dict(optimizer)


def load_optimizer(_model: Model, optimizer: State, tensors: Weights, _config: TrainConfig) -> None:
    for name, value in optimizer.items():
        np.copyto(value, tensors[name])


def train(model: Model, optimizer: State, batches: Batches, config: TrainConfig, start: int = 0) -> Iterator[Record]:
    """Make updates `start` + 1 to `config.steps`, and yield a record after each.

    Raises TrainingError before an update whose loss or gradient is not finite.
    """

    def step(micro_batches: list[Batch], rate: float, seed: int) -> tuple[float, float]:
        loss = accumulate_gradients(model, micro_batches, config, seed)
        norm = clip_gradients(model, config.clip)
        if math.isfinite(loss) and math.isfinite(norm):
            update(model, optimizer, config, rate)
        return loss, norm

    def explain(micro_batches: list[Batch], first: int) -> str:
        return _locate_nonfinite(model, micro_batches, config, first)

    return updates(step, explain, batches, config, model.config.d_model, start)


def accumulate_gradients(model: Model, micro_batches: list[Batch], config: TrainConfig, seed: int) -> float:
    """Compute the gradients of all micro-batches as if they were one batch; return the loss."""
    for gradient in model.gradients.values():
        gradient.fill(0)
    count = sum(int((batch.targets != IGNORE).sum()) for batch in micro_batches)
    total = 0.0
    for index, batch in enumerate(micro_batches):
        total += summed_loss(model, batch, config, 1 / count, seed + index) / count
    return total


def summed_loss(
    model: Model, batch: Batch, config: TrainConfig | None = None, scale: float = 0.0, seed: int = 0
) -> float:
    """The loss in nats, summed over the predicted tokens; with `scale`, that times the gradients is added up.

    Without a configuration there is no label smoothing, and without gradients no dropout.
    """
    given, targets = Inputs(model, batch.inputs), np.ascontiguousarray(batch.targets, np.int64)
    room = model.room(*given.sizes, purpose=c.TRAINING if scale else c.LOSS)
    model.library.set_dropout(room, model.config.dropout if scale else 0.0, seed % 2**32)
    goal = c.Objective(pointer(targets), scale, 0.0, False)
    if config is not None:
        goal.smoothing, goal.token_loss = config.label_smoothing, config.token_loss
    gradients = model.gradients_at if scale else None
    loss: float = model.library.loss_of(model.at, gradients, given.batch, given.source, goal, room)
    return loss


def clip_gradients(model: Model, max_norm: float) -> float:
    """Scale all gradients so that their joint norm is at most `max_norm` (0: no limit); return the original norm."""
    norm = math.sqrt(sum(float(np.vdot(gradient, gradient)) for gradient in model.gradients.values()))
    if max_norm > 0 and math.isfinite(norm) and norm > max_norm:
        for gradient in model.gradients.values():
            gradient *= max_norm / (norm + 1e-6)
    return norm


def update(model: Model, optimizer: State, config: TrainConfig, rate: float) -> None:
    """One step of each parameter's optimizer, in place."""
    names: dict[str, list[str]] = {"adamw": [], "muon": []}
    for name, weight in model.parameters.items():
        names[optimizer_of(name, weight.shape, config)].append(name)
    _adamw(model, optimizer, config, rate, names["adamw"])
    coefficients = (ctypes.c_float * 3)(*NEWTON_SCHULZ)
    for name in names["muon"]:
        weight, momentum = model.parameters[name], optimizer[f"{name}.momentum_buffer"]
        scratch = np.empty(model.library.muon_size(*weight.shape), np.float32)
        model.library.muon(
            *weight.shape,
            *map(pointer, (weight, model.gradients[name], momentum)),
            1 - MOMENTUM,
            1 - rate * config.weight_decay,
            rate,
            coefficients,
            NEWTON_SCHULZ_STEPS,
            pointer(scratch),
        )


def _adamw(model: Model, optimizer: State, config: TrainConfig, rate: float, names: Sequence[str]) -> None:
    table = (c.Update * len(names))()
    for row, name in zip(table, names, strict=True):
        state = {key: optimizer[f"{name}.{key}"] for key in STATE["adamw"]}
        state["step"] += 1
        step, w = int(state["step"]), model.parameters[name]
        arrays = w, model.gradients[name], state["exp_avg"], state["exp_avg_sq"]
        decay = config.weight_decay if decays(w.shape) else 0.0
        correction, share = 1 / math.sqrt(1 - config.beta2**step), rate / (1 - config.beta1**step)
        row.size, (row.w, row.g, row.m, row.v) = w.size, map(pointer, arrays)
        row.keep, row.correction, row.rate = 1 - rate * decay, correction, share
    model.library.adamw(len(table), table, 1 - config.beta1, 1 - config.beta2, config.epsilon)


def mean_loss(model: Model, batches: Iterable[Batch]) -> float:
    """Mean nats per predicted token, without label smoothing or dropout."""
    total, count = 0.0, 0
    for batch in batches:
        total += summed_loss(model, batch)
        count += int((batch.targets != IGNORE).sum())
    return total / count


def step_memory(model: Model, batch: Batch, _config: TrainConfig) -> int:
    """Peak memory of a step in bytes, without the 16 per parameter: the room, which is known before it runs."""
    sizes = Inputs(model, batch.inputs).sizes
    size: int = model.library.make_room(model.at, *sizes, 0, c.TRAINING, None, None)
    return size


def _locate_nonfinite(model: Model, micro_batches: list[Batch], config: TrainConfig, first: int) -> str:
    """What is not finite, and the batch."""
    plain = dataclasses.replace(config, label_smoothing=0.0)
    for offset, batch in enumerate(micro_batches):
        if not math.isfinite(summed_loss(model, batch, plain)):
            return f"the loss on batch {first + offset}"
    # a backward pass runs from the last layer to the first, so the last parameter became infinite first
    bad = [name for name, gradient in model.gradients.items() if not np.isfinite(gradient).all()]
    where = f"the gradient of {bad[-1]}" if bad else "the norm of all gradients"
    return f"{where} on batches {first} to {first + len(micro_batches) - 1}"
