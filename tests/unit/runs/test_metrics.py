"""metrics.jsonl holds whole lines alone, and a disk that is full is said."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from clearformer.errors import CheckpointError
from clearformer.runs import metrics

LINES = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
FullDisk = Callable[[int], AbstractContextManager[None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for line in LINES:
        metrics.append(tmp_path / "metrics.jsonl", line)
    return tmp_path / "metrics.jsonl"


def test_lines_come_back_exactly(path: Path):
    assert metrics.read(path) == LINES
    assert path.read_text().count("\n") == 3


def test_a_file_that_is_not_there_has_no_lines(tmp_path: Path):
    assert metrics.read(tmp_path / "none") == []


def test_what_a_crash_left_of_a_line_is_no_line(path: Path):
    with path.open("a") as file:
        file.write('{"step": 4, "loss": 0.2}')  # whole but for its line end: more digits may have been meant
    assert metrics.read(path) == LINES


def test_a_line_in_the_middle_that_is_none_is_told_of(path: Path):
    path.write_text("\x00\x00\n" + path.read_text())
    with pytest.raises(CheckpointError, match=r"a JSON object in every line of .*metrics\.jsonl was expected, but: "):
        metrics.read(path)


@pytest.mark.parametrize("step", [0, 2, 3, 9])
def test_cutting_forgets_what_came_later_and_half_a_line(path: Path, step: int):
    before = path.read_bytes()
    with path.open("a") as file:
        file.write('{"st')
    metrics.cut(path, step)
    assert metrics.read(path) == LINES[:step]
    assert before.startswith(path.read_bytes())
    assert [file.name for file in path.parent.iterdir()] == ["metrics.jsonl"]


def test_a_full_disk_is_said_and_whole_lines_stay(path: Path, full_disk: FullDisk):
    size = path.stat().st_size
    words = r"metrics\.jsonl must be a file that can be written to, but: File too large; make room and resume the run"
    with full_disk(size + 5), pytest.raises(CheckpointError, match=words):
        metrics.append(path, {"step": 4, "loss": 0.25})
    assert metrics.read(path) == LINES
    with full_disk(5), pytest.raises(CheckpointError, match=words):
        metrics.cut(path, 2)
    assert metrics.read(path) == LINES


def test_a_place_that_cannot_be_written_to_is_said(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"must be a file that can be written to, but: Is a directory; make room"):
        metrics.append(tmp_path, LINES[0])
    with pytest.raises(CheckpointError, match=r"must be a file that can be written to, but: Is a directory; make room"):
        metrics.sync(tmp_path)
