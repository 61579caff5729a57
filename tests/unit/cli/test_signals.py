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

LIMIT = 300
"""seconds of a process"""


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


@pytest.mark.slow
def test_killed_and_stopped_by_signals_a_run_resumes_with_the_same_result(tmp_path: Path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    resume = [*COMMAND, "resume", str(stopped)]
    subprocess.run(_train(whole), check=True, capture_output=True, env=ENVIRONMENT, timeout=LIMIT)

    process = subprocess.Popen(_train(stopped), stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    _wait_for_steps(stopped, 5)
    process.kill()
    process.wait(LIMIT)
    assert not (stopped / "checkpoints").exists()  # so it starts over

    for number, code, lines in ((signal.SIGINT, 130, 12), (signal.SIGTERM, 143, 30)):
        process = subprocess.Popen(resume, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
        _wait_for_steps(stopped, lines)
        process.send_signal(number)
        _, output = process.communicate(timeout=LIMIT)
        assert process.returncode == code
        assert "Traceback" not in output
        assert f"which is saved; continue with: clearformer resume {stopped}" in output
        assert len(list((stopped / "checkpoints").iterdir())) >= 1

    subprocess.run(resume, check=True, capture_output=True, env=ENVIRONMENT, timeout=LIMIT)
    assert (stopped / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert _weights(stopped) == _weights(whole)
