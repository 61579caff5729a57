"""A session trains a run from its newest checkpoint, or from the beginning, to its last step.

It wraps the training loop's generator: it writes metrics and checkpoints, and yields every record. Closing it
(`.close()`) saves the step just finished.
"""

import math
from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from clearformer.config import EngineName
from clearformer.engine import engine_of, open_engine
from clearformer.errors import CheckpointError, RunError
from clearformer.models.initial import initial_weights, parameter_shapes
from clearformer.runs import metrics, samples
from clearformer.runs.checkpoint import Checkpoint, Place, load_average, load_newest, newest_step
from clearformer.runs.folder import RunFolder
from clearformer.runs.lock import exclusive_lock
from clearformer.runs.memory_limit import require_memory
from clearformer.runs.saving import make_saver
from clearformer.runs.stopping import reason_to_stop, since_best
from clearformer.runs.tensor_files import ALL, Share, Tensors
from clearformer.training.optimizer_state import optimizer_shapes
from clearformer.training.processes import ALONE, Processes
from clearformer.training.steps import Record


@dataclass(frozen=True)
class Update:
    """The record of one update, and the validation loss if it was measured after it."""

    record: Record
    validation_loss: float | None
    model: Any
    """which is being trained, so in training mode"""


def load_model(run: RunFolder, engine: EngineName | None = None) -> tuple[Any, int]:
    """The trained model in evaluation mode, and the step of its newest undamaged checkpoint.

    `engine` defaults to the one that trained the run; any engine can load any checkpoint. Raises CheckpointError if
    there is no checkpoint, or all are damaged.
    """
    checkpoint = trained_weights(run)
    model = untrained_model(run, engine)
    engine_of(model).load_weights(model, checkpoint.tensors["model"])
    return model, checkpoint.step


def trained_weights(run: RunFolder) -> Checkpoint:
    """The weights, "model", of the trained model: the mean of the newest `average_checkpoints`, or the best.

    Raises CheckpointError if there is no checkpoint, or all are damaged, and RunError if the best was not kept.
    """
    require_memory(run.config)
    shapes = {"model": parameter_shapes(run.config.model)}
    if run.checkpoint == "best":
        best = load_newest(run.trained, shapes, run.notify)
        if best is None:
            raise RunError(
                f"the best checkpoint was expected in {run.best}, but none was kept; train with --train.patience N, or "
                "leave --checkpoint at last"
            )
        return best
    checkpoint = load_average(run.checkpoints, shapes, run.config.train.average_checkpoints, run.notify)
    if checkpoint is None:
        raise CheckpointError(
            f"a checkpoint was expected in {run.folder}, but none was saved yet; resume the run first"
        )
    return checkpoint


def untrained_model(run: RunFolder, engine: EngineName | None = None) -> Any:
    """The model with random weights, from the run's seed: the baseline of every evaluation."""
    return open_engine(engine or run.config.engine).make_model(run.config)


def initial_tensors(run: RunFolder, processes: Processes = ALONE, share: Share = ALL) -> Tensors:
    """A share of the weights before the first step: random ones, or those of `start_from`.

    Raises CheckpointError if the weights of `start_from` are missing or damaged.
    """
    shapes = parameter_shapes(run.config.model)
    if not run.config.start_from:
        return initial_weights(run.config.model, run.config.train.seed, share.place)
    start = load_newest(run.start, {"model": shapes}, run.notify, processes, share)
    if start is None:
        raise CheckpointError(f"the initial weights were expected in {run.start}, found none; train anew")
    return start.tensors["model"]


def train_run(run: RunFolder, processes: Processes = ALONE) -> Generator[Update, None, None]:
    """Train to the last step, yielding after each, in all `processes`; the first alone writes.

    Raises RunError if another process is training the run, TrainingError if the loss or a gradient is not finite, and
    CheckpointError if a checkpoint cannot be read or written.
    """
    with exclusive_lock(run.folder) if processes.rank == 0 else nullcontext():
        yield from _train(run, processes)


