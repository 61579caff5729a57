"""fill, classify and evaluate on tiny runs: what they print, and that output lines match input lines."""

import io
import json
from pathlib import Path

import pytest

from clearformer.cli.main import main
from clearformer.cli.tables import confusion_table


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch):
    """Set standard input to a text."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))


def output(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    assert main(list(arguments)) == 0
    return capsys.readouterr()


def test_fill_prints_the_text_with_its_masks_filled(masked_run: Path, capsys, typed):
    typed("the <mask> brown fox\r\nthe <mask> <mask>\n")
    out, _ = output(capsys, "fill", str(masked_run))
    first, second = out.splitlines()
    assert first.startswith("the ")
    assert first.endswith(" brown fox")
    assert "<mask>" not in out
    assert len(second.split()) == 3
    assert output(capsys, "fill", str(masked_run), "--prompt", "the <mask> brown fox", "the <mask> <mask>")[0] == out


def test_fill_lists_the_likeliest_tokens_of_each_mask(masked_run: Path, capsys):
    arguments = ["fill", str(masked_run), "--prompt", "the <mask> brown <mask>", "--top", "3"]
    (found,) = json.loads(output(capsys, *arguments, "--json")[0])
    assert found.keys() == {"prompt", "text", "masks", "unknown"}
    assert [len(candidates) for candidates in found["masks"]] == [3, 3]
    lines = output(capsys, *arguments)[0].splitlines()
    assert lines[0] == found["text"] == f"the{found['masks'][0][0]['token']} brown{found['masks'][1][0]['token']}"
    expected = [(number, candidate) for number, candidates in enumerate(found["masks"], 1) for candidate in candidates]
    for line, (number, candidate) in zip(lines[1:], expected, strict=True):
        assert line == f"  mask {number}  {candidate['probability']:>7.2%}  {candidate['token']!r}"


def test_fill_reports_unknown_tokens(masked_run: Path, capsys):
    _, err = output(capsys, "fill", str(masked_run), "--prompt", "the <mask> unicorn")
    assert err == "1 tokens of the input were not in the vocabulary and read as <unk>\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", "the fox"], "a text with a hole to fill was expected, found 'the fox'; type <mask> for the hole"),
        (["--prompt", "fox " * 20 + "<mask>"], "a text of at most 16 tokens was expected, the model's context, found"),
        (["--prompt", "<mask>", "--top", "0"], "--top must be 1 or more, found 0; raise it"),
    ],
)
def test_what_cannot_be_filled_is_refused(masked_run: Path, capsys, arguments: list[str], words: str):
    assert main(["fill", str(masked_run), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_classify_prints_one_line_per_input_line(labelled_run: Path, capsys, typed):
    typed("a good film\n\na poor film\r\n")
    out, err = output(capsys, "classify", str(labelled_run))
    lines = out.split("\n")
    assert (len(lines), lines[1], lines[3], err) == (4, "", "", "")
    for line in (lines[0], lines[2]):
        label, probability = line.split("\t")
        assert label in ("praise", "blame")
        assert 0.5 <= float(probability) <= 1.0


def test_classify_prints_all_classes_best_first_and_as_json(labelled_run: Path, capsys, typed):
    typed("a good film\n\n")
    first, second = output(capsys, "classify", str(labelled_run), "--json")[0].splitlines()
    found = json.loads(first)
    assert found["text"] == "a good film"
    assert json.loads(second) is None
    ranked = sorted(found["probabilities"].items(), key=lambda item: -item[1])
    assert found["label"] == ranked[0][0]
    assert sum(found["probabilities"].values()) == pytest.approx(1.0)
    out, _ = output(capsys, "classify", str(labelled_run), "--text", "a good film", "--top", "2")
    assert out == "\t".join(f"{label}\t{probability:.4f}" for label, probability in ranked) + "\n"


def test_a_tab_separates_texts_that_are_read_together(labelled_run: Path, capsys):
    texts = ["a good film", "a good\tfilm"]
    one, two = output(capsys, "classify", str(labelled_run), "--json", "--text", *texts)[0].splitlines()
    assert json.loads(one)["probabilities"] != json.loads(two)["probabilities"]


def test_classify_reports_truncation_and_unknown_tokens(labelled_run: Path, capsys, typed):
    typed("a" + " good" * 30 + "\na unicorn film\na\n")
    _, err = output(capsys, "classify", str(labelled_run))
    assert "1 of 3 lines are too long for the context of 12 tokens: truncated\n" in err
    assert "1 tokens of the input were not in the vocabulary and read as <unk>\n" in err


def test_evaluate_shows_masked_tokens_beside_the_untrained_model_and_the_unigram_baseline(masked_run: Path, capsys):
    scores = json.loads(output(capsys, "evaluate", str(masked_run), "--json")[0])
    for each in (scores, scores["untrained"], scores["unigram"]):
        assert each["loss"] > 0
        assert 0 <= each["accuracy"] <= 1
    assert scores["loss"] < scores["untrained"]["loss"]
    out, _ = output(capsys, "evaluate", str(masked_run))
    assert out.splitlines()[2].split() == ["trained", "untrained", "unigram"]
    assert out.splitlines()[4].split()[0] == "accuracy"


def test_evaluate_shows_classes_beside_the_majority_and_the_confusion(labelled_run: Path, capsys):
    scores = json.loads(output(capsys, "evaluate", str(labelled_run), "--json")[0])
    assert scores["classes"] == ["blame", "praise"]
    for each in (scores, scores["untrained"], scores["majority"]):
        confusion = each["confusion"]
        right, total = confusion[0][0] + confusion[1][1], sum(map(sum, confusion))
        assert each["accuracy"] == pytest.approx(right / total)
        assert 0 <= each["macro_f1"] <= 1
    columns = list(zip(*scores["majority"]["confusion"], strict=True))
    assert sorted(map(sum, columns))[0] == 0  # one class is never predicted
    out, _ = output(capsys, "evaluate", str(labelled_run))
    assert out.splitlines()[2].split() == ["trained", "untrained", "majority"]
    assert out.endswith(confusion_table(scores["confusion"], scores["classes"]) + "\n")


def test_a_confusion_table_is_aligned():
    assert confusion_table([[1, 12000], [3, 4]], ["a", "longer"]) == (
        "true \\ predicted  a  longer\n"
        "a                 1  12,000\n"
        "longer            3       4"
    )  # fmt: skip


def test_the_reports_show_predictions_beside_labels(masked_run: Path, labelled_run: Path):
    masked = (masked_run / "report.html").read_text(encoding="utf-8")
    assert "predicted wrongly, followed by the true token." in masked
    assert "&lt;mask&gt;" in masked
    labelled = (labelled_run / "report.html").read_text(encoding="utf-8")
    for words in ("validation accuracy", "macro-F1", "Confusion matrix", " film number "):
        assert words in labelled


def test_each_family_is_told_its_own_command(masked_run: Path, labelled_run: Path, capsys):
    for command, run, words in (
        ("generate", masked_run, f"but {masked_run} fills in hidden tokens; use: clearformer fill {masked_run}"),
        ("translate", labelled_run, f"but {labelled_run} classifies texts; use: clearformer classify {labelled_run}"),
        ("fill", labelled_run, f"a run that fills in hidden tokens was expected, but {labelled_run} classifies texts"),
        ("classify", masked_run, f"a run that classifies texts was expected, but {masked_run} fills in hidden tokens"),
    ):
        assert main([command, str(run)]) == 2
        assert words in capsys.readouterr().err
