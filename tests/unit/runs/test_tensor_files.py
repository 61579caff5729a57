"""Parts of tensors are put together as PyTorch does, or refused with one message. The parts are cut by hand."""

import hashlib
import json
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import torch
from torch.distributed.checkpoint import load
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader

from clearformer.errors import CheckpointError
from clearformer.runs import tensor_files
from clearformer.runs.checkpoint import SHARDED, Checkpoint, Place, load_checkpoint, save_checkpoint
from clearformer.runs.tensor_files import Share

WHOLE = {"w": np.arange(12, dtype=np.float32).reshape(4, 3), "b": np.arange(5, dtype=np.float32), "s": np.float32(7)}
SHAPES = {"w": (4, 3), "b": (5,), "s": ()}
Part = tuple[str, tuple[slice, ...]]
PARTS: dict[int, list[Part]] = {
    1: [("w", np.s_[:3, :]), ("b", np.s_[:2,]), ("s", ())],
    2: [("b", np.s_[2:4,])],  # no rows of w
    3: [("w", np.s_[3:, :2]), ("b", np.s_[4:,])],
    4: [("w", np.s_[3:, 2:])],  # and also divided by columns
}


def part(shard: int) -> str:
    return f"shard-{shard:05d}-model-00001-of-00002.safetensors"


def write(path: Path, tensors: dict[str, np.ndarray], places: Any) -> None:
    metadata = {"DCP_SHARDING_INFO": json.dumps(places)}
    path.write_bytes(safetensors.numpy.save(tensors, metadata=metadata))


def cut(path: Path, parts: list[Part], shift: int = 0, kind: type = np.float32) -> None:
    tensors = {name: np.array(np.asarray(WHOLE[name])[slices], kind) for name, slices in parts}
    places = {name: {"saved_offsets": [(each.start or 0) + shift for each in slices]} for name, slices in parts}
    write(path, tensors, places)


