"""Samples at each validation: what they hold, and that training does not notice them."""

import dataclasses
import itertools
import json
import re
from pathlib import Path

import pytest

import clearformer
from clearformer.api.samples import printed
from clearformer.api.training import train_to_end
from clearformer.cli.main import main
from clearformer.config import ModularConfig
from clearformer.inspection.examples import examples
from clearformer.inspection.samples import learned
from clearformer.runs import samples
from clearformer.runs.folder import create_folder, open_folder
from clearformer.runs.session import load_model, train_run, untrained_model

Captured = pytest.CaptureFixture[str]
MARK = "<mask>"


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]


def test_training_is_the_same_to_the_bit_with_samples_and_with_an_interruption(text_run: Path, tmp_path: Path):
    plain = clearformer.open_run(text_run).config
    train = dataclasses.replace(plain.train, validate_every=3, steps=7)
    configs = {"none": train, "whole": dataclasses.replace(train, samples=2)}
    # with dropout, so that a disturbed stream of random numbers would show
    model = dataclasses.replace(plain.model, dropout=0.1)
    config = {name: dataclasses.replace(plain, model=model, train=each) for name, each in configs.items()}
    runs = {
        name: create_folder(tmp_path / name, config["none" if name == "none" else "whole"], lambda _: None)
        for name in ("none", "whole", "parts")
    }
    for name in ("none", "whole"):
        assert train_to_end(runs[name]) == 0
    session = train_run(runs["parts"])
    assert next(session).record.step == 1
    session.close()
    assert train_to_end(runs["parts"]) == 0
    for file in ("metrics.jsonl", "checkpoints/step-000007/model.safetensors"):
        contents = {(run.folder / file).read_bytes() for run in runs.values()}
        assert len(contents) == 1, file
    assert not runs["none"].samples.exists()
    assert runs["whole"].samples.read_bytes() == runs["parts"].samples.read_bytes()
    lines = read(runs["whole"].folder)
    assert [line["step"] for line in lines] == [3, 6, 7]
    assert len({tuple(sample["prompt"] for sample in line["samples"]) for line in lines}) == 1  # always the same
    assert lines[-1]["samples"] == examples(runs["whole"], load_model(runs["whole"])[0], 2)  # and of the model as it is


@pytest.mark.parametrize(
    ("fixture", "names"),
    [
        ("text_run", ["prompt", "continuation"]),
        ("pairs_run", ["source", "reference", "hypothesis"]),
        ("masked_run", ["text", "reference", "filled"]),
        ("labelled_run", ["text", "label", "prediction"]),
    ],
)
def test_each_family_answers_examples_of_its_kind(fixture: str, names: list[str], request: pytest.FixtureRequest):
    run = clearformer.open_run(request.getfixturevalue(fixture))
    found = examples(run, run.model, 2)
    assert [list(sample) for sample in found] == [names, names]
    for sample in found:
        match fixture:
            case "text_run":
                assert sample["prompt"] in run.corpus.validation
            case "pairs_run":
                assert (sample["source"], sample["reference"]) in run.corpus.validation
                assert sample["hypothesis"] == run.translate(sample["source"], beam=1)
            case "masked_run":
                assert sample["reference"] in run.corpus.validation
                around = [re.escape(part) for part in sample["text"].split(MARK)]
                assert len(around) > 1
                assert re.fullmatch(".*".join(around), sample["filled"], re.DOTALL)  # the rest is as it was
            case "labelled_run":
                assert ((sample["text"],), sample["label"]) in run.corpus.validation
                assert sample["prediction"].startswith(run.classify(sample["text"]) + ", ")


def test_equations_are_asked_with_the_true_result_beside_the_answer(tmp_path: Path):
    base = clearformer.RECIPES["grok-quick"]()
    model = dataclasses.replace(base.model, d_model=8, num_heads=2, d_ff=8)
    config = dataclasses.replace(base, model=model, modular=ModularConfig(7, "add", 0.5))
    run = create_folder(tmp_path / "run", config, lambda _: None)
    found = examples(run, untrained_model(run), 3)
    assert len({sample["equation"] for sample in found}) == 3
    for sample in found:
        a, b = map(int, re.findall(r"\d+", sample["equation"]))
        assert int(sample["reference"]) == (a + b) % 7
        assert list(sample) == ["equation", "reference", "answer"]
        assert sample["answer"]


def test_resuming_drops_the_samples_of_steps_that_are_trained_again(tmp_path: Path):
    path = tmp_path / "samples.jsonl"
    for step in (2, 4, 6):
        samples.append(path, step, [{"prompt": "a", "continuation": str(step)}])
    samples.truncate(path, 4)
    assert [line["step"] for line in samples.read(path)] == [2, 4]
    path.write_text('{"step": 2, "samples": [3]}\n', encoding="utf-8")
    with pytest.raises(clearformer.ClearformerError, match="an object with step and samples, texts by their names, wa"):
        samples.read(path)


def test_a_sample_is_printed_in_a_line_a_part():
    shown = printed(1000, [{"prompt": "To be", "continuation": " or\nnot"}, {"prompt": "b", "continuation": "c"}])
    assert shown.splitlines() == [
        "at step 1,000",
        "  prompt        To be",
        "  continuation   or⏎not",
        "",
        "  prompt        b",
        "  continuation  c",
    ]


def test_the_report_shows_few_of_many_answers_the_first_and_the_last_among_them():
    lines = [{"step": 10 * n, "samples": [{"source": "<a>", "hypothesis": f"b{n}"}]} for n in range(1, 51)]
    page = learned(lines)
    assert page.count("&lt;a&gt;") == 1
    steps = [int(step) for step in re.findall(r"<dt>step (\d+)</dt>", page)]
    assert (len(steps), steps[0], steps[-1]) == (8, 10, 500)
    gaps = [after - before for before, after in itertools.pairwise(steps)]
    assert set(gaps) == {70}
    assert re.findall(r"<dd>(b\d+)</dd>", page) == [f"b{step // 10}" for step in steps]


def test_samples_are_printed_in_training_and_shown_in_the_report(pairs_file: Path, tmp_path: Path, capsys: Captured):
    folder = tmp_path / "run"
    typed = ["train", "dates", "--data", str(pairs_file), "--out", str(folder), "--train.device", "cpu"]
    small = ["--model.d-model", "8", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "8"]
    assert main([*typed, *small, "--model.context", "16", "--train.steps", "2", "--train.samples", "1"]) == 0
    (line,) = read(folder)
    (sample,) = line["samples"]
    said = capsys.readouterr().err
    assert f"at step 2\n  source      {sample['source']}\n  reference   {sample['reference']}\n" in said
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert "As it learned" in report
    assert "<dt>step 2</dt>" in report
    assert open_folder(folder, pytest.fail).config.train.samples == 1
