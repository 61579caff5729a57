"""A checkpoint is restored to the bit or refused with one message, and a full disk harms nothing."""

import json
import shutil
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clearformer.errors import CheckpointError
from clearformer.runs.checkpoint import (
    Checkpoint,
    checkpoint_folders,
    load_average,
    load_checkpoint,
    load_newest,
    save_checkpoint,
)

Tensors = dict[str, NDArray[np.float32]]

SHAPES = {"model": {"w": (2, 3), "b": (3,)}, "optimizer": {"w.step": (), "w.exp_avg": (2, 3)}}


def tensors(seed: int) -> dict[str, Tensors]:
    rng = np.random.default_rng(seed)
    return {
        file: {name: np.asarray(rng.normal(size=shape), dtype=np.float32) for name, shape in shapes.items()}
        for file, shapes in SHAPES.items()
    }


def save(folder: Path, step: int, keep: int = 9) -> Path:
    return save_checkpoint(folder, Checkpoint(step, tensors(step)), keep)


def assert_is(checkpoint: Checkpoint | None, step: int) -> None:
    assert checkpoint is not None
    assert checkpoint.step == step
    for file, expected in tensors(step).items():
        assert checkpoint.tensors[file].keys() == expected.keys()
        assert all(np.array_equal(checkpoint.tensors[file][name], expected[name]) for name in expected)


def assert_is_mean(average: Checkpoint | None, steps: list[int]) -> None:
    """The model is the mean of those that `save` saved at these steps."""
    assert average is not None
    assert average.step == max(steps)
    for name in SHAPES["model"]:
        expected = sum(tensors(step)["model"][name].astype(np.float64) for step in steps) / len(steps)
        np.testing.assert_array_equal(average.tensors["model"][name], expected.astype(np.float32))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_saved_checkpoint_can_be_loaded(tmp_path: Path):
    path = save(tmp_path, 7)
    assert path == tmp_path / "step-000007"
    assert names(path) == ["model.safetensors", "optimizer.safetensors", "state.json"]
    assert_is(load_checkpoint(path, SHAPES), 7)
    alone = load_checkpoint(path, {"model": SHAPES["model"]})
    assert alone.tensors.keys() == {"model"}


def test_the_newest_checkpoint_has_the_largest_step(tmp_path: Path):
    for step in (999_999, 1_000_000, 20):
        save(tmp_path, step)
    (tmp_path / "step-999999999x").mkdir()
    (tmp_path / "step-5").mkdir()
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step-000020", "step-999999", "step-1000000"]
    assert_is(load_newest(tmp_path, SHAPES, pytest.fail), 1_000_000)


def test_without_checkpoints_there_is_nothing_to_load(tmp_path: Path):
    assert load_newest(tmp_path / "none", SHAPES, pytest.fail) is None


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep=2)
    assert names(tmp_path) == ["step-000003", "step-000004"]


def test_a_checkpoint_between_regular_steps_is_deleted_first_and_displaces_none(tmp_path: Path):
    for step, left in (
        (3, [3]),
        (6, [3, 6]),
        (7, [6, 7]),  # a run stopped here and at 8 ends with the same two checkpoints as any other
        (8, [6, 8]),
        (9, [6, 9]),
        (10, [9, 10]),  # the last step
    ):
        save_checkpoint(tmp_path, Checkpoint(step, tensors(step)), keep=2, every=3)
        assert names(tmp_path) == [f"step-{number:06d}" for number in left]


def test_the_average_of_three_worked_by_hand(tmp_path: Path):
    for step, b in ((1, 64.0), (2, 1.0), (3, 2.0), (4, 6.0)):
        held = {"model": {"w": np.full((2, 3), -b, np.float32), "b": np.array([b, 0.0, 0.5], np.float32)}}
        save_checkpoint(tmp_path, Checkpoint(step, held), keep=9)
    average = load_average(tmp_path, {"model": SHAPES["model"]}, 3, pytest.fail)
    assert average is not None
    assert average.step == 4
    assert average.tensors["model"]["w"].tolist() == [[-3.0] * 3] * 2
    assert average.tensors["model"]["b"].tolist() == [3.0, 0.0, 0.5]
    assert {tensor.dtype for tensor in average.tensors["model"].values()} == {np.dtype(np.float32)}


def test_the_average_is_summed_in_float64(tmp_path: Path):
    for step, b in ((1, 2.0**26), (2, 1.0), (3, 1.0), (4, -(2.0**26))):
        # near 2²⁶ float32 has only multiples of 4: a sum in it loses both ones
        held = {"model": {"w": np.zeros((2, 3), np.float32), "b": np.full(3, b, np.float32)}}
        save_checkpoint(tmp_path, Checkpoint(step, held), keep=9)
    average = load_average(tmp_path, {"model": SHAPES["model"]}, 4, pytest.fail)
    assert average is not None
    assert average.tensors["model"]["b"].tolist() == [0.5] * 3


