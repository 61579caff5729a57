"""`clearformer train --data FILE`: how the file is read, the plan and the run; and which files are refused."""

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from clearformer.cli.main import main

QUICK = [
    "--model.d-model", "16", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "32",
    "--train.steps", "2", "--train.batch-tokens", "256", "--train.device", "cpu",
]  # fmt: skip
TEXT = "the quick brown fox jumps over the lazy dog.\n" * 60
SOURCES = [f"n {number}\n" for number in range(300)]
TARGETS = [f"{number} n\n" for number in range(300)]
PAIRS = "".join(f"{source[:-1]}\t{target}" for source, target in zip(SOURCES, TARGETS, strict=True))
LABELS = "".join(f"film number {number},{'ab'[number % 2]}\n" for number in range(100))
PLAN = re.compile(
    r"plan: [\d,]+ parameters; [\d,]+ tokens, \d+\.\d times the training data; about \d+ MB of memory beside Python's "
    r"own, and \d+ s"
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def messages(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """The lines on standard error of a command that ends with `code`; nothing else is printed."""

    def run(*arguments: str, code: int = 0) -> list[str]:
        assert main(list(arguments)) == code
        out, err = capsys.readouterr()
        assert out == ""
        return err.splitlines()

    return run


def write(name: str, content: str | bytes) -> str:
    data = content if isinstance(content, bytes) else content.encode()
    Path(name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return name


DESCRIPTIONS = {
    "gpt": "text, to train a gpt",
    "transformer": "pairs of source and target, to train a transformer",
    "classifier": "texts with labels, to train a classifier",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "kind", "folder"),
    [
        ({"a.txt": TEXT}, "gpt", "a"),
        ({"a.txt.gz": TEXT}, "gpt", "a"),
        ({".notes": TEXT}, "gpt", "own"),
        ({"a.tsv": PAIRS}, "transformer", "a"),
        ({"b.de": "".join(SOURCES), "b.en.gz": "".join(TARGETS)}, "transformer", "b"),
        ({"c.csv": LABELS}, "classifier", "c"),
        ({"c.tsv": LABELS.replace(",", "\t")}, "classifier", "c"),
        ({"c.d.tsv.gz": LABELS.replace(",", "\t")}, "classifier", "c"),
    ],
)
def test_a_file_is_enough_to_train(messages, files: dict[str, str], kind: str, folder: str):
    lines = messages("train", "--data", *(write(name, content) for name, content in files.items()), *QUICK)
    assert lines[0] == f"{' and '.join(files)}: read as {DESCRIPTIONS[kind]}"
    assert PLAN.fullmatch(next(line for line in lines if line.startswith("plan:")))
    config = json.loads((Path("runs") / folder / "config.json").read_text())
    assert (config["model"]["kind"], config["train"]["steps"]) == (kind, 2)
    metrics = (Path("runs") / folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in metrics] == [1, 2]


@pytest.mark.slow
def test_the_plan_is_printed_before_training_and_no_notice_twice(messages):
    # ☃ is in the validation split alone
    lines = messages("train", f"--data={write('a.txt', TEXT + '☃' * 10)}", *QUICK)
    assert len(set(lines)) == len(lines)
    (plan,) = (index for index, line in enumerate(lines) if line.startswith("plan:"))
    (training,) = (index for index, line in enumerate(lines) if line.startswith("runs/a: a gpt of "))
    assert plan < training
    assert sum("of the validation split are not in the vocabulary" in line for line in lines) == 1


def test_data_may_be_given_with_an_equals_sign_and_flags_override_the_chosen_configuration(messages):
    data = f"--data={write('a.tsv', PAIRS)}"
    messages("train", "--out", "mine", data, *QUICK, "--tokenizer", "character", "--reverse-pairs")
    config = json.loads(Path("mine/config.json").read_text())
    assert config["tokenizer"] == "character"
    assert config["reverse_pairs"] is True
    assert json.loads(Path("mine/data.json").read_text())["name"] == "a.tsv, reversed"
    assert not Path("runs").exists()


def test_a_named_recipe_is_not_replaced_by_a_chosen_configuration(messages):
    lines = messages("train", "bert", "--data", write("a.txt", TEXT), *QUICK, "--model.context", "16")
    assert PLAN.fullmatch(lines[0])
    assert json.loads(Path("runs/bert/config.json").read_text())["model"]["kind"] == "bert"


LONG = "x" * 64


@pytest.mark.parametrize(
    ("files", "recipe", "words"),
    [
        ({"a.txt": ""}, "", "text was expected in a.txt, but the file is empty; choose another file"),
        ({"a.tsv": "\ufeff\r\n"}, "", "text was expected in a.tsv, but the file is empty"),
        ({"a.txt": "too short"}, "", "a.txt must have at least 100 characters to be split, found 9"),
        ({"a.txt": TEXT.encode() + b"\xff"}, "", "a.txt must be UTF-8 text, but the byte 0xff in line 61"),
        ({"a.txt": TEXT}, "dates", "a transformer learns from pairs, but a.txt holds text; choose a recipe for text"),
        ({"a.txt": TEXT}, "polarity", "a classifier learns from labels, but a.txt holds text"),
        ({"a.tsv": PAIRS}, "bert", "a bert learns from text, but a.tsv holds pairs"),
        ({"a.tsv": PAIRS + "alone\n"}, "", "line 301 of a.tsv must be a source, one tab and a target, but it has no"),
        ({"a.tsv": PAIRS + "alone\t\n"}, "dates", "301 of a.tsv must be a source, one tab and a target, but its t"),
        ({"a": "".join(SOURCES), "b": "n\n"}, "", "found 300 in a and 1 in b; align them line by line"),
        ({"a": "n\n\nn\n", "b": "n\nn\nn\n"}, "", "text was expected in line 2 of a, but the line is empty"),
        ({"a": "n\n", "b": "n\n", "c": "n\n"}, "", "a and 2 more must have at least 100 characters to be split, f"),
        ({"a.csv": "a b,x\nc d,x\ne f,x\ng h,x\n"}, "", "classes were expected in column 2 of a.csv, found 1"),
        ({"a.csv": "text,label\na b,x\nc d,x\n"}, "polarity", "found 1, 'x' alone (the first line was taken for a h"),
        ({"a.csv": TEXT}, "", "a column of texts and one of labels, whose values repeat, were expected in a.csv"),
        ({"a.tsv": f"{LONG}\t1\n1\t{LONG}\n2\t{LONG}\n"}, "dates", "pairs of fewer than 64 tokens were expected, "),
    ],
)  # fmt: skip
def test_an_unusable_file_gets_one_message_and_leaves_no_folder(
    messages, files: dict[str, str | bytes], recipe: str, words: str
):
    names = [write(name, content) for name, content in files.items()]
    lines = messages("train", *[recipe][: bool(recipe)], "--data", *names, "--out", "run", *QUICK, code=2)
    assert words in lines[-1]
    assert lines[-1].startswith("clearformer: ")
    assert len(lines) <= (1 if recipe else 2)  # before it, how the file was read
    assert sorted(path.name for path in Path().iterdir()) == sorted(names)
