"""Checkpoints of which every process writes its own part, by torch.distributed.checkpoint, while training goes on.

    step-000500/shard-00001-model-00001-of-00002.safetensors    the first process's parts of the weights
                shard-00001-model-00002-of-00002.safetensors    and of the optimizer's state
                shard-00002-…                                   the second process's
                state.json                                      format, step, SHA-256 of every file

At a step each process copies its parts, and a thread of each writes the copy while training goes on. When all have
written, the first process hashes the files and renames the folder, so that a process killed at any moment leaves the
checkpoint before this one.
"""

import hashlib
import shutil
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import async_save

from clearformer.runs.checkpoint import SHARDED, Place
from clearformer.runs.saving import Saver
from clearformer.runs.tensor_files import INDEX
from clearformer.training.optimizer import optimizer_state
from clearformer.training.processes import Processes


class ShardSaver(Saver):
    """Every process writes its own part in the background, one checkpoint at a time."""

    def __init__(self, model: Any, optimizer: Any, processes: Processes) -> None:
        super().__init__(model, optimizer, processes)
        self.group = dist.new_group(backend="gloo")  # of the threads, whose messages must not meet those of training
        self.pending: tuple[Place, int, Future[Any]] | None = None

    def save(self, place: Place, moments: bool = False) -> None:
        self.wait()
        weights = {name: weight.detach() for name, weight in self.model.named_parameters()}
        state = optimizer_state(self.model, self.optimizer) if moments else {}
        files = dict.fromkeys(weights, INDEX["model"]) | dict.fromkeys(state, INDEX["optimizer"])
        size = sum(tensor.nbytes for tensor in (weights | state).values())
        future = async_save(weights | state, storage_writer=_Writer(place, files), process_group=self.group)
        assert isinstance(future, Future)
        self.pending = place, size, future

    def wait(self) -> None:
        if self.pending is None:
            return
        (place, size, future), self.pending = self.pending, None
        try:
            future.result()
        except CheckpointException as error:
            if self.writes:
                shutil.rmtree(place.temporary, ignore_errors=True)
            reasons = {getattr(reason, "strerror", None) or str(reason) for reason, _ in error.failures.values()}
            raise place.failure(size, "; ".join(sorted(reasons))) from error


class _Writer(HuggingFaceStorageWriter):
    """torch.distributed.checkpoint's writer of safetensors, in a temporary folder that becomes a checkpoint."""

    def __init__(self, place: Place, files: dict[str, int]) -> None:
        super().__init__(str(place.temporary), fqn_to_index_mapping=files, save_distributed=True)
        self.place = place

    def prepare_global_plan(self, plans: list[Any]) -> list[Any]:
        """In the first process alone, before any writes."""
        self.place.prepare()
        return super().prepare_global_plan(plans)

    def finish(self, metadata: Any, results: Any) -> None:  # noqa: ARG002
        """In the first process alone, when all have written."""
        self.place.publish(SHARDED, {path.name: _sha256(path) for path in sorted(self.place.temporary.iterdir())})


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
