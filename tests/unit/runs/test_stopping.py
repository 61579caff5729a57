"""Patience: training ends when the validation loss has stopped falling, and the best weights are kept."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from clearformer.config import CosineSchedule, TrainConfig
from clearformer.engine import engine_of
from clearformer.errors import RunError
from clearformer.runs.folder import RunFolder, open_folder
from clearformer.runs.session import is_finished, load_model, stopped_since, train_run
from clearformer.runs.stopping import reason_to_stop, since_best

Make = Callable[..., RunFolder]
Resume = Callable[..., list[str]]
Outcome = Callable[[Path], dict[str, bytes]]

STILL = {"schedule": CosineSchedule(1e-30, 0.0, 0), "validate_every": 1}
"""a learning rate that moves no weight, so that no validation after the first brings a new best"""
WILD = {"schedule": CosineSchedule(0.3, 0.3, 0), "validate_every": 1, "steps": 40, "patience": 4}
"""a learning rate with which the validation loss goes up and down"""


def validated(folder: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["validation_loss"] for line in lines if "validation_loss" in line}


def test_validations_since_the_best_are_counted_and_an_equal_loss_is_no_new_best():
    counts = [since_best([3.0, 2.0, 2.5, 2.0, 1.5][:length]) for length in range(6)]
    assert counts == [0, 0, 0, 1, 2, 0]


def test_training_stops_for_a_low_loss_or_for_lost_patience_and_says_which():
    losses = [2.0, 1.5, 1.75, 1.625]
    assert reason_to_stop(losses, TrainConfig()) == reason_to_stop([], TrainConfig(patience=1)) == ""
    assert reason_to_stop(losses, TrainConfig(patience=3)) == ""
    assert reason_to_stop(losses, TrainConfig(patience=2)) == "2 validations in a row brought no new best loss"
    assert reason_to_stop(losses, TrainConfig(stop_below=1.65)) == "the validation loss is below 1.65"


def test_a_run_whose_loss_does_not_fall_stops_after_as_many_validations(make_run: Make, resume: Resume):
    run = make_run("gpt", **STILL, patience=3)
    resume(run.folder)
    assert list(validated(run.folder)) == [1, 2, 3, 4]  # the first is the best
    assert is_finished(run)
    assert stopped_since(run) == "3 validations in a row brought no new best loss"
    assert list(train_run(run)) == []
    assert [path.name for path in run.best.iterdir()] == ["step-000001"]


def test_stopping_and_resuming_does_not_change_when_patience_ends_and_what_is_best(
    make_run: Make, resume: Resume, outcome: Outcome
):
    whole, parts = make_run("gpt", "whole", **WILD), make_run("gpt", "parts", **WILD)
    resume(whole.folder)
    losses = validated(whole.folder)
    best, last = min(losses, key=lambda step: losses[step]), max(losses)
    assert 1 < best < last == best + 4 < 40
    for stop in (1, best, best + 1, last - 1):
        resume(parts.folder, stop)
        assert not is_finished(parts)
    resume(parts.folder)
    assert outcome(parts.folder) == outcome(whole.folder)
    (kept,) = whole.best.iterdir()
    (same,) = parts.best.iterdir()
    assert kept.name == same.name == f"step-{best:06d}"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        path.name: path.read_bytes() for path in same.iterdir()
    }
    model, step = load_model(open_folder(whole.folder, pytest.fail, "best"))
    again = engine_of(model).mean_loss(
        model, whole.batches("validation").in_order(whole.config.train.validation_tokens)
    )
    assert (step, again) == (best, losses[best])
    assert load_model(whole)[1] == last


def test_without_patience_there_is_no_best_model(make_run: Make, resume: Resume):
    run = make_run("gpt", steps=2, validate_every=1)
    resume(run.folder)
    assert not run.best.exists()
    message = r"the best checkpoint was expected in .*best, but none was kept; train with --train\.patience N, or leave"
    with pytest.raises(RunError, match=message):
        load_model(open_folder(run.folder, pytest.fail, "best"))
