"""A plan predicts what training does, and its trial steps change nothing."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clearformer.config import BERTConfig, ClassifierConfig, Config, GPTConfig, TrainConfig
from clearformer.data.batches import PairBuckets, TextWindows
from clearformer.data.labelled import LabelledBuckets
from clearformer.data.masked import MaskedWindows
from clearformer.engine import open_engine
from clearformer.models.build import build
from clearformer.runs import plan
from clearformer.runs.folder import RunFolder, create_folder
from clearformer.runs.plan import Plan, plan_run
from clearformer.runs.session import train_run
from clearformer.training.steps import Record

Make = Callable[..., RunFolder]
SIZES: dict[str, Any] = {
    "vocab_size": 60, "context": 16, "d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "dropout": 0.0,
}  # fmt: skip


@pytest.fixture
def make(tmp_path: Path, make_run: Make, config: Callable[..., Config]) -> Make:
    """`make_run` for all four families: `make("bert", steps=3)`."""

    def other(family: str, **train: object) -> RunFolder:
        if family in ("gpt", "transformer"):
            return make_run(family, **train)
        base = config("gpt", **train)
        if family == "bert":
            return create_folder(tmp_path / "run", dataclasses.replace(base, model=BERTConfig(**SIZES)), pytest.fail)
        data = tmp_path / "labels.csv"
        data.write_text("".join(f"{number * number},{'ab'[number % 2]}\n" for number in range(300)))
        changed = dataclasses.replace(base, model=ClassifierConfig(**SIZES), data=(str(data),))
        return create_folder(tmp_path / "run", changed, lambda _: None)

    return other


FAMILIES = {"gpt": TextWindows, "bert": MaskedWindows, "transformer": PairBuckets, "classifier": LabelledBuckets}


def with_steps(run: RunFolder, steps: int) -> RunFolder:
    train = dataclasses.replace(run.config.train, steps=steps)
    return RunFolder(run.folder, dataclasses.replace(run.config, train=train), run.tokenizer, run.notify)


@pytest.mark.slow
@pytest.mark.parametrize("whole_epochs", [False, True])
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_tokens_and_epochs_are_those_of_the_training(
    make: Make, family: str, accumulation: int, whole_epochs: bool
):
    run = make(family, accumulation=accumulation, batch_tokens=200)
    batches = run.batches("train")
    assert isinstance(batches, FAMILIES[family])
    run = with_steps(run, batches.batches_per_epoch if whole_epochs else 2)
    found = plan_run(run)
    updates = list(train_run(run))
    assert found.parameters == sum(weight.numel() for weight in build(run.config.model, 1).parameters())
    assert found.tokens == sum(update.record.tokens for update in updates)
    assert found.epochs == (accumulation if whole_epochs else 2 * accumulation / batches.batches_per_epoch)


def test_many_batches_are_extrapolated_from_the_first(make_run: Make, monkeypatch: pytest.MonkeyPatch):
    run = make_run("transformer", batch_tokens=30, steps=40)
    sizes = [run.batches("train").batch(number).num_tokens for number in range(3)]
    assert len(set(sizes)) > 1
    monkeypatch.setattr(plan, "MAX_COUNTED_BATCHES", 3)
    assert plan_run(run).tokens == round(40 * sum(sizes) / 3)


@pytest.mark.parametrize("family", ["gpt", "transformer"])
def test_planning_does_not_change_the_training(
    make_run: Make, resume: Callable[..., list[str]], outcome: Callable[[Path], dict[str, bytes]], family: str
):
    plain, planned = make_run(family, "plain"), make_run(family, "planned")
    before = {path: path.read_bytes() for path in planned.folder.iterdir()}
    plan_run(planned)
    assert {path: path.read_bytes() for path in planned.folder.iterdir()} == before
    resume(plain.folder)
    list(train_run(planned))
    assert outcome(planned.folder) == outcome(plain.folder)


def test_notices_about_the_data_are_given_once(tmp_path: Path, config: Callable[..., Config]):
    known, notices = config("gpt"), list[str]()
    small = dataclasses.replace(known, model=dataclasses.replace(known.model, vocab_size=8))
    run = create_folder(tmp_path / "run", small, notices.append)
    plan_run(run)
    list(train_run(run))
    assert [line.split(" of the ")[1] for line in notices] == [
        f"{split} split are not in the vocabulary: <unk>" for split in ("train", "validation")
    ]


@pytest.mark.parametrize(("steps", "rate"), [(100, 200.0), (3, 400.0), (2, 20.0), (1, 10.0)])
def test_time_is_that_of_the_median_step_after_two_warmup_steps(
    make_run: Make, monkeypatch: pytest.MonkeyPatch, steps: int, rate: float
):
    rates: list[float] = []

    def train(_model: object, _optimizer: object, _batches: object, config: TrainConfig):
        assert config.accumulation == 1
        for step_rate in [10.0, 20.0, 400.0, 100.0, 200.0, 250.0, 150.0, 1.0, 1.0][: config.steps]:
            rates.append(step_rate)
            yield Record(1, 1.0, 1.0, 1e-3, 10, step_rate)

    monkeypatch.setattr(open_engine("torch"), "train", train)
    found = plan_run(make_run("gpt", steps=steps, accumulation=4))
    assert found.seconds == found.tokens / rate
    assert len(rates) == min(7, steps)


def test_a_slow_trial_ends_after_one_step(make_run: Make, monkeypatch: pytest.MonkeyPatch):
    def train(*_: object):
        yield Record(1, 1.0, 1.0, 1e-3, 10, 50.0)
        pytest.fail("another step was started")

    monkeypatch.setattr(open_engine("torch"), "train", train)
    monkeypatch.setattr(plan, "MAX_TRIAL_SECONDS", 0.0)
    found = plan_run(make_run("gpt"))
    assert found.seconds == found.tokens / 50


def test_memory_worked_by_hand(tmp_path: Path, config: Callable[..., Config]):
    # what each operation of a GPT saves for the backward pass, in values of 4 bytes per token
    B, T, D, F, H, L = 5, 16, 8, 24, 2, 3  # noqa: N806
    model = GPTConfig(**SIZES | {"d_ff": F, "num_layers": L})
    data = dataclasses.replace(config("gpt", batch_tokens=B * T), model=model)
    run = create_folder(tmp_path / "run", data, pytest.fail)
    V = run.config.model.vocab_size  # noqa: N806
    norm = D + D + 2  # input, output; mean and standard deviation
    attention = 3 * D + D + H  # queries, keys and values; output; the log-sum-exp of each softmax
    feed_forward = F + F  # before the activation and after it
    layers = L * (norm + attention + norm + feed_forward)
    saved = 4 * B * T * (layers + norm + V)  # the last norm, and the loss's log-softmax
    saved += 8 * (B * T + T + B * T) + 4  # tokens, positions and targets; and the number of predicted tokens
    parameters = V * D + T * D + L * (3 * D * D + D * D + 2 * D * F + 4 * D + F + D + 4 * D) + 2 * D
    found = plan_run(run)
    assert found.parameters == parameters
    assert found.memory == 16 * parameters + saved * 4 // 3 + 3 * 4 * B * T * V


def test_memory_is_that_of_the_largest_batch(make_run: Make, monkeypatch: pytest.MonkeyPatch):
    run = make_run("transformer", batch_tokens=30, steps=200)
    batches = run.batches("train")
    sizes = [batches.batch(number).num_tokens for number in range(batches.batches_per_epoch)]
    assert sizes[0] < max(sizes)
    monkeypatch.setattr(open_engine("torch"), "step_memory", lambda _model, batch, _config: batch.num_tokens)
    found = plan_run(run)
    assert found.memory == 16 * found.parameters + max(sizes)


def test_the_plan_in_words():
    text = str(Plan(1_234_567, 9_876_543, 2.345, 123_400_001, 59.2))
    assert text == (
        "1,234,567 parameters; 9,876,543 tokens, 2.3 times the training data; about 124 MB of memory beside Python's "
        "own, and 59 s"
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.3, "1 s"),
        (119.0, "119 s"),
        (120.0, "2 min"),
        (260.0, "4 min"),
        (3600.0, "60 min"),
        (7200.0, "2 h"),
        (1e6, "12 days"),
    ],
)
def test_long_times_have_larger_units(seconds: float, words: str):
    assert str(Plan(1, 1, 1.0, 1, seconds)).endswith(f"about 1 MB of memory beside Python's own, and {words}")
