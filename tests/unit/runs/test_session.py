"""An interrupted and resumed run ends with the same metrics and weights, to the bit, as an uninterrupted one."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import clearformer
from clearformer.errors import CheckpointError, RunError
from clearformer.models.initial import initial_weights
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import load_model, train_run, untrained_model

Make = Callable[..., RunFolder]
Resume = Callable[..., list[str]]
Outcome = Callable[[Path], dict[str, bytes]]

KILLED = Path(__file__).with_name("killed.py")


def kill(*arguments: object) -> None:
    package = str(Path(clearformer.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, KILLED, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": package},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def steps(folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("family", ["gpt", "transformer"])
def test_closing_and_resuming_does_not_change_the_result(
    make_run: Make, resume: Resume, outcome: Outcome, family: str, accumulation: int
):
    whole = make_run(family, "whole", accumulation=accumulation)
    resume(whole.folder)
    assert steps(whole.folder) == list(range(1, 9))
    assert whole.batches("train").batches_per_epoch > 4  # so the first two stops are in one epoch

    parts = make_run(family, "parts", accumulation=accumulation)
    for stop in (1, 2, 7):
        resume(parts.folder, stop)
        assert (parts.checkpoints / f"step-{stop:06d}").is_dir()  # closing saved
    resume(parts.folder)
    assert outcome(parts.folder) == outcome(whole.folder)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "accumulation"), [("gpt", 2), ("transformer", 1)])
def test_killing_and_resuming_does_not_change_the_result(
    make_run: Make, resume: Resume, outcome: Outcome, family: str, accumulation: int
):
    whole, parts = (make_run(family, name, accumulation=accumulation) for name in ("whole", "parts"))
    resume(whole.folder)
    kill("steps", parts.folder, 2, 1, 4, 5, 8)  # twice before the first checkpoint, twice in one epoch, at the end
    resume(parts.folder)
    assert outcome(parts.folder) == outcome(whole.folder)


@pytest.mark.slow
def test_killing_at_any_file_operation_does_not_change_the_result(
    tmp_path: Path, make_run: Make, resume: Resume, outcome: Outcome
):
    # from update 2 on, with a checkpoint at 4 that deletes the one of 2, and a last one at 5
    settings = {"steps": 5, "checkpoint_every": 2, "keep_checkpoints": 1}
    whole, started = (make_run("gpt", name, **settings) for name in ("whole", "started"))
    resume(whole.folder)
    resume(started.folder, stop=2)
    kill("calls", started.folder, tmp_path / "copies")
    copies = sorted((tmp_path / "copies").iterdir(), key=lambda path: int(path.name))
    assert len(copies) > 40
    leftovers = 0
    for copy in copies:
        leftovers += any((copy / "checkpoints").glob(".writing-*"))
        assert resume(copy) == []  # no checkpoint was damaged
        assert outcome(copy) == outcome(whole.folder), copy.name
    assert leftovers > 10  # so some were killed inside a save


def test_an_incomplete_last_line_of_metrics_is_dropped(make_run: Make, resume: Resume, outcome: Outcome):
    whole, parts = make_run("gpt", "whole"), make_run("gpt", "parts")
    resume(whole.folder)
    resume(parts.folder, stop=5)
    with parts.metrics.open("a") as file:
        file.write('{"step": 6, "lo')
    resume(parts.folder)
    assert outcome(parts.folder) == outcome(whole.folder)


def test_a_damaged_checkpoint_only_costs_the_steps_since_the_previous_one(
    make_run: Make, resume: Resume, outcome: Outcome
):
    whole, parts = make_run("gpt", "whole"), make_run("gpt", "parts")
    resume(whole.folder)
    resume(parts.folder, stop=6)
    (parts.checkpoints / "step-000006" / "model.safetensors").write_bytes(b"")
    notices = resume(parts.folder)
    assert len(notices) == 1
    assert notices[0].startswith("step-000006 is skipped for an older checkpoint: whole tensors were expected in ")
    assert outcome(parts.folder) == outcome(whole.folder)


def test_progress_made_after_skipping_a_damaged_checkpoint_is_kept(make_run: Make, resume: Resume):
    run = make_run("gpt", keep_checkpoints=1, checkpoint_every=100)
    resume(run.folder, stop=2)
    shutil.copytree(run.checkpoints / "step-000002", run.checkpoints / "step-000006")
    (run.checkpoints / "step-000006" / "state.json").write_text("{")
    resume(run.folder, stop=4)
    notices: list[str] = []
    assert load_model(RunFolder(run.folder, run.config, run.tokenizer, notices.append))[1] == 4
    assert len(notices) == 1


def test_a_finished_run_does_not_change(make_run: Make, resume: Resume, outcome: Outcome):
    run = make_run("gpt")
    resume(run.folder)
    before = outcome(run.folder)
    assert list(train_run(run)) == []
    assert outcome(run.folder) == before


def test_the_first_ten_steps_are_logged_then_every_log_every_and_the_last(make_run: Make, resume: Resume):
    run = make_run("gpt", steps=17, log_every=6, validate_every=16)
    resume(run.folder)
    assert steps(run.folder) == [*range(1, 11), 12, 16, 17]


def test_validation_is_measured_every_validate_every_steps_and_at_the_end(make_run: Make):
    run = make_run("gpt", steps=6, validate_every=4)
    measured = [progress.record.step for progress in train_run(run) if progress.validation_loss is not None]
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert measured == [4, 6] == [line["step"] for line in lines if "validation_loss" in line]


def test_a_metrics_line_holds_the_record_without_its_times(make_run: Make):
    run = make_run("transformer", steps=1)
    (progress,) = train_run(run)
    (line,) = (json.loads(text) for text in run.metrics.read_text().splitlines())
    expected = vars(progress.record) | {"validation_loss": progress.validation_loss}
    assert line == {name: value for name, value in expected.items() if name != "tokens_per_second"}


def test_checkpoints_are_saved_at_their_steps_and_the_oldest_deleted(make_run: Make, resume: Resume):
    run = make_run("gpt", steps=7, checkpoint_every=2, keep_checkpoints=3)
    resume(run.folder)
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-000004", "step-000006", "step-000007"]


@pytest.mark.parametrize("family", ["gpt", "transformer"])
def test_the_loaded_model_is_the_trained_one_and_the_untrained_model_has_the_initial_weights(
    make_run: Make, resume: Resume, family: str
):
    run = make_run(family)
    resume(run.folder, stop=2)
    model, step = load_model(run)
    initial = initial_weights(run.config.model, run.config.train.seed)
    assert (step, model.training) == (2, False)
    untrained = untrained_model(run)
    assert not untrained.training
    for name, weight in untrained.named_parameters():
        assert np.array_equal(weight.detach().numpy(), initial[name])
        assert not torch.equal(weight, model.get_parameter(name)), name


def test_the_loaded_model_is_the_mean_of_the_newest_checkpoints(make_run: Make, resume: Resume):
    run = make_run("gpt", checkpoint_every=2, keep_checkpoints=4, average_checkpoints=3)
    resume(run.folder)
    model, step = load_model(run)
    assert step == 8
    saved = [load_file(run.checkpoints / f"step-{number:06d}" / "model.safetensors") for number in (4, 6, 8)]
    for name, weight in model.named_parameters():
        expected = sum(tensors[name].astype(np.float64) for tensors in saved) / 3
        np.testing.assert_array_equal(weight.numpy(force=True), expected.astype(np.float32))


def test_stopping_a_run_does_not_change_the_mean(make_run: Make, resume: Resume, outcome: Outcome):
    settings = {"checkpoint_every": 2, "keep_checkpoints": 3, "average_checkpoints": 3}
    whole, parts = (make_run("gpt", name, **settings) for name in ("whole", "parts"))
    resume(whole.folder)
    for stop in (5, 7):
        resume(parts.folder, stop)
    resume(parts.folder)
    assert outcome(parts.folder) == outcome(whole.folder)  # training resumes from the newest, not from the mean
    (expected, _), (found, _) = load_model(whole), load_model(parts)
    for name, weight in expected.named_parameters():
        assert torch.equal(weight, found.get_parameter(name)), name


def test_closing_and_resuming_with_muon_does_not_change_the_result(make_run: Make, resume: Resume, outcome: Outcome):
    whole, parts = (make_run("transformer", name, optimizer="muon") for name in ("whole", "parts"))
    resume(whole.folder)
    names = load_file(whole.checkpoints / "step-000008" / "optimizer.safetensors")
    assert {name.rpartition(".")[2] for name in names} == {"momentum_buffer", "exp_avg", "exp_avg_sq", "step"}
    for stop in (1, 4):
        resume(parts.folder, stop)
    resume(parts.folder)
    assert outcome(parts.folder) == outcome(whole.folder)


def test_a_run_without_a_checkpoint_has_no_model(make_run: Make):
    with pytest.raises(
        CheckpointError, match=r"a checkpoint was expected in .*run, but none was saved yet; resume the"
    ):
        load_model(make_run("gpt"))


def test_a_run_is_trained_by_one_session_at_a_time(make_run: Make):
    run = make_run("gpt")
    first = train_run(run)
    next(first)
    with pytest.raises(RunError, match="is being trained by another process; wait for it, or stop it first"):
        next(train_run(run))
    first.close()
    assert next(train_run(run)).record.step == 2
