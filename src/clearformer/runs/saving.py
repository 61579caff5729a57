"""How a training writes its checkpoints: whole, by the first process, or in shards, by all in the background."""

from typing import Any

from clearformer.config import TrainConfig
from clearformer.engine import engine_of
from clearformer.runs.checkpoint import Checkpoint, Place, save_checkpoint
from clearformer.training.processes import Processes


class Saver:
    """The first process writes, and training goes on when everything is on the disk."""

    def __init__(self, model: Any, optimizer: Any, processes: Processes) -> None:
        self.model = model
        self.optimizer = optimizer
        self.writes = processes.rank == 0

    def save(self, place: Place, moments: bool = False) -> None:
        """Save the weights, and with `moments` the optimizer's state. All processes must call this.

        Raises CheckpointError if this or an earlier checkpoint cannot be written.
        """
        engine = engine_of(self.model)
        tensors = {"model": engine.weights_of(self.model)}
        if moments:
            tensors["optimizer"] = engine.optimizer_tensors(self.model, self.optimizer)
        if self.writes:
            save_checkpoint(place.folder, Checkpoint(place.step, tensors), place.keep, place.every)

    def wait(self) -> None:
        """Return when every checkpoint is on the disk. Raises CheckpointError if one could not be written."""


def make_saver(model: Any, optimizer: Any, config: TrainConfig, processes: Processes) -> Saver:
    """That of processes which hold a part of each tensor, or of others."""
    if processes.size == 1 or config.parallel != "fsdp":
        return Saver(model, optimizer, processes)
    from clearformer.runs.shards import ShardSaver

    return ShardSaver(model, optimizer, processes)
