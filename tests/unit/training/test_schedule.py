"""Learning rates are those of the papers' formulas."""

import itertools
import math

import pytest

from clearformer.config import CosineSchedule, LinearSchedule, PaperSchedule, Schedule
from clearformer.training.schedule import learning_rate

COSINE = CosineSchedule(peak=8e-3, final=2e-3, warmup_steps=4)
LINEAR = LinearSchedule(peak=8e-3, final=2e-3, warmup_steps=4, cooldown=0.25)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        # D = 64, warm-up 16, factor 2: 2 / 8 · min(1 / sqrt(step), step / 64)
        (1, 1 / 256),  # 1/4 · 1/64
        (16, 1 / 16),  # 1/4 · 1/4: the peak
        (64, 1 / 32),  # four times the warm-up: half the peak
    ],
)
def test_the_paper_schedule_worked_by_hand(step: int, rate: float):
    assert learning_rate(PaperSchedule(factor=2.0, warmup_steps=16), step, 1000, 64) == pytest.approx(rate, rel=1e-12)


def test_the_peak_of_the_papers_base_model():
    # 1 / sqrt(512 · 4000)
    assert learning_rate(PaperSchedule(), 4000, 100_000, 512) == pytest.approx(6.9877e-4, rel=1e-4)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (1, 2e-3),  # a quarter of the peak
        (4, 8e-3),  # the peak
        (29, 2e-3 + 6e-3 * (2 + math.sqrt(2)) / 4),  # a quarter of the way: cos 45° = sqrt(2) / 2
        (54, 5e-3),  # halfway from 4 to 104: the mean of peak and final
        (104, 2e-3),  # the last step: final
    ],
)
@pytest.mark.parametrize("d_model", [64, 512])
def test_the_cosine_schedule_worked_by_hand(step: int, rate: float, d_model: int):
    assert learning_rate(COSINE, step, 104, d_model) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    ("step", "rate"),
    [
        (1, 2e-3),  # a quarter of the peak
        (4, 8e-3),  # the peak
        (5, 8e-3),  # constant
        (150, 8e-3),  # the decay over the last quarter of 200 steps begins
        (160, 6.8e-3),  # a fifth of the way down
        (175, 5e-3),  # halfway: the mean of peak and final
        (200, 2e-3),  # the last step: final
    ],
)
def test_the_linear_schedule_worked_by_hand(step: int, rate: float):
    assert learning_rate(LINEAR, step, 200, 64) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("cooldown", [1.0, 0.9])
@pytest.mark.parametrize(("step", "rate"), [(20, 1.0), (21, 79 / 80), (60, 0.5), (100, 0.0)])
def test_a_linear_decay_begins_no_earlier_than_the_warm_up_ends(cooldown: float, step: int, rate: float):
    schedule = LinearSchedule(peak=1.0, warmup_steps=20, cooldown=cooldown)
    assert learning_rate(schedule, step, 100, 64) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(
    "schedule",
    [
        COSINE,
        PaperSchedule(warmup_steps=40),
        LINEAR,
        LinearSchedule(peak=8e-3, warmup_steps=40),
        LinearSchedule(peak=8e-3, warmup_steps=40, cooldown=0.95),
    ],
)
def test_the_rate_rises_to_its_peak_and_falls_without_a_jump(schedule: Schedule):
    rates = [learning_rate(schedule, step, 400, 64) for step in range(1, 401)]
    peak = schedule.warmup_steps - 1
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert all(rate > 0 for rate in rates[:-1])
    # no step changes the rate by more than the first step of the warm-up did
    assert max(abs(b - a) for a, b in itertools.pairwise(rates)) <= rates[0] * (1 + 1e-9)


def test_without_a_warm_up_the_cosine_starts_below_its_peak():
    schedule = CosineSchedule(peak=1.0, final=0.0, warmup_steps=0)
    assert [learning_rate(schedule, step, 2, 64) for step in (1, 2)] == pytest.approx([0.5, 0.0], abs=1e-12)


def test_a_run_shorter_than_its_warm_up_only_rises():
    for schedule in (COSINE, LINEAR):
        assert [learning_rate(schedule, step, 2, 64) for step in (1, 2)] == [2e-3, 4e-3]
