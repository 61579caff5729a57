"""The commands on tiny runs: what they print, write and return."""

import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import clearformer
from clearformer.cli.main import main
from clearformer.explorer.contents import contents


class Input(io.TextIOWrapper):
    """Standard input that holds `text`."""

    def __init__(self, text: bytes) -> None:
        super().__init__(io.BytesIO(text), encoding="utf-8")


def test_training_leaves_a_whole_run(text_run: Path, capsys: pytest.CaptureFixture[str]):
    names = {path.name for path in text_run.iterdir()}
    assert names == {"config.json", "tokenizer.json", "data.json", "metrics.jsonl", "checkpoints", "report.html"}
    steps = [json.loads(line)["step"] for line in (text_run / "metrics.jsonl").read_text().splitlines()]
    assert steps == [*range(1, 11), 12]  # the first ten always, then the last
    assert main(["resume", str(text_run)]) == 0
    assert "training is done already, at step 12" in capsys.readouterr().err


def test_a_run_in_use_is_not_overwritten(text_run: Path, text_file: Path, capsys: pytest.CaptureFixture[str]):
    before = (text_run / "config.json").read_bytes()
    assert main(["train", "pydocs", "--data", str(text_file), "--out", str(text_run)]) == 2
    assert f"continue with: clearformer resume {text_run}" in capsys.readouterr().err
    assert (text_run / "config.json").read_bytes() == before


def test_data_of_the_wrong_kind_is_refused(
    text_file: Path, pairs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["train", "dates", "--data", str(text_file), "--out", str(tmp_path / "a")]) == 2
    assert "a transformer learns from pairs, but text.txt holds text" in capsys.readouterr().err
    assert main(["train", "pydocs", "--data", str(pairs_file), "--out", str(tmp_path / "b")]) == 2
    assert "a gpt learns from text, but pairs.tsv holds pairs" in capsys.readouterr().err


@pytest.mark.slow
def test_a_configuration_file_is_a_recipe_and_folders_in_use_are_skipped(
    text_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/config", "runs/config-2"):
        assert main(["train", str(text_run / "config.json"), "--train.steps", "1"]) == 0
        assert (tmp_path / folder / "checkpoints" / "step-000001").is_dir()
    whole, short = (json.loads((folder / "config.json").read_text()) for folder in (text_run, tmp_path / folder))
    assert short == whole | {"train": whole["train"] | {"steps": 1}}


def test_an_impossible_training_leaves_no_folder(
    text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    train = ["train", "tinyshakespeare", "--data", str(text_file), "--out", str(tmp_path / "run")]
    assert main([*train, "--model.context", "1000"]) == 2
    assert "a text of more than 1000 tokens was expected" in capsys.readouterr().err
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main([*train, "--train.device", "cuda"]) == 2
    assert "the device 'cuda' is not available on this machine; use one of" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_evaluate_prints_one_json_object_with_the_untrained_model_beside(
    text_run: Path, pairs_run: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["evaluate", str(text_run), "--json"]) == 0
    text = json.loads(capsys.readouterr().out)
    assert text["split"] == "validation"  # own text has no test split
    assert main(["evaluate", str(pairs_run), "--json"]) == 0
    pairs = json.loads(capsys.readouterr().out)
    assert pairs["split"] == "test"
    for scores in (text, text["untrained"], pairs, pairs["untrained"]):
        assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]))
    assert text["loss"] < text["untrained"]["loss"]
    assert {"exact_match", "bleu"} <= pairs.keys() & pairs["untrained"].keys()