def _train(run: RunFolder, processes: Processes) -> Generator[Update, None, None]:
    require_memory(run.config)
    config = run.config.train
    batches, validation = run.batches("train"), run.batches("validation")
    model, optimizer, start = _begin(run, processes)
    engine = engine_of(model)
    saved = step = start
    losses = metrics.validation_losses(run.metrics, start)
    processes.require_same("step to go on from", str(start))
    writes = processes.rank == 0
    if writes:
        metrics.truncate(run.metrics, start)
        samples.truncate(run.samples, start)
    if processes.of_first(lambda: is_finished(run)):
        return

    saver = make_saver(model, optimizer, config, processes)

    def save() -> None:
        nonlocal saved
        if writes:
            metrics.sync(run.metrics)
        place = Place(run.checkpoints, step, config.keep_checkpoints, config.checkpoint_every)
        saver.save(place, moments=True)
        saved = step

    try:
        for record in engine.train(model, optimizer, batches, config, start):
            step = record.step
            validate = step == config.steps or step % config.validate_every == 0
            measured = engine.mean_loss(model, validation.in_order(config.validation_tokens)) if validate else None
            losses += [] if measured is None else [measured]
            last = step == config.steps or (validate and reason_to_stop(losses, config) != "")
            if writes and (validate or metrics.is_logged(step, config.log_every)):
                metrics.append(run.metrics, _line(record, measured))
            if validate and config.patience and since_best(losses) == 0:
                saver.save(Place(run.best, step, keep=1))
            if is_milestone(step, config.milestones):
                saver.save(Place(run.milestones, step, keep=step))
            if last or step % config.checkpoint_every == 0:
                save()
            if last:
                saver.wait()
            yield Update(record, measured, model)
            if last:
                return
    except GeneratorExit:
        if saved < step:
            save()
        saver.wait()
        raise


def _begin(run: RunFolder, processes: Processes) -> tuple[Any, Any, int]:
    """The model and its optimizer, in all `processes`, as of the newest checkpoint, and its step; or new ones, and 0.

    With `fsdp` each process draws its parts of new weights, or reads them, whoever wrote the checkpoint, and makes room
    for no others.
    """
    config, shapes = run.config.train, parameter_shapes(run.config.model)
    files = {"model": shapes, "optimizer": optimizer_shapes(shapes, config)}
    share = Share(processes.rank, processes.size) if config.parallel == "fsdp" else ALL
    checkpoint = load_newest(run.checkpoints, files, run.notify, processes, share)
    model = processes.model_to_load(run.config)
    engine = engine_of(model)
    processes.distribute(model, config)
    if checkpoint is not None:
        engine.load_weights(model, checkpoint.tensors["model"])
    elif run.config.start_from or share != ALL:  # else it was made with its random weights
        engine.load_weights(model, initial_tensors(run, processes, share))
    optimizer = engine.make_optimizer(model, config)
    if checkpoint is None:
        return model, optimizer, 0
    engine.load_optimizer(model, optimizer, checkpoint.tensors["optimizer"], config)
    return model, optimizer, checkpoint.step


def is_finished(run: RunFolder) -> bool:
    """Whether the last step is done, or training has stopped before it."""
    return (newest_step(run.checkpoints) or 0) >= run.config.train.steps or stopped_since(run) != ""


def stopped_since(run: RunFolder) -> str:
    """Why the validation losses until the newest checkpoint end training, in words; "" if they do not."""
    losses = metrics.validation_losses(run.metrics, newest_step(run.checkpoints) or 0)
    return reason_to_stop(losses, run.config.train)


def is_milestone(step: int, per_doubling: int) -> bool:
    """Whether `step` is one of 2^(k / per_doubling), rounded, with a whole number k."""
    if per_doubling == 0:
        return False
    return step == round(2 ** (round(per_doubling * math.log2(step)) / per_doubling))


def _line(record: Record, validation_loss: float | None) -> dict[str, int | float]:
    line: dict[str, int | float] = {
        "step": record.step,
        "loss": record.loss,
        "gradient_norm": record.gradient_norm,
        "learning_rate": record.learning_rate,
        "tokens": record.tokens,
    }
    return line if validation_loss is None else line | {"validation_loss": validation_loss}
