"""The tensors of a checkpoint, read and checked: from one file, or put together from the parts of several processes.

    model.safetensors                                  whole weights
    shard-00003-model-00001-of-00002.safetensors       the third process's parts of weights, 00001, or moments, 00002

The parts are as torch.distributed.checkpoint writes them: a header's metadata holds the place of each in its tensor. No
part of PyTorch is needed to read them.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from clearformer.errors import CheckpointError

MAX_HEADER_BYTES = 10_000_000
"""a header takes about 100 bytes per tensor; the safetensors library accepts far larger ones, and reads them slowly"""
INDEX = {"model": 1, "optimizer": 2}
"""of the files that hold these tensors' parts, in their names"""

Tensors = Mapping[str, NDArray[Any]]
Shapes = Mapping[str, tuple[int, ...]]


def read_tensors(folder: Path, name: str, shapes: Shapes, hashes: Mapping[str, str]) -> Tensors:
    """The tensors of a checkpoint's "model" or "optimizer", which must have these names and shapes.

    `hashes` holds the SHA-256 of every file. Raises CheckpointError if anything is missing or damaged, or does not
    match.
    """
    shards = [file for file in hashes if re.fullmatch(rf"shard-\d+-model-0*{INDEX[name]}-of-\d+\.safetensors", file)]
    if shards:
        tensors = _assembled(folder, shards, shapes, hashes)
        _require_finite(folder, tensors)
        return tensors
    path = folder / f"{name}.safetensors"
    tensors, content = _read(path)
    _require_whole(path, tensors, shapes)
    _require_finite(path, tensors)
    _require_hash(path, content, hashes)
    return tensors


def _assembled(folder: Path, shards: Iterable[str], shapes: Shapes, hashes: Mapping[str, str]) -> Tensors:
    tensors = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
    missing = {name: math.prod(shape) for name, shape in shapes.items()}
    for file in shards:
        parts, content = _read(folder / file)
        _require_hash(folder / file, content, hashes)
        places = _places(content)
        for name, part in parts.items():
            slices = _slices(places.get(name), part.shape, shapes.get(name, ()))
            if name not in shapes or slices is None or part.dtype != np.float32:
                raise CheckpointError(
                    f"{folder / file}: a part of a float32 tensor of the model was expected, found {name}, "
                    f"{part.dtype} of shape {part.shape}, which does not fit"
                )
            tensors[name][slices] = part
            missing[name] -= part.size
    if lacking := [name for name, count in missing.items() if count != 0]:
        raise CheckpointError(f"{folder} lacks parts of {_abbreviated(lacking)}, or has them twice")
    return tensors


def _places(content: bytes) -> dict[str, Any]:
    """Where each part of a file begins in its tensor, as {"saved_offsets": [row, column]}; empty if it does not say."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    try:
        found = json.loads(header.get("__metadata__", {}).get("DCP_SHARDING_INFO", "{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _slices(place: Any, part: tuple[int, ...], whole: tuple[int, ...]) -> tuple[slice, ...] | None:
    """Where a part lies in a tensor of the shape `whole`; None if it does not."""
    starts = place.get("saved_offsets") if isinstance(place, dict) else None
    if not isinstance(starts, list) or not len(starts) == len(part) == len(whole):
        return None
    fits = (type(at) is int and 0 <= at <= size - own for at, own, size in zip(starts, part, whole, strict=True))
    return tuple(slice(at, at + own) for at, own in zip(starts, part, strict=True)) if all(fits) else None


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], bytes]:
    """A file's tensors, and its bytes."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"tensors were expected in {path}, but: {error.strerror}") from error
    if int.from_bytes(content[:8], "little") > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"a header of at most {MAX_HEADER_BYTES:,} bytes was expected in {path}; it is no clearformer checkpoint"
        )
    try:
        return dict(safetensors.numpy.load(content)), content
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"whole tensors were expected in {path}, but it is truncated or damaged: {error}"
        ) from error


def _require_hash(path: Path, content: bytes, hashes: Mapping[str, str]) -> None:
    if hashlib.sha256(content).hexdigest() != hashes.get(path.name):
        raise CheckpointError(f"{path} is not what was saved: its SHA-256 differs from the one in state.json")


def _require_whole(path: Path, tensors: Tensors, shapes: Shapes) -> None:
    """Raise CheckpointError unless names and shapes match, and all tensors are float32."""
    if missing := [name for name in shapes if name not in tensors]:
        raise CheckpointError(f"{path} lacks {_abbreviated(missing)}, which the model has")
    if extra := sorted(tensors.keys() - shapes.keys()):
        raise CheckpointError(f"{path} has {_abbreviated(extra)}, which the model lacks")
    for name, tensor in tensors.items():
        if tensor.shape != shapes[name]:
            raise CheckpointError(f"{path}: {name} should have the shape {shapes[name]}, found {tensor.shape}")
        if tensor.dtype != np.float32:
            raise CheckpointError(f"{path}: {name} should be float32, found {tensor.dtype}")


def _require_finite(path: Path, tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} should be finite, found NaN or infinity")


def _abbreviated(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
