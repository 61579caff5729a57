"""Crash-safe checkpoints: a folder that is either complete or absent, in a format that cannot run code.

    step-000500/model.safetensors  optimizer.safetensors  state.json (format, step, SHA-256 of the two)

Written to a temporary folder, synced, then renamed. On reading, names, shapes, dtypes, values and hashes are all
checked, and a damaged checkpoint is skipped for the one before it.
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
from typing import Any, Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from clearformer.errors import CheckpointError

FORMAT = 1
MAX_HEADER_BYTES = 10_000_000
"""a header takes about 100 bytes per tensor; the safetensors library accepts far larger ones, and reads them slowly"""

Tensors = Mapping[str, NDArray[Any]]
Shapes = Mapping[str, tuple[int, ...]]
CheckpointName = Literal["last", "best"]
"""the trained model: of the end of training, or with the lowest validation loss"""


@dataclass(frozen=True)
class Checkpoint:
    """The training state: the number of updates, and the tensors of each file ("model", "optimizer") by name."""

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


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int, every: int = 1) -> Path:
    """Write a checkpoint, delete earlier ones but the newest `keep` - 1 at multiples of `every`, return its folder.

    Others were written when the run was stopped: kept, they would make the mean of the newest few depend on where that
    was. Checkpoints of later steps are damaged, or this step would not have been trained again: they are overwritten
    when their step comes. Raises CheckpointError if writing fails, for example because the disk is full.
    """
    final = folder / f"step-{checkpoint.step:06d}"
    temporary = folder / f".writing-{final.name}"
    files = {
        f"{name}.safetensors": safetensors.numpy.save(dict(tensors)) for name, tensors in checkpoint.tensors.items()
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    state = {"format": FORMAT, "step": checkpoint.step, "sha256": hashes}
    files["state.json"] = (json.dumps(state, indent=2) + "\n").encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".writing-*"):
            shutil.rmtree(leftover)
        temporary.mkdir()
        for name, content in files.items():
            _write_synced(temporary / name, content)
        _sync_folder(temporary)
        if final.exists():  # only a damaged one that was skipped can have this name
            shutil.rmtree(final)
        temporary.rename(final)
        _sync_folder(folder)
        written = [path for path in checkpoint_folders(folder) if _step_of(path) <= checkpoint.step]
        retained = [path for path in written if path == final or _step_of(path) % every == 0][-keep:]
        for path in [path for path in written if path not in retained]:
            shutil.rmtree(path)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        remaining = [path.name for path in checkpoint_folders(folder)]
        raise CheckpointError(
            f"the checkpoint of step {checkpoint.step} ({sum(map(len, files.values())) / 1e6:.1f} MB) could not be "
            f"written to {folder}: {error.strerror or error}; make room and resume "
            f"{f'from {remaining[-1]}, which is intact' if remaining else 'from the beginning'}"
        ) from error
    return final


def load_checkpoint(path: Path, shapes: Mapping[str, Shapes]) -> Checkpoint:
    """Read the files named in `shapes`, whose tensors must have these names and shapes.

    Raises CheckpointError if anything is missing or damaged, or does not match.
    """
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"a state in JSON was expected in {path / 'state.json'}, but: {error}") from error
    found = state.get("format") if isinstance(state, dict) else None
    if not isinstance(found, int) or found > FORMAT:
        raise CheckpointError(
            f"a checkpoint of format {FORMAT} or older was expected in {path}, found format {found!r}; "
            "upgrade clearformer to read it"
        )
    step, hashes = state.get("step"), state.get("sha256")
    if step != _step_of(path) or not isinstance(hashes, dict):
        raise CheckpointError(
            f"the step {_step_of(path)} and the files' SHA-256 were expected in {path / 'state.json'}, found the step "
            f"{step!r}{'' if isinstance(hashes, dict) else ' and no SHA-256'}; was the folder renamed?"
        )
    tensors = {name: _read_tensors(path / f"{name}.safetensors", shapes[name], hashes) for name in shapes}
    return Checkpoint(step, tensors)


def load_newest(folder: Path, shapes: Mapping[str, Shapes], notify: Callable[[str], None]) -> Checkpoint | None:
    """The newest undamaged checkpoint, or None if there are none at all. `notify` is called for each skipped one.

    Raises CheckpointError if all are damaged.
    """
    return next(_whole_checkpoints(folder, shapes, notify), None)


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
    folder: Path, shapes: Mapping[str, Shapes], notify: Callable[[str], None]
) -> Iterator[Checkpoint]:
    """Undamaged checkpoints, newest first. Raises CheckpointError if there are some but all are damaged."""
    damage: CheckpointError | None = None
    found = False
    for path in reversed(checkpoint_folders(folder)):
        try:
            checkpoint = load_checkpoint(path, shapes)
        except CheckpointError as error:
            damage = damage or error
            notify(f"{path.name} is skipped for an older checkpoint: {error}")
        else:
            found = True
            yield checkpoint
    if damage is not None and not found:
        raise CheckpointError(f"no checkpoint in {folder} can be read; of the newest: {damage}") from damage


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _read_tensors(path: Path, shapes: Shapes, hashes: Mapping[str, str]) -> Tensors:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"tensors were expected in {path}, but: {error.strerror}") from error
    if int.from_bytes(content[:8], "little") > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"a header of at most {MAX_HEADER_BYTES:,} bytes was expected in {path}; it is no clearformer checkpoint"
        )
    try:
        tensors = safetensors.numpy.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"whole tensors were expected in {path}, but it is truncated or damaged: {error}"
        ) from error
    _require_tensors(path, tensors, shapes)
    if hashlib.sha256(content).hexdigest() != hashes.get(path.name):
        raise CheckpointError(f"{path} is not what was saved: its SHA-256 differs from the one in state.json")
    return dict(tensors)


def _require_tensors(path: Path, tensors: Tensors, shapes: Shapes) -> None:
    """Raise CheckpointError unless names and shapes match, and all tensors are float32 and finite."""
    if missing := [name for name in shapes if name not in tensors]:
        raise CheckpointError(f"{path} lacks {_abbreviated(missing)}, which the model has")
    if extra := sorted(tensors.keys() - shapes.keys()):
        raise CheckpointError(f"{path} has {_abbreviated(extra)}, which the model lacks")
    for name, tensor in tensors.items():
        if tensor.shape != shapes[name]:
            raise CheckpointError(f"{path}: {name} should have the shape {shapes[name]}, found {tensor.shape}")
        if tensor.dtype != np.float32:
            raise CheckpointError(f"{path}: {name} should be float32, found {tensor.dtype}")
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} should be finite, found NaN or infinity")


def _abbreviated(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


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
