"""`clearformer translate` and `evaluate` with a beam: what they print of a tiny run."""

import io
import json
from pathlib import Path

import pytest

from clearformer.cli.main import main
from clearformer.generation.beam import Beam
from clearformer.generation.translation import n_best_texts, translate
from clearformer.runs.folder import open_folder
from clearformer.runs.session import load_model

LINES = ["n 1003", "", "n 1204", "1 n 7"]


@pytest.fixture
def printed(pairs_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """What a command prints, line by line, for the lines of standard input."""

    def run(command: str, *flags: str) -> list[str]:
        text = io.BytesIO("\n".join(LINES).encode())
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(text, encoding="utf-8"))
        assert main([command, str(pairs_run), *flags]) == 0
        return capsys.readouterr().out.split("\n")[:-1]

    return run


@pytest.fixture
def searched(pairs_run: Path):
    """The hypotheses of the nonempty lines."""

    def search(beam: Beam):
        run = open_folder(pairs_run, pytest.fail)
        return n_best_texts(load_model(run)[0], run.tokenizer, [line for line in LINES if line], beam)

    return search


def test_the_default_beam_is_four(printed, searched):
    four, three = searched(Beam(4, 0.6)), searched(Beam(3, 2.0))
    texts = [found[0].text for found in four]
    assert printed("translate") == [texts[0], "", *texts[1:]]
    texts = [found[0].text for found in three]
    assert printed("translate", "--beam", "3", "--length-penalty", "2") == [texts[0], "", *texts[1:]]


def test_a_beam_of_one_is_greedy(printed, pairs_run: Path):
    run = open_folder(pairs_run, pytest.fail)
    targets = translate(load_model(run)[0], [run.tokenizer.encode(line) for line in LINES if line])
    texts = [run.tokenizer.decode(target) for target in targets]
    assert printed("translate", "--beam", "1") == [texts[0], "", *texts[1:]]
    assert printed("translate", "--beam", "1", "--no-cache") == [texts[0], "", *texts[1:]]


def test_the_n_best_are_numbered_by_line_from_0(printed, searched):
    found = searched(Beam(4, 0.6, 2))
    expected = [f"0 ||| {one.text} ||| {one.score:.4f}" for one in found[0]]
    expected += ["1 |||  ||| 0.0000"]  # an empty line has one translation, which is certain
    expected += [f"{number} ||| {one.text} ||| {one.score:.4f}" for number in (2, 3) for one in found[number - 1]]
    assert printed("translate", "--n-best", "2") == expected
    assert len(expected) == 7


def test_json_is_one_object_per_line(printed, searched):
    found = searched(Beam(3, 1.0, 2))
    objects = [
        json.loads(line)
        for line in printed("translate", "--beam", "3", "--length-penalty", "1", "--n-best", "2", "--json")
    ]
    assert [result["source"] for result in objects] == LINES
    assert objects.pop(1) == {
        "source": "",
        "text": "",
        "hypotheses": [{"text": "", "log_probability": 0.0, "score": 0.0}],
    }
    for result, hypotheses in zip(objects, found, strict=True):
        assert result["text"] == result["hypotheses"][0]["text"] == hypotheses[0].text
        assert [one["text"] for one in result["hypotheses"]] == [one.text for one in hypotheses]
        numbers = [(one["log_probability"], one["score"]) for one in result["hypotheses"]]
        assert numbers == [pytest.approx((one.log_probability, one.score), abs=1e-4) for one in hypotheses]


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["translate", "nowhere", "--beam", "0"], "--beam must be 1 (greedy) or more, found 0"),
        (["translate", "nowhere", "--length-penalty", "-1"], "--length-penalty must be 0 (none) or more, found -1.0"),
        (["translate", "nowhere", "--n-best", "5"], "--n-best must be at least 1 and at most --beam (4), found 5"),
    ],
)
def test_an_invalid_beam_is_refused_with_one_message(typed: list[str], words: str, capsys: pytest.CaptureFixture[str]):
    assert main(typed) == 2
    assert words in capsys.readouterr().err


def test_evaluate_reports_its_beam(printed):
    greedy, wide = (json.loads(printed("evaluate", "--json", *flags)[0]) for flags in ([], ["--beam", "3"]))
    for scores, size in ((greedy, 1), (wide, 3)):
        for of_model in (scores, scores["untrained"]):
            assert (of_model["beam"], of_model["length_penalty"]) == (size, 0.6)
            assert of_model["bleu_lowercase"] == of_model["bleu"]  # there are no capitals
            assert "case:lc" in of_model["bleu_lowercase_signature"]
    assert greedy["loss"] == wide["loss"]
    lines = printed("evaluate", "--beam", "3", "--length-penalty", "1.5")
    assert any(line.startswith("bleu_lowercase ") for line in lines)
    assert any("Translated by a beam of 3, length penalty 1.5" in line for line in lines)
    assert any("Translated by greedy decoding" in line for line in printed("evaluate"))


def test_evaluate_scores_the_translations_of_the_beam(pairs_run: Path, printed):
    run = open_folder(pairs_run, pytest.fail)
    pairs = run.corpus.test
    found = n_best_texts(load_model(run)[0], run.tokenizer, [source for source, _ in pairs], Beam(4, 3.0))
    exact = sum(found[index][0].text == target for index, (_, target) in enumerate(pairs)) / len(pairs)
    scores = json.loads(printed("evaluate", "--beam", "4", "--length-penalty", "3", "--json")[0])
    assert scores["exact_match"] == exact