def test_the_average_of_one_is_the_newest_to_the_bit(tmp_path: Path):
    for step in (10, 20):
        save(tmp_path, step)
    assert_is(load_average(tmp_path, SHAPES, 1, pytest.fail), 20)
    assert load_average(tmp_path / "none", SHAPES, 1, pytest.fail) is None


@pytest.mark.parametrize("damaged", [10, 20, 30])
def test_the_average_skips_a_damaged_checkpoint_and_takes_the_next(tmp_path: Path, damaged: int):
    whole = [step for step in (5, 10, 20, 30) if step != damaged]
    for step in (5, 10, 20, 30):
        save(tmp_path, step)
    flip(tmp_path / f"step-{damaged:06d}", -1)
    notices: list[str] = []
    assert_is_mean(load_average(tmp_path, SHAPES, 3, notices.append), whole)
    assert len(notices) == 1
    assert notices[0].startswith(f"step-{damaged:06d} is skipped for an older checkpoint: ")


def test_an_average_of_fewer_checkpoints_is_reported(tmp_path: Path):
    for step in (5, 10, 20):
        save(tmp_path, step)
    flip(tmp_path / "step-000005", -1)
    notices: list[str] = []
    assert_is_mean(load_average(tmp_path, SHAPES, 5, notices.append), [10, 20])
    assert notices[0].startswith("step-000005 is skipped")
    assert notices[1:] == ["the mean of 5 checkpoints was expected, found 2; the model is the mean of those"]


def test_if_all_are_damaged_there_is_no_average(tmp_path: Path):
    for step in (10, 20):
        (save(tmp_path, step) / "state.json").write_text("{")
    notices: list[str] = []
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read; of the newest: a state in JSON was"):
        load_average(tmp_path, SHAPES, 2, notices.append)
    assert [notice.split()[0] for notice in notices] == ["step-000020", "step-000010"]


def test_a_damaged_later_checkpoint_does_not_displace_a_good_earlier_one(tmp_path: Path):
    for step in (2, 8):
        (save(tmp_path, step) / "state.json").unlink()
    save(tmp_path, 5, keep=1)
    assert names(tmp_path) == ["step-000005", "step-000008"]
    notices: list[str] = []
    assert_is(load_newest(tmp_path, SHAPES, notices.append), 5)
    save(tmp_path, 8, keep=1)  # overwrites the damaged one
    assert_is(load_newest(tmp_path, SHAPES, pytest.fail), 8)
    assert names(tmp_path) == ["step-000008"]


def rewrite(path: Path, change: Callable[[Tensors], object]) -> None:
    """Change tensors of the model without updating state.json."""
    held = safetensors.numpy.load_file(path / "model.safetensors")
    change(held)
    safetensors.numpy.save_file(held, path / "model.safetensors")


def edit(path: Path, **changes: object) -> None:
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(state | changes))


def flip(path: Path, offset: int, bit: int = 0) -> None:
    content = bytearray((path / "model.safetensors").read_bytes())
    content[offset] ^= 1 << bit
    (path / "model.safetensors").write_bytes(content)


def huge_header(path: Path) -> None:
    (path / "model.safetensors").write_bytes(struct.pack("<Q", 80_000_000) + b" " * 100)


def truncate(path: Path) -> None:
    content = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(content[:-1])


