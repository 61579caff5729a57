"""A run that learns equations keeps its milestones, stops at a low loss, and resumes to the bit."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from clearformer.api.run import open_run
from clearformer.config import Config
from clearformer.recipes import grok
from clearformer.runs import metrics
from clearformer.runs.folder import create_folder, open_folder
from clearformer.runs.session import is_finished, is_milestone, train_run

Resume = Callable[..., list[str]]
LIMIT = 2.44
"""nats: below ln 12 = 2.48, that of a uniform guess over 7 numbers and 5 other tokens"""


def small(steps: int = 40, **train: object) -> Config:
    """Addition modulo 7 with a narrow model."""
    config = grok()
    assert config.modular is not None
    return dataclasses.replace(
        config,
        modular=dataclasses.replace(config.modular, modulus=7),
        model=dataclasses.replace(config.model, d_model=8, num_heads=2, d_ff=16),
        train=dataclasses.replace(
            config.train, **({"steps": steps, "validate_every": 5, "checkpoint_every": 10, "device": "cpu"} | train)
        ),
    )


def milestones(folder: Path) -> dict[str, bytes]:
    return {path.name: (path / "model.safetensors").read_bytes() for path in sorted((folder / "milestones").iterdir())}


def test_milestones_are_powers_of_two_and_what_lies_evenly_between_them():
    assert [step for step in range(1, 40) if is_milestone(step, 1)] == [1, 2, 4, 8, 16, 32]
    # 2^(k/2): 1, 1.4, 2, 2.8, 4, 5.7, 8, 11.3, 16, 22.6, 32
    assert [step for step in range(1, 40) if is_milestone(step, 2)] == [1, 2, 3, 4, 6, 8, 11, 16, 23, 32]
    assert not any(is_milestone(step, 0) for step in range(1, 40))


def test_a_resumed_run_ends_with_the_same_metrics_weights_and_milestones(
    tmp_path: Path, resume: Resume, outcome: Callable[[Path], dict[str, bytes]]
):
    whole, parts = (create_folder(tmp_path / name, small(), pytest.fail).folder for name in ("whole", "parts"))
    resume(whole)
    for stop in (3, 17, None):
        resume(parts, stop)
    assert outcome(whole) == outcome(parts)
    assert milestones(whole) == milestones(parts)
    assert "step-000038" in milestones(whole)  # 2^(42/8) = 38.05


def test_training_ends_at_the_first_held_out_loss_below_the_limit_and_is_then_finished(tmp_path: Path, resume: Resume):
    run = create_folder(tmp_path / "run", small(stop_below=LIMIT), pytest.fail)
    resume(run.folder, 2)
    assert not is_finished(run)
    resume(run.folder)
    lines = metrics.read(run.metrics)
    losses = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert lines[-1]["step"] < run.config.train.steps, "the limit is not reached"
    assert [loss < LIMIT for loss in losses] == [False] * (len(losses) - 1) + [True]
    assert is_finished(run)
    assert list(train_run(open_folder(run.folder, pytest.fail))) == []


def test_an_equation_is_continued_by_its_answer_alone(tmp_path: Path, resume: Resume):
    folder = create_folder(tmp_path / "run", small(steps=2), pytest.fail).folder
    resume(folder)
    answers = open_run(folder).generate(["1 2 =", "3 6 ="], max_new_tokens=5, temperature=0.0)
    assert [len(answer.split()) for answer in answers] == [1, 1]
