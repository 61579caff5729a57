"""`--log`: what TensorBoard and Weights & Biases read is what the run's metrics say; without them, one sentence."""

import importlib.util
import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearformer.api.trackers import TrackerName
from clearformer.cli.main import main

SMALL = [
    *("--model.d-model", "8", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "8"),
    *("--model.context", "16", "--train.steps", "12", "--train.validate-every", "4", "--train.device", "cpu"),
    *("--train.checkpoint-every", "4", "--train.samples", "1"),
]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both packages are missing, whatever is installed."""
    find = importlib.util.find_spec
    missing = {"tensorboard", "wandb"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in missing else find(name, *rest))


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_before_anything_is_written(
    text_file: Path, text_run: Path, tmp_path: Path, name: TrackerName, capsys: pytest.CaptureFixture[str]
):
    for typed in (
        ["train", "tinyshakespeare", "--data", str(text_file), "--out", str(tmp_path / "run")],
        ["resume", str(text_run)],
    ):
        assert main([*typed, "--log", name]) == 2
        *_, said = capsys.readouterr().err.splitlines()
        assert said == (
            f"clearformer: the package {name} was expected for --log {name}, but it is not installed; type: "
            f'pip install "clearformer[{name}]"'
        )
    assert not (tmp_path / "run").exists()


def test_another_tracker_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", "dates", "--out", str(tmp_path / "run"), "--log", "mlflow"]) == 2
    assert "Expected one of ('tensorboard', 'wandb')" in capsys.readouterr().err


@pytest.fixture
def board() -> Iterator[Any]:
    """TensorBoard's own reader of event files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its packages, at import
        pytest.importorskip("tensorboard", reason="tensorboard is not installed")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        yield EventAccumulator


def test_tensorboard_shows_each_step_once_after_a_crash_with_the_values_of_the_metrics(
    text_file: Path, tmp_path: Path, board: Any
):
    folder = tmp_path / "run"
    typed = ["train", "tinyshakespeare", "--data", str(text_file), "--out", str(folder), *SMALL]
    assert main([*typed, "--log", "tensorboard"]) == 0
    whole = lines(folder)
    shutil.rmtree(folder / "checkpoints" / "step-000012")  # as if killed before it was written, after it was logged
    assert main(["resume", str(folder), "--log", "tensorboard"]) == 0
    assert lines(folder) == whole
    events = board(str(folder / "tensorboard")).Reload()
    for tag, name in (("loss/training", "loss"), ("loss/validation", "validation_loss"), ("learning_rate",) * 2):
        expected = [(line["step"], float(np.float32(line[name]))) for line in whole if name in line]
        assert [(event.step, event.value) for event in events.Scalars(tag)] == expected
    # texts are not dropped, but those of a step that is trained again are the same
    texts = {(event.step, event.tensor_proto.string_val[0]) for event in events.Tensors("samples/text_summary")}
    assert sorted(step for step, _ in texts) == [4, 8, 12]
    assert all(b"prompt" in text and b"continuation" in text for _, text in texts)


def test_wandb_gets_the_values_of_the_metrics(text_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    logged: dict[int, dict[str, Any]] = {}
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    log = wandb.Run.log
    monkeypatch.setattr(wandb.Run, "log", lambda self, data, step: (logged.update({step: data}), log(self, data, step)))
    folder = tmp_path / "run"
    typed = ["train", "tinyshakespeare", "--data", str(text_file), "--out", str(folder), *SMALL]
    assert main([*typed, "--log", "wandb"]) == 0
    assert {step: values["loss/training"] for step, values in logged.items()} == {
        line["step"]: line["loss"] for line in lines(folder)
    }
    assert [step for step, values in logged.items() if "samples" in values] == [4, 8, 12]
    (written,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    assert (folder / "wandb.id").read_text(encoding="utf-8") in written.name