def saved(folder: Path, change: Callable[[Path], object] = lambda _: None) -> Path:
    """The checkpoint of step 5 in four shards, changed before its files are hashed."""
    place = Place(folder, 5, keep=1)
    place.prepare()
    for shard, parts in PARTS.items():
        cut(place.temporary / part(shard), parts)
    change(place.temporary)
    files = sorted(place.temporary.iterdir())
    place.publish(SHARDED, {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    return place.final


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled:UserWarning")  # as it should be: no_dist
def test_parts_are_put_together_as_pytorch_reads_them(tmp_path: Path):
    path = saved(tmp_path)
    found = load_checkpoint(path, {"model": SHAPES}).tensors["model"]
    read = {name: torch.full(shape, torch.nan) for name, shape in SHAPES.items()}
    load(read, storage_reader=HuggingFaceStorageReader(str(path)), no_dist=True)
    for name, expected in WHOLE.items():
        np.testing.assert_array_equal(found[name], expected)
        np.testing.assert_array_equal(read[name].numpy(), expected)


def parts_of(tensor: Any, size: int) -> list[np.ndarray]:
    """Of each process, as FSDP divides a tensor: by torch.chunk, which leaves out empty ones."""
    if np.ndim(tensor) == 0:
        return [tensor] * size
    found = [chunk.numpy() for chunk in torch.from_numpy(tensor).chunk(size)]
    return found + [tensor[:0]] * (size - len(found))


@pytest.fixture
def numbers_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many numbers each reading from a file gave."""
    counts: list[int] = []

    class Slice:
        def __init__(self, file: Any, name: str) -> None:
            self.slice = file.get_slice(name)
            self.get_shape, self.get_dtype = self.slice.get_shape, self.slice.get_dtype

        def __getitem__(self, slices: Any) -> np.ndarray:
            found = self.slice[slices]
            counts.append(found.size)
            return found

    class File:
        """With nothing else by which tensors could be read."""

        def __init__(self, file: Any) -> None:
            self.file, self.keys, self.metadata = file, file.keys, file.metadata

        def get_slice(self, name: str) -> Slice:
            return Slice(self.file, name)

    @contextmanager
    def opened(path: Path, framework: str) -> Any:
        with safetensors.safe_open(path, framework) as file:
            yield File(file)

    monkeypatch.setattr(tensor_files, "safe_open", opened)
    return counts


@pytest.mark.parametrize("form", ["parts", "whole"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])  # 4 rows: at three processes the last has none, at seven three
def test_a_process_reads_its_own_rows_and_no_other_numbers(
    tmp_path: Path, numbers_read: list[int], size: int, form: str
):
    whole = Checkpoint(5, {"model": {name: np.asarray(tensor) for name, tensor in WHOLE.items()}})
    path = saved(tmp_path) if form == "parts" else save_checkpoint(tmp_path, whole, keep=1)
    for rank in range(size):
        numbers_read.clear()
        found = load_checkpoint(path, {"model": SHAPES}, Share(rank, size)).tensors["model"]
        for name, tensor in WHOLE.items():
            np.testing.assert_array_equal(found[name], parts_of(tensor, size)[rank], strict=True)
        assert sum(numbers_read) == sum(parts_of(tensor, size)[rank].size for tensor in WHOLE.values())


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_each_file_is_hashed_by_one_process(tmp_path: Path, size: int):
    path = saved(tmp_path)
    for shard in PARTS:
        content = (path / part(shard)).read_bytes()
        (path / part(shard)).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert sum(refuses(path, Share(rank, size)) for rank in range(size)) == 1
        (path / part(shard)).write_bytes(content)
    assert not any(refuses(path, Share(rank, size)) for rank in range(size))


def refuses(path: Path, share: Share) -> bool:
    try:
        load_checkpoint(path, {"model": SHAPES}, share)
    except CheckpointError as error:
        return "is not what was saved" in str(error)
    return False


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a shard less": (lambda path: (path / part(2)).unlink(), r"step-000005 lacks parts of b, or has them twice$"),
    "a part twice": (lambda path: cut(path / part(5), PARTS[2]), r"step-000005 lacks parts of b, or has them twice$"),
    "out of place": (
        lambda path: cut(path / part(3), PARTS[3], shift=1),
        r"00003-model.*: a part of a float32 tensor of the model was expected, found b, float32 of shape \(1,\), wh",
    ),
    "before its begin": (lambda path: cut(path / part(2), PARTS[2], shift=-3), r"found b, float32 of shape \(2,\), wh"),
    "of another type": (lambda path: cut(path / part(2), PARTS[2], kind=np.float64), r"found b, float64 of shape \(2,"),
    "of no tensor": (
        lambda path: write(path / part(2), {"x": np.zeros(2, np.float32)}, {"x": {"saved_offsets": [0]}}),
        r"found x, float32 of shape \(2,\), which does not fit$",
    ),
    "no place": (lambda path: write(path / part(2), {"b": np.zeros(2, np.float32)}, {}), r"found b, float32 of shape"),
    "no number": (
        lambda path: write(path / part(2), {"b": np.zeros(2, np.float32)}, {"b": {"saved_offsets": ["2"]}}),
        r"found b, float32 of shape",
    ),
    "a list": (lambda path: write(path / part(2), {"b": np.zeros(2, np.float32)}, [2]), r"found b, float32 of shape"),
    "not finite": (
        lambda path: write(path / part(2), {"b": np.array([1, np.nan], np.float32)}, {"b": {"saved_offsets": [2]}}),
        r"step-000005: b should be finite, found NaN or infinity$",
    ),
    "no tensors": (
        lambda path: (path / part(2)).write_bytes(b"\x80\x04."),
        r"whole tensors were expected in .*00002-m",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_every_damage_of_parts_has_its_message(tmp_path: Path, name: str):
    change, message = DAMAGE[name]
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved(tmp_path, change), {"model": SHAPES})


def test_a_part_that_was_not_saved_so_is_refused(tmp_path: Path):
    path = saved(tmp_path)
    content = bytearray((path / part(4)).read_bytes())
    content[-1] ^= 1
    (path / part(4)).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"00004-model.* is not what was saved: its SHA-256 differs"):
        load_checkpoint(path, {"model": SHAPES})
