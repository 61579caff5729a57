"""What engines do alike: the command gives PyTorch's results, training resumes, non-finite numbers stop it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearformer.cli.main import main
from clearformer.config import Config, EngineName, GPTConfig, TrainConfig
from clearformer.data.batches import TextWindows
from clearformer.engine import open_engine
from clearformer.engines.tinygrad.adapter import reason_to_skip
from clearformer.errors import TrainingError

MODEL = GPTConfig(vocab_size=11, context=8, d_model=16, num_heads=2, num_layers=2, d_ff=32, dropout=0.1)
TEXT = TextWindows(np.random.default_rng(1).integers(4, 11, 500), 8, 32, seed=1)
SETTINGS = [
    *("--model.d-model", "16", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "32"),
    *("--model.context", "16", "--train.batch-tokens", "256", "--train.steps", "3", "--train.checkpoint-every", "2"),
    *("--train.device", "cpu"),
]
# losses of a few nats, float32: 2e-6 measured after three steps, ten times that allowed
LOSS_TOLERANCE = 2e-5


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> EngineName:
    if request.param == "c":
        request.getfixturevalue("compiled")
    if request.param == "tinygrad" and (reason := reason_to_skip()):
        pytest.skip(reason)
    return request.param


@pytest.fixture(params=["adamw", "muon"])
def config(request: pytest.FixtureRequest) -> TrainConfig:
    return TrainConfig(steps=4, batch_tokens=32, accumulation=2, optimizer=request.param)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
@pytest.mark.parametrize(
    ("engine", "optimizer"), [("tinygrad", "adamw"), ("c", "adamw"), ("c", "muon")], indirect=["engine"]
)
def test_the_command_gives_the_results_of_pytorch(
    engine: EngineName, optimizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    def output(*arguments: str) -> Any:
        capsys.readouterr()
        assert main(list(arguments)) == 0
        return json.loads(capsys.readouterr().out)

    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    reference, run = tmp_path / "torch", tmp_path / engine
    for folder in (reference, run):
        arguments = ["train", "tinyshakespeare", "--data", str(text), "--engine", folder.name, "--out", str(folder)]
        assert main([*arguments, *SETTINGS, "--train.optimizer", optimizer]) == 0
    whole = losses(run)
    assert whole == pytest.approx(losses(reference), rel=LOSS_TOLERANCE)

    shutil.rmtree(run / "checkpoints" / "step-000003")
    assert main(["resume", str(run)]) == 0
    assert losses(run) == whole

    expected, found = (output("evaluate", str(folder), "--json") for folder in (reference, run))
    assert found.keys() == expected.keys()
    assert found["loss"] == pytest.approx(expected["loss"], rel=LOSS_TOLERANCE)

    generate = ["generate", str(reference), "--prompt", "the qu", "--max-new-tokens", "30", "--json", "--engine"]
    assert output(*generate, engine) == output(*generate, "torch")


class Trainee:
    """An engine's model and optimizer."""

    def __init__(self, name: EngineName, config: TrainConfig, seed: int) -> None:
        self.engine, self.config = open_engine(name), config
        train = replace(config, seed=seed)
        self.model: Any = self.engine.make_model(Config("none", MODEL, engine=name, train=train))
        self.optimizer = self.engine.make_optimizer(self.model, config)

    def losses(self, steps: int, start: int = 0) -> list[float]:
        config = replace(self.config, steps=steps)
        return [one.loss for one in self.engine.train(self.model, self.optimizer, TEXT, config, start)]

    def load(self, other: "Trainee") -> None:
        self.engine.load_weights(self.model, self.engine.weights_of(other.model))
        tensors = self.engine.optimizer_tensors(other.model, other.optimizer)
        self.engine.load_optimizer(self.model, self.optimizer, tensors, self.config)

    def state(self) -> dict[str, np.ndarray[Any, Any]]:
        engine = self.engine
        arrays = engine.weights_of(self.model) | engine.optimizer_tensors(self.model, self.optimizer)
        return {name: value.copy() for name, value in arrays.items()}


def assert_equal(found: dict[str, np.ndarray[Any, Any]], expected: dict[str, np.ndarray[Any, Any]]) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["numpy", "c"], indirect=True)
def test_training_that_stopped_goes_on_to_the_bit(engine: EngineName, config: TrainConfig):
    whole, first, second = (Trainee(engine, config, seed) for seed in (1, 1, 2))
    expected = whole.losses(4)
    found = first.losses(2)
    second.load(first)
    assert found + second.losses(4, start=2) == expected
    assert_equal(second.state(), whole.state())


@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize(
    ("engine", "where"), [("numpy", r".*'linear'.*"), ("c", "the loss")], indirect=["engine"], ids=["numpy", "c"]
)
def test_a_number_that_is_not_finite_changes_nothing_and_names_step_place_and_batch(
    engine: EngineName, where: str, config: TrainConfig, clip: float
):
    trainee = Trainee(engine, replace(config, clip=clip), 1)
    trainee.losses(2)
    trainee.engine.weights_of(trainee.model)["decoder.layers.0.feed_forward.linear1.weight"][3] = np.inf
    before = trainee.state()
    with pytest.raises(TrainingError, match=rf"at step 3, but {where} on batch 4 is not finite; lower the learning"):
        trainee.losses(4, start=2)
    assert_equal(trainee.state(), before)
