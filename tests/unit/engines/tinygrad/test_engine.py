"""The engine from the command line: train, resume, evaluate and generate; unsupported settings are refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

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

SETTINGS = [
    *("--model.d-model", "16", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "32"),
    *("--model.context", "16", "--train.batch-tokens", "256", "--train.steps", "3", "--train.checkpoint-every", "2"),
    *("--train.device", "cpu"),
]
# losses of a few nats, float32: 2e-6 measured after three steps, ten times that allowed
LOSS_TOLERANCE = 2e-5


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_command_gives_the_results_of_pytorch(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def output(*arguments: str) -> Any:
        capsys.readouterr()
        assert main(list(arguments)) == 0
        return json.loads(capsys.readouterr().out)

    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    reference, run = tmp_path / "torch", tmp_path / "tinygrad"
    for folder in (reference, run):
        arguments = ["train", "tinyshakespeare", "--data", str(text), "--engine", folder.name, "--out", str(folder)]
        assert main([*arguments, *SETTINGS]) == 0
    whole = losses(run)
    assert whole == pytest.approx(losses(reference), rel=LOSS_TOLERANCE)

    shutil.rmtree(run / "checkpoints" / "step-000003")
    assert main(["resume", str(run)]) == 0
    assert losses(run) == whole

    expected, found = (output("evaluate", str(folder), "--json") for folder in (reference, run))
    assert found.keys() == expected.keys()

    generate = ["generate", str(reference), "--prompt", "the qu", "--max-new-tokens", "30", "--json", "--engine"]
    assert output(*generate, "tinygrad") == output(*generate, "torch")


def test_the_device_is_named():
    assert open_engine("tinygrad").describe(Config("none", GPTConfig())) == f"tinygrad on {adapter.start()}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "bfloat16"}, r"float32, but --train\.precision is bfloat16; leave it at auto"),
        ({"device": "mps"}, r"but --train\.device is mps; leave it at auto, and choose another device with .* DEV"),
    ],
)
def test_unsupported_settings_are_refused_by_name(settings: dict[str, str], message: str):
    with pytest.raises(ConfigError, match=message):
        open_engine("tinygrad").describe(Config("none", GPTConfig(), train=TrainConfig(**settings)))
