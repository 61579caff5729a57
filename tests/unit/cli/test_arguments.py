"""Help texts, and invalid arguments: one message on standard error and exit code 2, never a traceback."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clearformer.cli.arguments import _error_message
from clearformer.cli.main import COMMANDS, main
from clearformer.recipes import MEASURED, RECIPES


def test_every_command_of_the_usage_has_help(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    usage = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in usage
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        assert f"usage: clearformer {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["trian"], "a command was expected (demo, guide, recipes, train, grok, resume, evaluate, generate, translate, "
                    "fill, classify, compare, draw, explore, export, import, check, data), "
                    "found 'trian'; did you mean 'train'"),
        (["train"], "a recipe (dates, reverse, copy, pydocs, "),
        (["train"], ", ag_news) or --data FILE was expected, found neither; name one after `train`"),
        (["train", "--train.steps", "3"], " or --data FILE was expected, found neither"),
        (["train", "--data", "--train.steps", "3"], " or --data FILE was expected, found neither"),
        (["train", "."], ", ag_news) or a .toml or .json file was expected, found '.'; did you mean '--data .'"),
        (["train", "--data", "nowhere.tsv"], "a file was expected at nowhere.tsv, but there is none"),
        (["train", "--data=nowhere.txt"], "a file was expected at nowhere.txt, but there is none"),
        (["train", "--data", "nowhere.de", "nowhere.en"], "a file was expected at nowhere.de, but there is none"),
        (["train", "--data", "."], "a file was expected at ., found a folder; name a file in it"),
        (["train", "dats"], "found 'dats'; did you mean 'dates'"),
        (["train", "nowhere.toml"], "a configuration in JSON or TOML was expected in nowhere.toml, but"),
        (["train", "dates", "--train.stpes", "3"], "the flag --train.stpes is unknown (did you mean --train.steps?); "
                                                   "see clearformer train dates --help"),
        (["train", "dates", "--steps", "3"], "the flag --steps is unknown (did you mean --train.steps?); see "),
        (["train", "dates", "--model.num_head=2"], "--model.num_head is unknown (did you mean --model.num-heads?); "),
        (["train", "dates", "--train.batch_tokens", "many"], "--train.batch-tokens: invalid literal for int()"),
        (["train", "dates", "--no-bias"], "the flag --no-bias is unknown (did you mean --model.no-bias?); see "),
        (["train", "dates", "--lr", "3"], "the flag --lr is unknown; see clearformer train dates --help"),
        (["generate", "run", "--temprature", "1"], "--temprature is unknown (did you mean --temperature?); see clearf"),
        (["generate", "run", "--engine", "x"], "'--engine'. Expected one of ("),
        (["translate", "--bema", "3"], "the flag --bema is unknown (did you mean --beam?); see clearformer translate "),
        (["evaluate", "run", "--splti=test"], "the flag --splti is unknown (did you mean --split?); see clearformer e"),
        (["check", "model.py", "--knid", "gpt"], "the flag --knid is unknown (did you mean --kind?); see clearformer "),
        (["recipes", "--jsno"], "the flag --jsno is unknown (did you mean --json?); see clearformer recipes --help"),
        (["demo", "-o", "runs"], "the flag -o is unknown; see clearformer demo --help"),
        (["train", "dates", "--train.steps", "many"], "--train.steps: invalid literal for int() with base 10: 'many'"),
        (["train", "dates", "--train.steps", "0"], "clearformer: --train.steps must be at least 1, found 0"),
        (["train", "dates", "--model.num-heads", "5"], "--model.num-heads must be a divisor of d_model (64), found 5"),
        (["train", "dates", "--train.schedule.warmup-steps", "-1"], "--train.schedule.warmup-steps must be at least 0"),
        (["train", "pydocs", "--reverse-pairs"], "--reverse-pairs must be false, since a gpt reads no pairs, found T"),
        (["train", "dates", "--model.norm", "batch"], "Expected one of ('layer', 'rms', 'none')"),
        (["train", "dates", "--data", "nowhere.tsv"], "a file was expected at nowhere.tsv, but there is none"),
        (["train", "dates", "--data", "a", "b", "c"], "--data takes one file, or a source and a target, found 3 paths"),
        (["train", "dates", "--train.device", "tpu"], "Expected one of ('auto', 'cpu', 'cuda', 'mps')"),
        (["resume"], "Missing"),
        (["resume", "nowhere"], "a run was expected in nowhere, but there is no config.json"),
        (["evaluate", "nowhere", "--split", "dev"], "Expected one of ('auto', 'train', 'validation', 'test')"),
        (["generate", "nowhere", "--temperature", "-1"], "--temperature must be 0 (greedy) or more, found -1.0"),
        (["generate", "nowhere", "--top-p", "0"], "--top-p must be above 0 and at most 1, found 0.0"),
        (["data", "get", "imagenet"], "one of tinyshakespeare, multi30k, polarity, ag_news was expected"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_message_and_exit_code_2(
    typed: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert main(typed) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("clearformer: ")
    assert words in output.err
    assert output.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_a_mistake_in_a_file_is_named_as_the_file_names_it(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text('dataset = "dates"\n[model]\nkind = "transformer"\n[train]\nbatch_tokens = 0\n', encoding="utf-8")
    assert main(["train", str(file)]) == 2
    output = capsys.readouterr().err
    assert output == "clearformer: train.batch_tokens must be at least 1, found 0; change that value\n"


def help_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str], str]:
    """The flags of the first group, those of the second, and the whole text."""
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--help"])
    text = capsys.readouterr().out
    first, rest = text.split("\nother options:\n")
    return *(re.findall("^  (--[a-z0-9.-]+)", group, re.MULTILINE) for group in (first, rest)), text


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_help_of_a_recipe_shows_common_flags_first_and_then_all_others(
    recipe: str, capsys: pytest.CaptureFixture[str]
):
    first, rest, _ = help_of(["train", recipe], capsys)
    peak = ["--train.schedule.peak"] if recipe != "paper-base" else []  # its rate follows from the model's width
    assert first == [
        "--data", "--out", "--log", "--engine", "--train.steps", "--train.batch-tokens", "--train.seed", *peak,
        "--train.patience", "--train.samples", "--train.precision", "--train.device", "--model.d-model",
        "--model.num-layers", "--model.num-heads", "--model.context", "--model.dropout", "--model.vocab-size",
    ]  # fmt: skip
    config = RECIPES[recipe]()
    fields = [
        *dataclasses.fields(config), *dataclasses.fields(config.model), *dataclasses.fields(config.train),
        *dataclasses.fields(config.train.schedule), *(dataclasses.fields(config.modular) if config.modular else []),
    ]  # fmt: skip
    # --out and --log are no fields of Config; model, train, schedule and modular stand for their fields, if any
    assert len(set(first + rest)) == len(first + rest) == len(fields) + 2 - 4


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_the_help_of_a_recipe_describes_every_flag_and_its_default(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    *_, text = help_of(["train", "dates"], capsys)
    assert max(map(len, text.splitlines())) <= columns
    words = " ".join(text.split())
    assert "--train.steps INT updates of the weights (default: 1200) --train.batch-tokens INT tokens in " in words
    assert "--out PATH the run's folder; by default runs/RECIPE, or runs/RECIPE-2 and so on if that is in use" in words
    assert not re.search(r"INT --|FLOAT --|\} --|INT \(|FLOAT \(|\} \(|default: \)|default: None", words)


def test_help_for_own_files_has_their_defaults(text_file: Path, capsys: pytest.CaptureFixture[str]):
    first, _, text = help_of(["train", "--data", str(text_file)], capsys)
    assert text.startswith("usage: clearformer train [--FLAG VALUE ...]\n\nTrain a gpt.\n")
    assert first[:2] == ["--data", "--out"]
    assert "--dataset STR" in text
    assert "(default: text.txt)" in " ".join(text.split())


def test_help_and_mistakes_do_not_import_torch():
    code = (
        "import sys; from clearformer.cli.main import main; main(['recipes']); main(['train', 'dats'])\n"
        "try: main(['train', 'dates', '--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_every_recipe_has_its_figures_then_its_description_and_result(
    capsys: pytest.CaptureFixture[str],
):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["recipe", "family", "params", "data", "steps", "time"]
    # table 3 of the paper: 65 million
    assert "paper-base               transformer  63.08 M  multi30k         100,000" in lines
    assert "multi30k-english-german  transformer   5.22 M  multi30k           1,600  85 min*" in lines
    for name, make in RECIPES.items():
        row = next(index for index, line in enumerate(lines) if line.startswith(f"{name} "))
        assert lines[row + 1] == f"  {(make.__doc__ or '').splitlines()[0]}"
        if name in MEASURED:
            assert lines[row + 2] == f"  Reached: {MEASURED[name].quality}."


@pytest.mark.parametrize("columns", [80, 120])
def test_the_list_of_recipes_is_wrapped_on_a_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert main(["recipes"]) == 0
    piped = capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["recipes"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= columns
    assert shown.split() == piped.split()


def test_the_configuration_of_every_recipe_can_be_read_back(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert main(["recipes", "--json"]) == 0
    whole = json.loads(capsys.readouterr().out)
    assert list(whole) == list(RECIPES)
    for name, make in RECIPES.items():
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(whole[name]))
        assert type(make()).load(path) == make()


def test_data_list_names_every_corpus_and_where_it_comes_from(capsys: pytest.CaptureFixture[str]):
    assert main(["data"]) == 0
    listed = capsys.readouterr().out
    for name in ("dates", "reverse", "copy", "pydocs", "tinyshakespeare", "multi30k", "polarity", "ag_news"):
        assert f"{name} " in listed


def test_a_message_is_found_behind_the_traceback_of_an_interrupted_finalizer():
    noise = "Exception ignored in: <function remove>\nTraceback (most recent call last):\n  File 'weakref.py'\n"
    box = "╭─ Value error ─╮\n│ Error parsing --x: not a number │\n│ ───────────── │\n│ help │\n╰──────╯\n"
    assert _error_message(noise + box) == _error_message(box) == "Error parsing --x: not a number"
