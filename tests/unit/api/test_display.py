"""Without a terminal, progress is printed in lines; the time left is correct for resumed runs too."""

import sys
from unittest.mock import MagicMock

import pytest

from clearformer.api import display
from clearformer.api.display import Display, TrainingDetails
from clearformer.runs.session import Update
from clearformer.training.steps import Record


def test_time_left_counts_from_the_first_step_of_a_resumed_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    now = 0.0
    monkeypatch.setattr(display.time, "monotonic", lambda: now)
    with Display("run", 100) as bar:
        bar.show(50)
        now = 11.0
        bar.show(60, "loss 1.000")  # 10 steps took 11 seconds, so 40 take 44
        now = 12.0
        bar.show(61)  # too soon for another line
        now = 50.0
        bar.show(100)
    assert capsys.readouterr().err.splitlines() == ["run 60/100 loss 1.000 44 s left", "run 100/100  0 s left"]


def test_a_second_pass_restarts_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    times = iter([0.0, 0.0, 30.0, 31.0, 51.0])  # created, then shown four times
    monkeypatch.setattr(display.time, "monotonic", lambda: next(times))
    with Display("evaluating", 100) as bar:
        for done in (90, 100, 10, 20):
            bar.show(done)
    # 10 of the second pass took 20 seconds, so 80 take 160
    assert capsys.readouterr().err.splitlines()[-1] == "evaluating 20/100  160 s left"


def test_a_notebook_gets_a_bar_that_is_updated_in_place_and_no_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ipython = MagicMock()
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with Display("run", 4) as bar:
        bar.show(4, "<loss>")
    handle = ipython.display.display.return_value  # what `display(..., display_id=True)` gives
    (data,) = handle.update.call_args.args
    assert data["text/html"] == '<progress value="4" max="4"></progress> run 4/4 &lt;loss&gt; 0 s left'
    assert capsys.readouterr().err == ""
    del ipython.get_ipython.return_value.kernel  # IPython in a terminal has none, and is treated as a terminal
    assert display.notebook_display() is None


def test_details_are_a_mean_of_the_first_steps_and_keep_the_last_validation_loss():
    details = TrainingDetails()

    def update(loss: float, validation: float | None = None) -> str:
        return details(Update(Record(1, loss, 1.0, 1e-3, 10, 1000.0), validation, model=None))

    assert update(4.0) == "loss 4.000  1,000 tokens/s"
    assert update(2.0, 2.5) == "loss 3.000  validation 2.500  1,000 tokens/s"
    assert update(3.0) == "loss 3.000  validation 2.500  1,000 tokens/s"
