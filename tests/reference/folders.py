"""What the tests of imported and exported folders share."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from clearformer.api.run import Run, open_run
from clearformer.cli.main import main
from clearformer.config import Config
from clearformer.data.tokenizers import Tokenizer
from clearformer.runs.checkpoint import Checkpoint, save_checkpoint

TEXT = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 40
EQUAL = 1e-5
"""of the spread of logits: float32's rounding, in sums of a few dozen numbers in another order"""
STD = 0.3
"""of the weights: with the usual 0.02 a tiny model adds next to nothing to its embeddings"""
ENGINES = ("torch", "numpy", "c")
Edit = Callable[[Path], None]


def imported(source: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    code = main(["import", str(source), "--out", str(out)])
    assert code == 0, capsys.readouterr().err
    return open_run(out)


def run_of(folder: Path, config: Config, tokenizer: Tokenizer, kind: str, weights: Mapping[str, NDArray[Any]]) -> Run:
    """A run of ours with these weights, without its data."""
    folder.mkdir()
    tokenizer.save(folder / "tokenizer.json")
    data = {"name": config.dataset, "kind": kind, "sizes": {"train": 3}}
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    (folder / "config.json").write_text(config.to_json(), encoding="utf-8")
    save_checkpoint(folder / "checkpoints", Checkpoint(7, {"model": weights}), keep=1)
    return open_run(folder)


def edited_config(**changes: Any) -> Edit:
    def edit(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


def edited_weights(change: Callable[[dict[str, NDArray[Any]]], None]) -> Edit:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return edit


def assert_refused(whole: Path, edit: Edit, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> int:
    """The folder, once edited, is refused in one sentence, and nothing is written; returns the exit status."""
    shutil.copytree(whole, tmp_path / "theirs")
    edit(tmp_path / "theirs")
    status = main(["import", str(tmp_path / "theirs"), "--out", str(tmp_path / "run")])
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1, message
    assert not (tmp_path / "run").exists()
    return status
