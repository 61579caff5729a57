"""Only complete lines of metrics.jsonl count, and a full disk is reported."""

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


def test_a_missing_file_has_no_lines(tmp_path: Path):
    assert metrics.read(tmp_path / "none") == []


def test_an_incomplete_last_line_is_ignored(path: Path):
    with path.open("a") as file:
        file.write('{"step": 4, "loss": 0.2}')  # only the newline is missing: digits may be, too
    assert metrics.read(path) == LINES


def test_a_damaged_line_in_the_middle_is_refused(path: Path):
    path.write_text("\x00\x00\n" + path.read_text())
    with pytest.raises(CheckpointError, match=r"a JSON object in every line of .*metrics\.jsonl was expected, but: "):
        metrics.read(path)


@pytest.mark.parametrize("step", [0, 2, 3, 9])
def test_truncating_removes_later_and_incomplete_lines(path: Path, step: int):
    before = path.read_bytes()
    with path.open("a") as file:
        file.write('{"st')
    metrics.truncate(path, step)
    assert metrics.read(path) == LINES[:step]
    assert before.startswith(path.read_bytes())
    assert [file.name for file in path.parent.iterdir()] == ["metrics.jsonl"]


def test_a_full_disk_is_reported_and_complete_lines_stay(path: Path, full_disk: FullDisk):
    size = path.stat().st_size
    message = r"metrics\.jsonl must be a file that can be written to, but: File too large; make room and resume the run"
    with full_disk(size + 5), pytest.raises(CheckpointError, match=message):
        metrics.append(path, {"step": 4, "loss": 0.25})
    assert metrics.read(path) == LINES
    with full_disk(5), pytest.raises(CheckpointError, match=message):
        metrics.truncate(path, 2)
    assert metrics.read(path) == LINES


def test_a_path_that_cannot_be_written_to_is_reported(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"must be a file that can be written to, but: Is a directory; make room"):
        metrics.append(tmp_path, LINES[0])
    with pytest.raises(CheckpointError, match=r"must be a file that can be written to, but: Is a directory; make room"):
        metrics.sync(tmp_path)
