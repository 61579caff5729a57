"""`clearformer draw`: in the terminal, and into files."""

from pathlib import Path

import pytest

import clearformer
from clearformer.cli.main import main
from clearformer.inspection.characters import lines


def test_all_heads_and_one_head_are_drawn_as_characters(text_run: Path, capsys: pytest.CaptureFixture[str]):
    heads = clearformer.open_run(text_run).inspect("the quick").heads()
    assert main(["draw", str(text_run), "the quick"]) == 0
    assert capsys.readouterr().out.splitlines() == list(lines(heads))
    assert main(["draw", str(text_run), "the quick", "--layer", "-1", "--head", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == list(lines(heads.select(0, 1)))


def test_a_translator_reads_its_own_translation_or_a_given_one(pairs_run: Path, capsys: pytest.CaptureFixture[str]):
    run = clearformer.open_run(pairs_run)
    for flags, reading, part in (
        ([], run.inspect("n 1001"), "cross"),
        (["--target", "1 n"], run.inspect("n 1001", "1 n"), "cross"),
        (["--target", "1 n", "--attention", "decoder"], run.inspect("n 1001", "1 n"), "decoder"),
    ):
        assert main(["draw", str(pairs_run), "n 1001", *flags]) == 0
        assert capsys.readouterr().out.splitlines() == list(lines(reading.heads(part)))


@pytest.mark.parametrize("flags", [[], ["--layer", "0", "--head", "1"]], ids=["all", "one"])
def test_pictures_are_written(masked_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]):
    for name, start in (("x.svg", b"<svg"), ("x.PNG", b"\x89PNG")):
        path = tmp_path / name
        assert main(["draw", str(masked_run), "the <mask> fox", "--out", str(path), *flags]) == 0
        assert capsys.readouterr().out == f"{path}\n"
        assert path.read_bytes().startswith(start)
    assert ("layer 0" in (tmp_path / "x.svg").read_text(encoding="utf-8")) == (not flags)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["the", "--layer", "1"], "layer must be from -1 to 0, found 1; there are 1"),
        (["the", "--head", "7"], "head must be from -2 to 1, found 7; there are 2"),
        (
            ["the", "--attention", "cross"],
            "a translator was expected for attention of its cross, found a model of one te",
        ),
        (["the", "--out", "x.gif"], "a picture that ends in .svg or .png was expected, found x.gif"),
        (["the", "--out", "nowhere/x.png"], "a file that can be written to was expected at nowhere/x.png, but: "),
        (["the " * 9], "a text of 1 to 16 tokens was expected, the model's context, found 36"),
        ([""], "a text of 1 to 16 tokens was expected, the model's context, found 0"),
        ([], "see clearformer draw --help"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    text_run: Path, typed: list[str], words: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["draw", str(text_run), *typed]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
