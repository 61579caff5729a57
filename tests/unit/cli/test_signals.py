"""A run that receives a signal finishes its step, saves, and resumes later with the same result."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "clearformer"]
TINY = ["--model.d-model", "16", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "32"]
SHORT = ["--model.dropout", "0.1", "--train.steps", "600", "--train.batch-tokens", "256", "--train.device", "cpu"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}  # threads of several processes would wait for each other


def _train(folder: Path) -> list[str]:
    return [*COMMAND, "train", "reverse", "--out", str(folder), *TINY, *SHORT]


def _wait_for_steps(folder: Path, count: int) -> None:
    """Wait until `count` lines of metrics are written; fail after a minute."""
    for _ in range(1200):
        if (folder / "metrics.jsonl").exists() and (folder / "metrics.jsonl").read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.05)
    raise AssertionError(f"{folder} did not reach {count} logged steps in a minute")


def _weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / "step-000600" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("signals") / "whole"
    subprocess.run(_train(folder), check=True, capture_output=True, env=ENVIRONMENT)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_after_the_step_and_resuming_gives_the_same_run(
    number: int, code: int, whole: Path, tmp_path: Path
):
    stopped = tmp_path / "stopped"
    process = subprocess.Popen(_train(stopped), stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    _wait_for_steps(stopped, 12)
    process.send_signal(number)
    _, output = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in output
    assert f"which is saved; continue with: clearformer resume {stopped}" in output
    assert len(list((stopped / "checkpoints").iterdir())) >= 1
    subprocess.run([*COMMAND, "resume", str(stopped)], check=True, capture_output=True, env=ENVIRONMENT)
    assert (stopped / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert _weights(stopped) == _weights(whole)


@pytest.mark.slow
def test_killed_before_the_first_checkpoint_a_run_starts_over_and_ends_the_same(whole: Path, tmp_path: Path):
    killed = tmp_path / "killed"
    process = subprocess.Popen(_train(killed), stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    _wait_for_steps(killed, 5)
    process.kill()
    process.wait()
    assert not (killed / "checkpoints").exists()
    subprocess.run([*COMMAND, "resume", str(killed)], check=True, capture_output=True, env=ENVIRONMENT)
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert _weights(killed) == _weights(whole)
