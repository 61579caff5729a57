"""The engine by the command: trained, resumed, measured and continued; and what it does not do is refused by name."""

import json
import shutil
from pathlib import Path

import pytest

from clearformer.cli.main import main
from clearformer.config import Config, GPTConfig, TrainConfig
from clearformer.engine import open_engine
from clearformer.engines.tinygrad import adapter
from clearformer.errors import ConfigError

pytestmark = [
    pytest.mark.slow,  # each shape is compiled
    pytest.mark.skipif(bool(reason := adapter.reason_to_skip()), reason=reason),
]

SMALL = ["--model.d-model", "16", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "32"]
# losses of a few nats, float32: 2e-6 seen after three steps, allowed ten times that
LOSS_TOLERANCE = 2e-5


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow  # every shape of a batch is compiled
def test_the_command_trains_resumes_and_evaluates_as_with_pytorch(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"n {n}\t{n} n\n" for n in range(1000, 1400)), encoding="utf-8")
    settings = [*SMALL, "--train.batch-tokens", "256", "--train.steps", "3", "--train.checkpoint-every", "2"]
    for engine in ("torch", "tinygrad"):
        arguments = ["train", "dates", "--data", str(pairs), "--engine", engine, "--out", str(tmp_path / engine)]
        assert main([*arguments, "--model.context", "16", *settings, "--train.device", "cpu"]) == 0
    run = tmp_path / "tinygrad"
    whole = losses(run)
    assert whole == pytest.approx(losses(tmp_path / "torch"), rel=LOSS_TOLERANCE)
    shutil.rmtree(run / "checkpoints" / "step-000003")
    assert main(["resume", str(run)]) == 0
    assert losses(run) == whole
    said = []
    for engine in ("torch", "tinygrad"):
        capsys.readouterr()
        assert main(["evaluate", str(tmp_path / engine), "--json"]) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0].keys() == said[1].keys()


def test_a_run_of_pytorch_is_continued_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    arguments = ["train", "tinyshakespeare", "--data", str(text), "--out", str(tmp_path / "run"), *SMALL]
    settings = ["--model.context", "16", "--train.steps", "12", "--train.batch-tokens", "256"]
    assert main([*arguments, *settings, "--train.device", "cpu"]) == 0
    capsys.readouterr()
    said = []
    for engine in ("torch", "tinygrad"):
        options = ["--prompt", "the qu", "--max-new-tokens", "30", "--engine", engine, "--json"]
        assert main(["generate", str(tmp_path / "run"), *options]) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert said[0] == said[1]


def test_the_device_is_named():
    assert open_engine("tinygrad").describe(Config("none", GPTConfig())) == f"tinygrad on {adapter.start()}"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"precision": "bfloat16"}, r"float32, but --train\.precision is bfloat16; leave it at auto"),
        ({"device": "mps"}, r"but --train\.device is mps; leave it at auto, and choose another device with .* DEV"),
    ],
)
def test_what_it_does_not_do_is_refused_by_name(settings: dict[str, str], said: str):
    with pytest.raises(ConfigError, match=said):
        open_engine("tinygrad").describe(Config("none", GPTConfig(), train=TrainConfig(**settings)))
