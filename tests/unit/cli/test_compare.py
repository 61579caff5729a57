"""`clearformer compare`: a table, a picture, and one message for what cannot be compared."""

import json
import shutil
from pathlib import Path

import pytest

import clearformer
from clearformer.cli.main import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def other_run(text_run: Path, tmp_path: Path) -> Path:
    """The same run with another seed, and no step after the tenth."""
    folder = shutil.copytree(text_run, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["train"]["seed"] = 7
    del config["train"]["milestones"]  # as in a run of an earlier version
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:10]), encoding="utf-8")
    return folder


def test_two_runs_are_compared_in_a_table_and_a_picture(
    text_run: Path, other_run: Path, tmp_path: Path, capsys: Captured
):
    assert main(["compare", str(text_run), str(other_run), "--out", str(tmp_path / "x.svg")]) == 0
    said = capsys.readouterr()
    *table, path = said.out.splitlines()
    assert said.err == ""
    assert path == str(tmp_path / "x.svg")
    assert [line.split() for line in table if line.startswith("train.")] == [["train.seed", "1", "7"]]
    assert table == str(clearformer.compare(text_run, clearformer.open_run(other_run))).splitlines()
    picture = (tmp_path / "x.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert all(f">{name}<" in picture for name in ("text", "other"))


def test_programs_get_one_json_list(text_run: Path, other_run: Path, capsys: Captured):
    assert main(["compare", str(text_run), str(other_run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(run["run"], run["step"], run["settings"]) for run in found] == [
        ("text", 12, {"train.seed": 1}),
        ("other", 10, {"train.seed": 7}),
    ]
    assert ["last" in run for run in found] == [True, False]  # validated at the last step alone


def test_runs_of_the_same_name_are_told_apart_by_their_paths(text_run: Path, tmp_path: Path, capsys: Captured):
    shutil.copytree(text_run, tmp_path / "text")
    assert main(["compare", str(text_run), str(tmp_path / "text")]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == [str(text_run), str(tmp_path / "text")]


def test_losses_that_do_not_compare_are_said_to(text_run: Path, masked_run: Path, pairs_run: Path, capsys: Captured):
    assert main(["compare", str(text_run), str(pairs_run)]) == 0
    assert capsys.readouterr().err == "these runs have different data, so that their losses do not compare\n"
    assert main(["compare", str(text_run), str(masked_run)]) == 0  # the same text, in characters and in words
    assert capsys.readouterr().err.startswith("a token is not the same in these runs, so that their losses per token ")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ([], "the folder of at least one run was expected, found none; name the runs to compare"),
        (["nowhere"], "a run was expected in nowhere, but there is no config.json; create one with: clearformer train"),
        (["RUN", "--out", "x.gif"], "a picture that ends in .svg or .png was expected, found x.gif"),
        (["RUN", "--out", "nowhere/x.png"], "a file that can be written to was expected at nowhere/x.png, but: "),
        (["RUN", "--x", "seconds"], "Expected one of ('step', 'tokens'); see clearformer compare --help"),
    ],
)
def test_what_cannot_be_compared_is_refused(text_run: Path, typed: list[str], words: str, capsys: Captured):
    assert main(["compare", *(str(text_run) if word == "RUN" else word for word in typed)]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
    assert len(said.err.splitlines()) == 1


def test_a_run_that_has_made_no_step_is_refused(text_run: Path, tmp_path: Path, capsys: Captured):
    folder = shutil.copytree(text_run, tmp_path / "new")
    (folder / "metrics.jsonl").unlink()
    assert main(["compare", str(folder)]) == 2
    assert f"a run with metrics was expected, but {folder} has none" in capsys.readouterr().err
