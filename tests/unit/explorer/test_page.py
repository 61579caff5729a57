"""The file holds everything, nothing in it can become markup, and its policy names its one script."""

import base64
import hashlib
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from clearformer.cli.main import main
from clearformer.config import Config, GPTConfig, TrainConfig
from clearformer.data.tokenizers import train_tokenizer
from clearformer.errors import RunError
from clearformer.explorer.contents import Contents, contents, size
from clearformer.explorer.page import page
from clearformer.models.initial import initial_weights
from clearformer.runs.checkpoint import Checkpoint, save_checkpoint
from clearformer.runs.folder import RunFolder, open_folder

EVIL = "</script><script>alert(1)</script><!--"
STEPS = range(10, 60, 10)


class Elements(HTMLParser):
    """The attributes and the text of each element, by the name of its tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_endtag(self, _tag: str) -> None:
        self.found.append(("", {}, ""))

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, attributes, text = self.found[-1]
            self.found[-1] = (tag, attributes, text + data)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with five checkpoints."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer("character", ["abc</script>"], 50)
    model = GPTConfig(vocab_size=tokenizer.vocab_size, context=8, d_model=8, num_heads=2, num_layers=1, d_ff=8)
    config = Config(dataset="dates", data=("/home/somebody/secret.txt",), model=model, train=TrainConfig())
    tokenizer.save(folder / "tokenizer.json")
    (folder / "config.json").write_text(config.to_json(), encoding="utf-8")
    for step in STEPS:
        weights = initial_weights(model, step)
        save_checkpoint(folder / "checkpoints", Checkpoint(step, {"model": weights, "optimizer": {}}), keep=9)
    return open_folder(folder, lambda _: None)


def test_the_policy_allows_the_page_its_own_script_and_style_alone():
    found = Elements(page([])).found
    policy = next(attributes["content"] for _, attributes, _ in found if "http-equiv" in attributes)
    for tag, kind in (("script", "module"), ("style", None)):
        text = next(text for name, attributes, text in found if name == tag and attributes.get("type") == kind)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in str(policy)
    rules = dict(rule.split(" ", 1) for rule in str(policy).split("; "))
    assert rules["default-src"] == rules["connect-src"] == "'none'"
    assert not {"'unsafe-inline'", "'unsafe-eval'", "https:", "*"} & set(str(policy).split())


def test_no_name_token_or_text_ends_its_element():
    hostile = Contents({"name": EVIL, "classes": [EVIL], "tokenizer": EVIL, "metrics": []}, {"trained": b"\x00"})
    ordinary = Contents({"name": "", "classes": [""], "tokenizer": "", "metrics": []}, {"trained": b"\x00"})
    tags = [[tag for tag, _, _ in Elements(page([each])).found] for each in (hostile, ordinary)]
    assert tags[0] == tags[1]
    runs = next(text for _, attributes, text in Elements(page([hostile])).found if attributes.get("id") == "runs")
    assert json.loads(runs)[0]["classes"] == [EVIL]


def test_a_page_names_no_path_of_the_machine(run: RunFolder):
    assert "somebody" not in page([contents(run)])


def test_checkpoints_are_evenly_chosen_from_the_untrained_model_to_the_trained_one(run: RunFolder):
    held = contents(run, checkpoints=3)
    assert [each["step"] for each in held.about["checkpoints"]] == [0, 20, 50]
    assert held.about["checkpoints"][-1] == {"step": 50, "weights": "trained"}
    assert held.weights.keys() == {"untrained", "step-000020", "trained"}
    assert contents(run).weights.keys() == {"trained"}
    weights = [value for content in held.weights.values() for value in safetensors.numpy.load(content).values()]
    assert size(run, 3, "single") == sum(value.nbytes for value in weights)
    assert size(run, 3, "half") == size(run, 3, "single") // 2


def test_half_precision_refuses_what_it_cannot_hold(run: RunFolder, tmp_path: Path):
    weights = {name: np.full_like(x, 70_000) for name, x in initial_weights(run.config.model, 1).items()}
    save_checkpoint(tmp_path / "checkpoints", Checkpoint(1, {"model": weights, "optimizer": {}}), keep=1)
    large = RunFolder(tmp_path, run.config, run.tokenizer, run.notify)
    with pytest.raises(RunError, match="weights of at most 65504 were expected for half precision, found 70000"):
        contents(large, precision="half")


def test_what_is_too_heavy_is_left_out_and_said(run: RunFolder, monkeypatch, capsys, tmp_path: Path):
    monkeypatch.setattr("clearformer.explorer.explore.MAX_WEIGHTS", size(run, 0, "half"))
    out = tmp_path / "x.html"
    assert main(["explore", str(run.folder), "--no-open", "--out", str(out)]) == 0
    assert "weights are 0 MB, more than the 0 MB" in capsys.readouterr().err
    assert 'id="weights-0-trained"' not in out.read_text(encoding="utf-8")
    assert main(["explore", str(run.folder), "--no-open", "--precision", "half"]) == 0
    assert 'id="weights-0-trained"' in (run.folder / "explore.html").read_text(encoding="utf-8")


def test_options_and_folders_that_cannot_be_are_refused(run: RunFolder, capsys: pytest.CaptureFixture[str]):
    for arguments, words in {
        (str(run.folder), "--checkpoints", "-1"): "--checkpoints must be 0 or more, found -1",
        (str(run.folder), "--out", "/nowhere/x.html"): "a file that can be written to was expected at /nowhere/x.html",
        ("/nowhere",): "a run was expected in /nowhere",
    }.items():
        assert main(["explore", *arguments, "--no-open"]) == 2
        assert words in capsys.readouterr().err