CORRUPTIONS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing file": (
        lambda path: (path / "model.safetensors").unlink(),
        r"^tensors were expected in .*model\.safetensors, but: No such file or directory$",
    ),
    "missing other file": (
        lambda path: (path / "optimizer.safetensors").unlink(),
        r"^tensors were expected in .*optimizer\.safetensors, but: No such file",
    ),
    "truncated": (truncate, r"whole tensors were expected in .*model\.safetensors, but it is truncated or damaged: "),
    "empty": (
        lambda path: (path / "model.safetensors").write_bytes(b""),
        r"whole tensors were expected in .*model\.safetensors, but it is truncated or damaged: ",
    ),
    "missing tensor": (lambda path: rewrite(path, lambda t: t.pop("b")), r"model\.safetensors lacks b, which the mod"),
    "extra tensor": (
        lambda path: rewrite(path, lambda t: t.update({f"x{n}": t["b"].copy() for n in range(5)})),
        r"model\.safetensors has x0, x1, x2 and 2 more, which the model lacks$",
    ),
    "reshaped": (
        lambda path: rewrite(path, lambda t: t.update(w=t["w"].reshape(3, 2).copy())),
        r"model\.safetensors: w should have the shape \(2, 3\), found \(3, 2\)$",
    ),
    "wrong type": (
        lambda path: rewrite(path, lambda t: t.update(w=t["w"].astype(np.float64))),
        r"model\.safetensors: w should be float32, found float64$",
    ),
    "not a number": (
        lambda path: rewrite(path, lambda t: t["b"].__setitem__(1, np.nan)),
        r"model\.safetensors: b should be finite, found NaN or infinity$",
    ),
    "infinite": (
        lambda path: rewrite(path, lambda t: t["b"].__setitem__(1, -np.inf)),
        r"model\.safetensors: b should be finite, found NaN or infinity$",
    ),
    "flipped bit": (lambda path: flip(path, -1, 7), r"model\.safetensors is not what was saved: its SHA-256 differs"),
    "huge header": (huge_header, r"a header of at most 10,000,000 bytes was expected in .*model\.safetensors; it is n"),
    "newer format": (
        lambda path: edit(path, format=3),
        r"^a checkpoint of format 2 or older was expected in .*step-000020, found format 3; upgrade clearformer",
    ),
    "no format": (lambda path: edit(path, format=None), r"format 2 or older was expected in .*, found format None; "),
    "renamed": (lambda path: edit(path, step=30), r"the step 20 .* expected in .*state\.json, found the step 30; was"),
    "no hashes": (
        lambda path: edit(path, sha256=[]),
        r"SHA-256 were expected in .*state\.json, found .* and no SHA-256",
    ),
    "other hashes": (lambda path: edit(path, sha256={}), r"model\.safetensors is not what was saved: its SHA-256 diff"),
    "broken state": (
        lambda path: (path / "state.json").write_text('{"format": 1'),
        r"^a state in JSON was expected in .*step-000020/state\.json, but: ",
    ),
    "a state of something else": (lambda path: (path / "state.json").write_text("[]"), r"found format None; upgrade"),
    "no state": (
        lambda path: (path / "state.json").unlink(),
        r"a state in JSON was expected in .*, but: .*No such fil",
    ),
    "no folder": (
        lambda path: (shutil.rmtree(path), path.write_text("")),
        r"a state in JSON was expected in .*step-000020/state\.json, but: .*Not a directory",
    ),
}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_damage_has_its_message_and_the_previous_checkpoint_is_loaded(tmp_path: Path, name: str):
    save(tmp_path, 10)
    path = save(tmp_path, 20)
    damage, message = CORRUPTIONS[name]
    damage(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path, SHAPES)
    notices: list[str] = []
    assert_is(load_newest(tmp_path, SHAPES, notices.append), 10)
    assert notices == [f"step-000020 is skipped for an older checkpoint: {caught.value}"]


def test_if_all_are_damaged_loading_fails_and_names_the_damage_of_the_newest(tmp_path: Path):
    for step, content in ((10, "[]"), (20, "{")):
        (save(tmp_path, step) / "state.json").write_text(content)
    notices: list[str] = []
    with pytest.raises(CheckpointError, match=r"no checkpoint in .* can be read; of the newest: a state in JSON was"):
        load_newest(tmp_path, SHAPES, notices.append)
    assert [notice.split()[0] for notice in notices] == ["step-000020", "step-000010"]


@given(offset=st.integers(0, 2**16), bit=st.integers(0, 7))
def test_every_flipped_bit_raises_a_checkpoint_error(tmp_path_factory: pytest.TempPathFactory, offset: int, bit: int):
    path = save(tmp_path_factory.mktemp("checkpoint"), 1)
    flip(path, offset % (path / "model.safetensors").stat().st_size, bit)
    with pytest.raises(CheckpointError):
        load_checkpoint(path, SHAPES)


@pytest.mark.parametrize("max_bytes", [0, 100, 160, 210])
def test_a_full_disk_is_reported_and_the_older_checkpoint_is_intact(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]], max_bytes: int
):
    save(tmp_path, 10)
    sizes = sorted(path.stat().st_size for path in (tmp_path / "step-000010").iterdir())
    assert 100 < sizes[0] < 160 < sizes[1] < 210 < sizes[2]  # so that the limits cut off one file, two, or all
    with (
        full_disk(max_bytes),
        pytest.raises(
            CheckpointError,
            match=r"^the checkpoint of step 20 \(0\.0 MB\) could not be written to .*: File too large; make room and "
            r"resume from step-000010, which is intact$",
        ),
    ):
        save(tmp_path, 20, keep=1)
    assert names(tmp_path) == ["step-000010"]
    assert_is(load_newest(tmp_path, SHAPES, pytest.fail), 10)
    save(tmp_path, 20, keep=1)
    assert_is(load_newest(tmp_path, SHAPES, pytest.fail), 20)


def test_a_full_disk_before_the_first_checkpoint_means_starting_over(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
):
    with full_disk(100), pytest.raises(CheckpointError, match=r"File too large; make room and resume from the beginn"):
        save(tmp_path, 20)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"could not be written to .*file: .*; make room"):
        save(tmp_path / "file", 20)


def test_leftovers_of_a_crash_are_deleted_by_the_next_save(tmp_path: Path):
    (tmp_path / ".writing-step-000005").mkdir()
    (tmp_path / ".writing-step-000005" / "model.safetensors").write_bytes(b"half")
    assert load_newest(tmp_path, SHAPES, pytest.fail) is None
    save(tmp_path, 5)
    assert names(tmp_path) == ["step-000005"]
