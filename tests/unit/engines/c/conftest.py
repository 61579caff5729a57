"""The scripts that fuzz C code, and what tests of one subject share, which is made importable."""

import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[4] / "benchmarks" / "robustness"
sys.path[:0] = [str(Path(__file__).parent), str(FOLDER)]

Fuzzer = Callable[[range], Any]


@pytest.fixture
def fuzzer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Fuzzer]:
    """`run_cases` of a fuzzer, by name; without a compiler that knows sanitizers the test is skipped."""
    monkeypatch.syspath_prepend(FOLDER)
    program = tmp_path / "program.c"
    program.write_text("int main(void) { return 0; }", encoding="utf-8")
    command = [*runpy.run_path(str(FOLDER / "fuzzing.py"))["COMMAND"], str(program), "-o", str(tmp_path / "program")]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no compiler with -fsanitize=address,undefined: {error}")
    return lambda name: runpy.run_path(str(FOLDER / f"{name}.py"))["run_cases"]
