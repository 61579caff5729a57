"""What README shows can be typed, and does what it says."""

import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clearformer.cli.main import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def run_line(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a line prints. The command runs in this process, as PyTorch takes seconds to load; all else in a shell."""
    command = re.fullmatch(r'(?:echo "(?P<input>.*)" \| )?clearformer (?P<arguments>.*)', line)
    if command is None:
        line = re.sub(r"^python\b", shlex.quote(sys.executable), line)
        done = subprocess.run(line, shell=True, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return done.stdout
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{command['input']}\n".encode())))
    code = main(shlex.split(command["arguments"], comments=True))
    said = capsys.readouterr()
    assert code == 0, f"{line}\n{said.err}"
    return said.out


@pytest.mark.slow
def test_every_command_of_readme_runs_in_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    lines = [line for block in _blocks("sh") for line in block.splitlines()]
    assert len(lines) >= 10
    shutil.copy(ROOT / "README.md", tmp_path)
    shutil.copy(ROOT / "transformer.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    printed = {}
    lines.remove("python transformer.py -v")  # test_transformer_file runs it and reads what it prints
    for line in lines:
        printed[line] = run_line(line, monkeypatch, capsys)
        assert printed[line] or re.search(r"train|resume|> ", line), f"{line} printed nothing"
    written = [text for line, text in printed.items() if line.startswith("clearformer generate")]
    assert len(written) == 2
    assert written[0] == written[1]  # with and without the cache
    assert written[0].startswith("This function returns")
    assert next(text for line, text in printed.items() if line.startswith('echo "transformer"')) == "remrofsnart\n"


@pytest.mark.slow
def test_the_python_of_readme_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    front, inside = _blocks("python")
    exec(compile(front, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Run('runs/dates'): transformer of ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", lines[3])
    assert 0.2 < float(lines[5]) < 0.6  # nats a token after 200 steps, of which guessing at random has 4.1
    assert (tmp_path / "attention.svg").read_text(encoding="utf-8").startswith("<svg")
    exec(compile(inside, "README.md", "exec"), {})
    assert capsys.readouterr().out == "torch.Size([1, 4, 5, 5])\n"


def test_every_file_that_readme_names_is_there():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.slow
def test_the_examples_of_docstrings_hold():
    done = subprocess.run(
        [sys.executable, "-m", "doctest", str(ROOT / "src" / "clearformer" / "__init__.py")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
