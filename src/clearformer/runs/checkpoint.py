"""Crash-safe checkpoints: a folder that is either complete or absent, in a format that cannot run code.

    step-000500/model.safetensors  optimizer.safetensors  state.json (format, step, SHA-256 of the others)

Written to a temporary folder, synced, then renamed. On reading, names, shapes, dtypes, values and hashes are all
checked, and a damaged checkpoint is skipped for the one before it. Processes that hold a part of each tensor write
shards instead of the two files: see `shards.py` and `tensor_files.py`.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from clearformer.errors import CheckpointError
from clearformer.runs.tensor_files import ALL, Shapes, Share, Tensors, read_tensors
from clearformer.training.processes import ALONE, Processes

WHOLE, SHARDED = 1, 2
"""the formats of a checkpoint: a file for all weights and one for all moments, or shards"""
CheckpointName = Literal["last", "best"]
"""the trained model: of the end of training, or with the lowest validation loss"""


@dataclass(frozen=True)
class Checkpoint:
    """The training state: the number of updates, and the tensors of each file ("model", "optimizer") by name.

    Where processes divide them, one process's parts of them.
    """

    step: int
    tensors: Mapping[str, Tensors]


def checkpoint_folders(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d{6,}", path.name)]
    return sorted(found, key=_step_of)


def newest_step(folder: Path) -> int | None:
    """The step of the newest checkpoint in `folder`, damaged or not; None if there is none."""
    found = checkpoint_folders(folder)
    return _step_of(found[-1]) if found else None


@dataclass(frozen=True)
class Place:
    """Where the checkpoint of a step is written, and which earlier ones stay: the newest `keep` - 1 at multiples of
    `every`.

    Others were written when the run was stopped: kept, they would make the mean of the newest few depend on where that
    was. Checkpoints of later steps are damaged, or this step would not have been trained again: they are overwritten
    when their step comes.
    """

    folder: Path
    step: int
    keep: int
    every: int = 1

    @property
    def final(self) -> Path:
        return self.folder / f"step-{self.step:06d}"

    @property
    def temporary(self) -> Path:
        return self.folder / f".writing-{self.final.name}"

    def prepare(self) -> None:
        """Make the empty temporary folder, to write files to; those of earlier attempts go."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".writing-*"):
            shutil.rmtree(leftover)
        self.temporary.mkdir()

    def publish(self, form: int, hashes: Mapping[str, str]) -> None:
        """Make the files in the temporary folder, which are synced, a checkpoint; delete earlier ones."""
        state = {"format": form, "step": self.step, "sha256": hashes}
        _write_synced(self.temporary / "state.json", (json.dumps(state, indent=2) + "\n").encode())
        _sync_folder(self.temporary)
        if self.final.exists():  # only a damaged one that was skipped can have this name
            shutil.rmtree(self.final)
        self.temporary.rename(self.final)
        _sync_folder(self.folder)
        written = [path for path in checkpoint_folders(self.folder) if _step_of(path) <= self.step]
        retained = [path for path in written if path == self.final or _step_of(path) % self.every == 0][-self.keep :]
        for path in [path for path in written if path not in retained]:
            shutil.rmtree(path)

    def failure(self, size: int, reason: object) -> CheckpointError:
        """The error of a checkpoint of `size` bytes that could not be written."""
        remaining = [path.name for path in checkpoint_folders(self.folder)]
        start = f"from {remaining[-1]}, which is intact" if remaining else "from the beginning"
        return CheckpointError(
            f"the checkpoint of step {self.step} ({size / 1e6:.1f} MB) could not be written to {self.folder}: "
            f"{reason}; make room and resume {start}"
        )


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int, every: int = 1) -> Path:
    """Write a checkpoint, delete earlier ones as `Place` says, return its folder.

    Raises CheckpointError if writing fails, for example because the disk is full.
    """
    place = Place(folder, checkpoint.step, keep, every)
    files = {
        f"{name}.safetensors": safetensors.numpy.save(dict(tensors)) for name, tensors in checkpoint.tensors.items()
    }
    try:
        place.prepare()
        for name, content in files.items():
            _write_synced(place.temporary / name, content)
        place.publish(WHOLE, {name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    except OSError as error:
        shutil.rmtree(place.temporary, ignore_errors=True)
        raise place.failure(sum(map(len, files.values())), error.strerror or error) from error
    return place.final


def load_checkpoint(path: Path, shapes: Mapping[str, Shapes], share: Share = ALL) -> Checkpoint:
    """Read a share of the files named in `shapes`, whose tensors must have these names and shapes.

    Raises CheckpointError if anything is missing or damaged, or does not match.
    """
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"a state in JSON was expected in {path / 'state.json'}, but: {error}") from error
    found = state.get("format") if isinstance(state, dict) else None
    if not isinstance(found, int) or found > SHARDED:
        raise CheckpointError(
            f"a checkpoint of format {SHARDED} or older was expected in {path}, found format {found!r}; "
            "upgrade clearformer to read it"
        )
    step, hashes = state.get("step"), state.get("sha256")
    if step != _step_of(path) or not isinstance(hashes, dict):
        raise CheckpointError(
            f"the step {_step_of(path)} and the files' SHA-256 were expected in {path / 'state.json'}, found the step "
            f"{step!r}{'' if isinstance(hashes, dict) else ' and no SHA-256'}; was the folder renamed?"
        )
    tensors = {name: read_tensors(path, name, shapes[name], hashes, share) for name in shapes}
    return Checkpoint(step, tensors)


def load_newest(
    folder: Path,
    shapes: Mapping[str, Shapes],
    notify: Callable[[str], None],
    processes: Processes = ALONE,
    share: Share = ALL,
) -> Checkpoint | None:
    """The newest undamaged checkpoint, or None if there are none at all. `notify` is called for each skipped one.

    All `processes` must call this, each for its share; one in which any of them finds damage is skipped by all. Raises
    CheckpointError if all are damaged.
    """
    return next(_whole_checkpoints(folder, shapes, notify, processes, share), None)


def load_average(
    folder: Path, shapes: Mapping[str, Shapes], count: int, notify: Callable[[str], None]
) -> Checkpoint | None:
    """The newest undamaged checkpoint, with tensors averaged over the newest `count` undamaged ones.

    None if there are none at all. `notify` is called for each skipped one, and if there are fewer than `count`.
    Raises CheckpointError if all are damaged.
    """
    found = list(islice(_whole_checkpoints(folder, shapes, notify), count))
    if not found:
        return None
    if len(found) < count:
        notify(f"the mean of {count} checkpoints was expected, found {len(found)}; the model is the mean of those")
    means = {
        file: {name: _mean([checkpoint.tensors[file][name] for checkpoint in found]) for name in shapes[file]}
        for file in shapes
    }
    return Checkpoint(found[0].step, means)


def _mean(tensors: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean, computed in float64."""
    return np.asarray(np.mean(tensors, axis=0, dtype=np.float64), dtype=np.float32)


def _whole_checkpoints(
    folder: Path,
    shapes: Mapping[str, Shapes],
    notify: Callable[[str], None],
    processes: Processes = ALONE,
    share: Share = ALL,
) -> Iterator[Checkpoint]:
    """Undamaged checkpoints, newest first. Raises CheckpointError if there are some but all are damaged."""
    damage: CheckpointError | None = None
    found = False
    for path in reversed(checkpoint_folders(folder)):
        try:
            checkpoint = _load_together(path, shapes, processes, share)
        except CheckpointError as error:
            damage = damage or error
            notify(f"{path.name} is skipped for an older checkpoint: {error}")
        else:
            found = True
            yield checkpoint
    if damage is not None and not found:
        raise CheckpointError(f"no checkpoint in {folder} can be read; of the newest: {damage}") from damage


def _load_together(path: Path, shapes: Mapping[str, Shapes], processes: Processes, share: Share) -> Checkpoint:
    """Each process's share of a checkpoint. Raises CheckpointError in all of them if one finds damage."""
    try:
        checkpoint, damage = load_checkpoint(path, shapes, share), ""
    except CheckpointError as error:
        checkpoint, damage = None, str(error)
    damages = [text for text in processes.texts(damage) if text]
    if checkpoint is None or damages:
        raise CheckpointError(damages[0])
    return checkpoint


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """fsync a folder, so that its entries survive a power failure; Windows cannot and need not."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
