"""Input that is too long or no text is refused with one message, or truncated and reported; never silently."""

import io
import json
from pathlib import Path

import pytest

from clearformer.cli.main import main

MILLION = 1_000_000
QUICK = [
    "--model.d-model", "8", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "8",
    "--train.steps", "1", "--train.batch-tokens", "64", "--train.device", "cpu", "--model.context", "16",
]  # fmt: skip
RUNS = {"generate": "text_run", "translate": "pairs_run", "fill": "masked_run", "classify": "labelled_run"}
FLAGS = {"generate": ["--max-new-tokens", "3"], "translate": ["--beam", "1"]}
LINE = {"generate": "the fox", "translate": "n 1003", "fill": "the <mask> brown", "classify": "a good film"}


@pytest.fixture
def typed(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """`typed("fill", b"...")`: the exit code of that command on its run, and its standard output and standard error."""

    def run(command: str, text: bytes, *flags: str) -> tuple[int, str, str]:
        folder = request.getfixturevalue(RUNS[command])
        capsys.readouterr()  # the output of training
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))
        code = main([command, str(folder), *FLAGS.get(command, []), *flags])
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("command", RUNS)
def test_invalid_utf8_is_refused_by_its_line(typed, command: str):
    code, out, err = typed(command, LINE[command].encode() + b"\n\xff\n")
    assert (code, out) == (2, "")
    assert err.startswith("clearformer: UTF-8 text was expected, but line 2 of standard input is not: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", RUNS)
def test_a_byte_order_mark_and_crlf_change_nothing(typed, command: str):
    plain = typed(command, f"{LINE[command]}\n{LINE[command]}\n".encode())
    assert plain[0] == 0
    assert plain[2] == ""
    assert typed(command, f"\ufeff{LINE[command]}\r\n{LINE[command]}\r\n".encode()) == plain


@pytest.mark.slow
@pytest.mark.parametrize("length", [100, MILLION])
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("translate", "a source of fewer than 16 tokens was expected, the model's context, found "),
        ("fill", "a text of at most 16 tokens was expected, the model's context, found "),
    ],
)
def test_a_line_that_must_not_be_truncated_is_refused(typed, command: str, words: str, length: int):
    code, out, err = typed(command, (LINE[command] + " 1" * (length // 2)).encode())
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("length", [100, MILLION])
def test_a_line_to_classify_is_truncated_and_reported(typed, length: int):
    code, out, err = typed("classify", ("a good film\na" + " good" * (length // 5)).encode())
    assert (code, out.count("\n")) == (0, 2)
    assert err == "1 of 2 lines are too long for the context of 12 tokens: truncated\n"


@pytest.mark.slow
@pytest.mark.parametrize("length", [17, MILLION])
def test_a_prompt_is_truncated_to_half_the_context_and_reported(typed, length: int):
    long, end = "fox " * (length // 4), "the fox "  # the context is of 16 characters, half of it 8
    code, out, err = typed("generate", f"fox\n{long}x{end}\n".encode(), "--json")
    assert code == 0
    assert err == "1 of 2 prompts are too long for the context of 16 tokens: truncated to their last half of it\n"
    _, short, silence = typed("generate", f"fox\n{end}\n".encode(), "--json")
    assert [item["text"] for item in json.loads(out)] == [item["text"] for item in json.loads(short)]
    assert silence == ""


def test_a_prompt_that_just_fits_is_read_whole(typed):
    assert typed("generate", b"the quick brown \n")[2] == ""


def train(recipe: str, data: Path, content: str, *flags: str) -> int:
    data.write_text(content, encoding="utf-8", newline="")
    return main(["train", recipe, "--data", str(data), "--out", str(data.parent / "run"), *QUICK, *flags])


@pytest.mark.slow
@pytest.mark.parametrize("length", [16, MILLION])
def test_pairs_beyond_the_context_are_left_out_and_reported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], length: int
):
    pairs = "".join(f"{number}\t{number}\n" for number in range(300)) + f"7\t{'8' * length}\n"
    assert train("dates", tmp_path / "a.tsv", pairs) == 0
    output = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    sizes = json.loads((tmp_path / "run" / "data.json").read_text())["sizes"]
    assert output == [f"1 of {sizes['train']} train pairs are too long for the context: left out"]


@pytest.mark.slow
@pytest.mark.parametrize("length", [16, MILLION // 2])
def test_labelled_texts_beyond_the_context_are_truncated_and_reported_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], length: int
):
    # each label has three texts, one per split; with BOS and EOS a text of 14 words fills the context
    texts = [("b " * 14, "x"), ("c d", "x"), ("e f", "x"), ("g h", "y"), ("i j", "y"), ("k l", "y")]
    rows = "".join(f"{text},{label}\n" for text, label in [*texts, ("a " * length, "z")])
    assert train("polarity", tmp_path / "a.csv", f"text,label\n{rows}") == 0
    output = [line for line in capsys.readouterr().err.splitlines() if "too long" in line]
    assert output == [
        f"1 of 3 train examples are too long for the context of 16 tokens: truncated by {length - 14:,} tokens in all"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["tinyshakespeare", "bert"])
def test_a_text_in_one_line_of_a_million_characters_is_learned_from(tmp_path: Path, recipe: str):
    assert train(recipe, tmp_path / "a.txt", "fox and hen " * (MILLION // 12 + 1), "--tokenizer", "word") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "name", "content"),
    [
        ("tinyshakespeare", "a.txt", "a fox and a hen\n" * 60),
        ("dates", "a.tsv", "".join(f"{number}\t{number}\n" for number in range(60))),
        ("polarity", "a.csv", "text,label\n" + "".join(f"no {number},{'xy'[number % 2]}\n" for number in range(60))),
    ],
)
def test_a_byte_order_mark_and_crlf_in_a_file_change_nothing(tmp_path: Path, recipe: str, name: str, content: str):
    for folder, text in (("plain", content), ("marked", "\ufeff" + content.replace("\n", "\r\n"))):
        (tmp_path / folder).mkdir()
        assert train(recipe, tmp_path / folder / name, text) == 0
    plain, marked = (
        json.loads((tmp_path / folder / "run" / "data.json").read_text()) for folder in ("plain", "marked")
    )
    assert plain == marked
