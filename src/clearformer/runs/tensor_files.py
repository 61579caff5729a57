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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from clearformer.errors import CheckpointError

MAX_HEADER_BYTES = 10_000_000
"""a header takes about 100 bytes per tensor; the safetensors library accepts far larger ones, and reads them slowly"""
INDEX = {"model": 1, "optimizer": 2}
"""of the files that hold these tensors' parts, in their names"""

Tensors = Mapping[str, NDArray[Any]]
Shapes = Mapping[str, tuple[int, ...]]
Place = tuple[slice, ...]
"""where a part lies in its tensor"""


@dataclass(frozen=True)
class Share:
    """What one of several processes reads, by its number: all together read every number, and hash every file, once.

    Tensors are divided as FSDP divides them: ceil(rows / size) to each, so that the last may get fewer rows, or none.
    A scalar is everyone's.
    """

    rank: int
    size: int

    def place(self, shape: tuple[int, ...]) -> Place:
        """Where its part of a tensor of this shape lies."""
        if not shape:
            return ()
        rows = math.ceil(shape[0] / self.size)
        first, last = (min(rows * rank, shape[0]) for rank in (self.rank, self.rank + 1))
        return slice(first, last), *(slice(0, length) for length in shape[1:])


ALL = Share(0, 1)


def read_tensors(
    folder: Path, name: str, shapes: Shapes, hashes: Mapping[str, str], share: Share = ALL
) -> dict[str, NDArray[np.float32]]:
    """A share of a checkpoint's "model" or "optimizer", whose tensors must have these names and shapes.

    `hashes` holds the SHA-256 of every file. Raises CheckpointError if anything is missing or damaged, or does not
    match.
    """
    shards = [file for file in hashes if re.fullmatch(rf"shard-\d+-model-0*{INDEX[name]}-of-\d+\.safetensors", file)]
    files = [folder / file for file in sorted(shards) or [f"{name}.safetensors"]]
    own = {key: share.place(shape) for key, shape in shapes.items()}
    tensors = {key: np.empty(_shape(place), np.float32) for key, place in own.items()}
    missing = {key: math.prod(shape) for key, shape in shapes.items()}
    for path in files:
        with _opened(path) as file:
            for key, place in (_places(path, file, shapes) if shards else _whole(path, file, shapes)).items():
                missing[key] -= math.prod(_shape(place))
                _read(file, key, place, own[key], tensors[key])
    if lacking := [key for key, count in missing.items() if count != 0]:
        raise CheckpointError(f"{folder} lacks parts of {_abbreviated(lacking)}, or has them twice")
    _require_finite(folder if shards else files[0], tensors)
    for number, path in enumerate(files, INDEX[name]):
        if number % share.size == share.rank:
            _require_hash(path, hashes)
    return tensors


def _read(file: Any, key: str, place: Place, wanted: Place, tensor: NDArray[np.float32]) -> None:
    """Copy what a file's part, at `place`, has of a tensor's part, at `wanted`, into the latter; read nothing else."""
    first = [max(part.start, own.start) for part, own in zip(place, wanted, strict=True)]
    last = [min(part.stop, own.stop) for part, own in zip(place, wanted, strict=True)]
    if all(begin < end for begin, end in zip(first, last, strict=True)):
        source, target = _within(place, first, last), _within(wanted, first, last)
        tensor[target] = file.get_slice(key)[source]


def _within(place: Place, first: list[int], last: list[int]) -> Place:
    """Where `first` to `last`, in each dimension of a tensor, lie within its part."""
    return tuple(slice(begin - at.start, end - at.start) for at, begin, end in zip(place, first, last, strict=True))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file of safetensors, mapped into memory: what is not read of its tensors takes none."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
        if size > MAX_HEADER_BYTES:
            raise CheckpointError(
                f"a header of at most {MAX_HEADER_BYTES:,} bytes was expected in {path}; it is no clearformer "
                "checkpoint"
            )
        with safe_open(path, "np") as opened:
            yield opened
    except OSError as error:
        raise CheckpointError(f"tensors were expected in {path}, but: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"whole tensors were expected in {path}, but it is truncated or damaged: {error}"
        ) from error


def _places(path: Path, file: Any, shapes: Shapes) -> dict[str, Place]:
    """Where the parts in a file lie. Raises CheckpointError unless all are parts of these tensors, and float32."""
    try:
        starts = json.loads((file.metadata() or {}).get("DCP_SHARDING_INFO", "{}"))
    except (ValueError, RecursionError):
        starts = {}
    places = {}
    for name, (shape, dtype) in _contents(file).items():
        place = _place(starts.get(name) if isinstance(starts, dict) else None, shape, shapes.get(name, ()))
        if name not in shapes or place is None or dtype != "float32":
            raise CheckpointError(
                f"{path}: a part of a float32 tensor of the model was expected, found {name}, {dtype} of shape {shape}"
                ", which does not fit"
            )
        places[name] = place
    return places


def _place(begin: Any, part: tuple[int, ...], whole: tuple[int, ...]) -> Place | None:
    """Where a part that begins at {"saved_offsets": [row, column]} lies in a tensor of the shape `whole`; or None."""
    starts = begin.get("saved_offsets") if isinstance(begin, dict) else None
    if not isinstance(starts, list) or not len(starts) == len(part) == len(whole):
        return None
    fits = (type(at) is int and 0 <= at <= size - own for at, own, size in zip(starts, part, whole, strict=True))
    return tuple(slice(at, at + own) for at, own in zip(starts, part, strict=True)) if all(fits) else None


def _whole(path: Path, file: Any, shapes: Shapes) -> dict[str, Place]:
    """Where its tensors lie, which are whole. Raises CheckpointError unless names, shapes and float32 match."""
    contents = _contents(file)
    if missing := [name for name in shapes if name not in contents]:
        raise CheckpointError(f"{path} lacks {_abbreviated(missing)}, which the model has")
    if extra := sorted(contents.keys() - shapes.keys()):
        raise CheckpointError(f"{path} has {_abbreviated(extra)}, which the model lacks")
    for name, (shape, dtype) in contents.items():
        if shape != shapes[name]:
            raise CheckpointError(f"{path}: {name} should have the shape {shapes[name]}, found {shape}")
        if dtype != "float32":
            raise CheckpointError(f"{path}: {name} should be float32, found {dtype}")
    return {name: ALL.place(shape) for name, shape in shapes.items()}


def _contents(file: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each tensor in a file, by its header alone."""
    slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    return {name: (tuple(each.get_shape()), _dtype(each.get_dtype())) for name, each in slices.items()}


def _dtype(name: str) -> str:
    """NumPy's name of a dtype of safetensors, such as F32."""
    return name.lower().replace("f", "float", 1)


def _shape(place: Place) -> tuple[int, ...]:
    return tuple(each.stop - each.start for each in place)


def _require_hash(path: Path, hashes: Mapping[str, str]) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != hashes.get(path.name):
        raise CheckpointError(f"{path} is not what was saved: its SHA-256 differs from the one in state.json")


def _require_finite(path: Path, tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{path}: {name} should be finite, found NaN or infinity")


def _abbreviated(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