def test_evaluate_refuses_a_missing_split(text_run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", str(text_run), "--split", "test"]) == 2
    assert "text.txt has no test split; evaluate with --split validation" in capsys.readouterr().err


def test_generate_is_the_same_with_and_without_the_cache(text_run: Path, capsys: pytest.CaptureFixture[str]):
    prompts = ["--prompt", "the", "the quick brown fox jumps over the", "dog", "--max-new-tokens", "40", "--json"]
    assert main(["generate", str(text_run), *prompts]) == 0
    cached = json.loads(capsys.readouterr().out)
    assert main(["generate", str(text_run), *prompts, "--no-cache"]) == 0
    assert json.loads(capsys.readouterr().out) == cached
    assert [len(item["tokens"]) for item in cached] == [40, 40, 40]  # beyond the context of 16


def test_a_streamed_text_is_the_text(text_run: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["generate", str(text_run), "--prompt", "the fox", "--max-new-tokens", "30"]
    assert main(arguments) == 0
    streamed = capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    assert streamed == "the fox" + json.loads(capsys.readouterr().out)[0]["text"] + "\n"


@pytest.mark.parametrize("flags", [[], ["--no-cache"], ["--json"]])
def test_with_a_draft_generate_writes_the_same_and_reports_its_share(
    text_run: Path, flags: list[str], capsys: pytest.CaptureFixture[str]
):
    arguments = ["generate", str(text_run), "--prompt", "the fox", "--max-new-tokens", "30", "--temperature", "0"]
    assert main([*arguments, *flags]) == 0
    alone = capsys.readouterr()
    assert main([*arguments, *flags, "--draft", str(text_run)]) == 0
    drafted = capsys.readouterr()
    assert drafted.out == alone.out
    # a draft that is always right: from 7 to 12 to 17 tokens, beyond the context; then from 8 to 13 to 17, again, and 2
    assert drafted.err == (
        f"{alone.err}4.29 tokens per step of {text_run}, 7 steps; of 23 tokens that {text_run} drafted, 23 were "
        "accepted\n"
    )


def test_a_draft_of_another_kind_or_tokenizer_is_refused(
    text_run: Path, masked_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = tmp_path / "other"
    shutil.copytree(text_run, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]  # as many tokens, and others
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    size = len(vocabulary)
    for draft, message in (
        (
            masked_run,
            f"a run that writes text was expected, but {masked_run} fills in hidden tokens; use: clearformer ",
        ),
        (
            other,
            f"a draft with the tokenizer of {text_run}, of {size} tokens, was expected, but {other} has another, of "
            f"{size}; train the draft on the same data with the same --tokenizer and --model.vocab-size\n",
        ),
        (tmp_path / "nowhere", f"{tmp_path / 'nowhere'}"),
    ):
        assert main(["generate", str(text_run), "--prompt", "the", "--draft", str(draft)]) == 2
        assert message in capsys.readouterr().err
    assert main(["generate", str(text_run), "--prompt", "the", "--draft", str(text_run), "--draft-tokens", "0"]) == 2
    assert "--draft-tokens must be 1 or more, found 0; raise it" in capsys.readouterr().err
    assert main(["generate", str(text_run), "--prompt", "the", "--draft-tokens", "2"]) == 2
    assert "a draft was expected with --draft-tokens, found none" in capsys.readouterr().err


def test_generate_reads_one_prompt_per_line_from_standard_input(
    text_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stdin", Input(b"the\r\nfox\n"))
    assert main(["generate", str(text_run), "--max-new-tokens", "5", "--json"]) == 0
    assert [item["prompt"] for item in json.loads(capsys.readouterr().out)] == ["the", "fox"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", "the ☃"], "text in the run's vocabulary was expected, but it has no '☃'"),
        (["--prompt", ""], "a prompt of at least one token was expected, found an empty one"),
        (["--prompt", "the", "--no-slide"], "the context of 16 tokens is full after 14 of 200 new tokens"),
        (["--prompt", "the quick brown fox", "--no-slide"], "a prompt of at most 16 tokens was expected"),
    ],
)
def test_an_invalid_prompt_is_refused(
    text_run: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["generate", str(text_run), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_translate_prints_one_line_per_input_line(
    pairs_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stdin", Input("n 1003\n\nn 1☃04\nn 1007".encode()))
    assert main(["translate", str(pairs_run)]) == 0
    output = capsys.readouterr()
    lines = output.out.split("\n")
    assert len(lines) == 5  # four lines, and the end of the last
    assert lines[1] == ""
    assert "1 tokens of the input were not in the vocabulary" in output.err


@pytest.mark.parametrize("text", [b"n 1003\nn \xff\n", b"n 1003\n" + b"9" * 50 + b"\n"])
def test_translate_refuses_lines_it_cannot_read(
    pairs_run: Path, text: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stdin", Input(text))
    assert main(["translate", str(pairs_run)]) == 2
    output = capsys.readouterr().err
    assert "line 2 of standard input is not" in output or "a source of fewer than 16 tokens was expected" in output


def test_each_family_has_its_own_command(text_run: Path, pairs_run: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["translate", str(text_run)]) == 2
    assert f"{text_run} writes text; use: clearformer generate" in capsys.readouterr().err
    assert main(["generate", str(pairs_run), "--prompt", "n 1"]) == 2
    assert f"{pairs_run} translates; use: clearformer translate" in capsys.readouterr().err


def test_patience_stops_a_run_which_says_so_and_offers_its_best_weights(
    text_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "run"
    still = ["--train.schedule.peak", "1e-30", "--train.schedule.final", "0", "--train.validate-every", "1"]
    typed = ["train", "tinyshakespeare", "--data", str(text_file), "--out", str(folder), "--train.device", "cpu"]
    small = ["--model.d-model", "8", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "8"]
    assert (
        main([*typed, *small, *still, "--model.context", "16", "--train.batch-tokens", "64", "--train.patience", "2"])
        == 0
    )
    why = "step 3, since 2 validations in a row brought no new best loss\nthe best validation loss was that of step 1; "
    assert f"\nstopped at {why}--checkpoint best uses its weights\n" in capsys.readouterr().err
    assert main(["resume", str(folder)]) == 0
    assert f"training is done already, at {why}" in capsys.readouterr().err
    for flags, step in (([], 3), (["--checkpoint", "best"], 1)):
        assert main(["evaluate", str(folder), "--json", *flags]) == 0
        assert json.loads(capsys.readouterr().out)["step"] == step
    (weights,) = (folder / "best").glob("step-000001/model.safetensors")
    assert main(["export", str(folder), str(tmp_path / "c"), "--checkpoint", "best"]) == 0
    exported, best = load_file(tmp_path / "c" / "model.safetensors"), load_file(weights)
    assert all(np.array_equal(exported[name], best[name]) for name in best)
    assert contents(clearformer.open_run(folder, checkpoint="best")).about["checkpoints"][-1]["step"] == 1
