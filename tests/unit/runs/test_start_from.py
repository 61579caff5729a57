"""A run with `start_from` copies the tokenizer and body weights of another run, which it then no longer needs."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from clearformer.config import BERTConfig, ClassifierConfig, Config, CosineSchedule, GPTConfig, ModelConfig, TrainConfig
from clearformer.errors import CheckpointError, ConfigError, RunError
from clearformer.models.initial import initial_weights, parameter_shapes
from clearformer.runs.folder import RunFolder, create_folder, open_folder
from clearformer.runs.session import initial_tensors, load_model, train_run, untrained_model
from clearformer.runs.start import transferred_names
from clearformer.training.loss import mean_loss

# one forward pass in float32, in training and in evaluation mode
LOSS_TOLERANCE = 1e-6

Resume = Callable[..., list[str]]
Outcome = Callable[[Path], dict[str, bytes]]

SIZES = {"vocab_size": 60, "context": 16, "d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "dropout": 0.1}
MODELS: dict[str, ModelConfig] = {
    "bert": BERTConfig(**SIZES, segments=0),
    "gpt": GPTConfig(**SIZES, norm_order="pre"),
    "classifier": ClassifierConfig(**SIZES, pooling="mean"),
    "classifier on gpt": ClassifierConfig(**SIZES, norm_order="pre", body="gpt", pooling="last"),
}
BODY = {"bert": "classifier", "gpt": "classifier on gpt"}
SETTINGS = {"steps": 6, "batch_tokens": 200, "schedule": CosineSchedule(1e-2, 0.0, 2), "checkpoint_every": 3}
SETTINGS |= {"validate_every": 4, "validation_tokens": 100, "device": "cpu"}

Make = Callable[..., RunFolder]
Trained = Callable[[str], RunFolder]


def create(
    root: Path, family: str, name: str, start_from: str | Path = "", notices: list[str] | None = None, **model: object
) -> RunFolder:
    """A new run of that family in `root`, with its data beside it; `notices` collects its notices."""
    labelled = family.startswith("classifier")
    data = root / ("words.tsv" if labelled else "words.txt")
    words = [f"no. {number * number}" for number in range(300)]
    lines = [f"{word}\t{'even' if word[-1] in '02468' else 'odd'}" for word in words] if labelled else words
    data.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    model_config, train_config = dataclasses.replace(MODELS[family], **model), TrainConfig(**SETTINGS)
    config = Config("mine", model_config, data=(str(data),), start_from=str(start_from), train=train_config)
    return create_folder(root / name, config, (notices if notices is not None else []).append)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make("bert", "name")`: a new run of that family."""
    return partial(create, tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], RunFolder]:
    """`trained("bert")`: a finished run of that family; tests share it and must not change it."""

    @cache
    def train(family: str) -> RunFolder:
        run = create(tmp_path_factory.mktemp("runs"), family, "earlier")
        assert len(list(train_run(run))) == SETTINGS["steps"]
        return run

    return train


def weights(run: RunFolder) -> dict[str, np.ndarray]:
    return {name: weight.detach().numpy() for name, weight in load_model(run)[0].named_parameters()}


def first(run: RunFolder) -> dict[str, np.ndarray]:
    return dict(initial_tensors(run))


@pytest.mark.parametrize("family", ["bert", "gpt"])
def test_a_classifier_starts_with_the_body_and_the_tokenizer_of_a_language_model(
    make: Make, trained: Trained, monkeypatch: pytest.MonkeyPatch, family: str
):
    earlier, notices = trained(family), []
    learned = weights(earlier)
    monkeypatch.chdir(earlier.folder.parent)
    run = make(BODY[family], "run", "earlier", notices, vocab_size=999)
    assert run.config.start_from == str(earlier.folder)
    assert (run.folder / "tokenizer.json").read_bytes() == (earlier.folder / "tokenizer.json").read_bytes()
    assert run.config.model.vocab_size == earlier.config.model.vocab_size
    found, initial = first(run), initial_weights(run.config.model, run.config.train.seed)
    transferred = 0
    for name, weight in found.items():
        if name.startswith("body."):
            assert np.array_equal(weight, learned[name.removeprefix("body.")]), name
            transferred += weight.size
        else:
            assert name.startswith("class_projection")
            assert np.array_equal(weight, initial[name])
    count = sum(weight.size for weight in found.values())
    notice = f"{transferred:,} of {count:,} parameters are taken from {earlier.folder} at step 6; the others are random"
    assert notice in notices
    assert count - transferred == 8 * 2 + 2  # the class projection: a row of d_model and a bias for each of two classes


def test_within_a_family_the_output_layer_is_transferred_too(make: Make, trained: Trained):
    learned, found = weights(trained("bert")), first(make("bert", "run", trained("bert").folder))
    assert learned.keys() == found.keys()
    assert all(np.array_equal(learned[name], found[name]) for name in learned)


def test_a_class_projection_is_never_transferred():
    config = MODELS["classifier"]
    assert transferred_names(config, config).keys() == {
        name for name in parameter_shapes(config) if name.startswith("body.")
    }


def test_the_untrained_model_still_has_random_weights(make: Make, trained: Trained):
    run = make("classifier", "run", trained("bert").folder)
    initial = initial_weights(run.config.model, run.config.train.seed)
    for name, weight in untrained_model(run).named_parameters():
        assert np.array_equal(weight.detach().numpy(), initial[name])


def test_the_first_step_starts_from_the_transferred_weights(make: Make, trained: Trained):
    run = make("bert", "run", trained("bert").folder, dropout=0.0)
    model, _ = load_model(trained("bert"))
    expected = mean_loss(model, [run.batches("train").batch(0)])
    assert expected < math.log(run.tokenizer.vocab_size) - 0.1
    session = train_run(run)
    assert next(session).record.loss == pytest.approx(expected, rel=LOSS_TOLERANCE)
    session.close()


def test_killed_before_the_first_checkpoint_and_without_the_earlier_run_it_ends_the_same(
    make: Make, trained: Trained, resume: Resume, outcome: Outcome, tmp_path: Path
):
    earlier = shutil.copytree(trained("bert").folder, tmp_path / "earlier")
    whole, parts = (make("classifier", name, earlier) for name in ("whole", "parts"))
    resume(whole.folder)
    shutil.rmtree(earlier)
    resume(parts.folder, stop=2)
    shutil.rmtree(parts.checkpoints)  # as if it had been killed at step 2
    resume(parts.folder, stop=4)
    resume(parts.folder)
    assert outcome(parts.folder) == outcome(whole.folder)
    assert load_model(open_folder(parts.folder, pytest.fail))[1] == 6


def test_missing_initial_weights_are_an_error_until_there_is_a_checkpoint(make: Make, trained: Trained, resume: Resume):
    run, started = (make("classifier", name, trained("bert").folder) for name in ("run", "started"))
    resume(started.folder, stop=2)
    for each in (run, started):
        shutil.rmtree(each.start)
    with pytest.raises(CheckpointError, match=r"the initial weights were expected in .*start, found none; train"):
        resume(run.folder)
    resume(started.folder)
    assert load_model(started)[1] == 6


def test_initial_weights_left_by_an_interrupted_creation_are_not_used(make: Make, trained: Trained, resume: Resume):
    earlier = make("bert", "earlier")
    resume(earlier.folder, stop=3)
    half = make("classifier", "run", trained("bert").folder)
    (half.folder / "config.json").unlink()
    run = make("classifier", "run", earlier.folder)
    assert [path.name for path in run.start.iterdir()] == ["step-000003"]
    plain = make("bert", "half")
    (plain.folder / "config.json").unlink()
    shutil.copytree(run.start, plain.start)
    assert not make("bert", "half").start.exists()


@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        (
            "classifier",
            {"d_model": 16},
            r"but embedding\.weight is \(\d+, 8\) there and \(\d+, 16\) here; change --mod",
        ),
        ("classifier", {"context": 20}, r"but positions\.weight is \(16, 8\) there and \(20, 8\) here"),
        ("classifier", {"num_layers": 2}, r"but encoder\.layers\.1\.attention\..* is missing there and \(24, 8\) here"),
        ("classifier", {"segments": 2}, r"but segments\.weight is missing there and \(2, 8\) here"),
        ("classifier", {"bias": False}, r"but embedding_norm\.bias is \(8,\) there and missing here"),
        ("classifier", {"num_heads": 4}, r"but its num_heads is 2 and this one's 4; add --model\.num-heads 2"),
        ("classifier", {"activation": "relu"}, r"but its activation is gelu and this one's relu; add --model\.activ"),
        ("classifier on gpt", {}, r"with the body of a gpt was expected to start from, found one of a bert; start fro"),
    ],
    ids=str,
)
def test_a_model_that_does_not_match_is_refused_and_leaves_no_folder(
    make: Make, trained: Trained, tmp_path: Path, family: str, changes: dict[str, object], words: str
):
    with pytest.raises(ConfigError, match=words):
        make(family, "run", trained("bert").folder, **changes)
    assert not (tmp_path / "run").exists()


def test_a_missing_or_untrained_earlier_run_is_refused(make: Make, tmp_path: Path):
    with pytest.raises(RunError, match=r"a run was expected in .*nowhere, but there is no config\.json"):
        make("classifier", "run", tmp_path / "nowhere")
    earlier = make("bert", "earlier")
    words = r"a checkpoint to start from was expected in .*earlier, but none was saved yet; resume that run first"
    with pytest.raises(CheckpointError, match=words):
        make("classifier", "run", earlier.folder)
    assert not (tmp_path / "run").exists()


def test_a_classifier_has_the_classes_of_its_data(make: Make):
    run = make("classifier", "run", num_classes=7)
    assert run.config.model.num_classes == 2
    data = json.loads((run.folder / "data.json").read_text())
    assert (data["kind"], data["classes"]) == ("labels", ["even", "odd"])
    assert open_folder(run.folder, pytest.fail).classes == ["even", "odd"]
    (run.folder / "data.json").write_text("{}")
    with pytest.raises(RunError, match=r"a list of 2 class names was expected in .*data\.json, but: 'classes'"):
        _ = open_folder(run.folder, pytest.fail).classes


def test_texts_beyond_the_context_are_truncated_and_reported(make: Make):
    notices: list[str] = []
    run = make("classifier", "run", notices=notices, context=8)
    notices.clear()
    batches = run.batches("train")
    # BOS and EOS need room too: of a text of n characters n - 6 are cut
    lengths = [len(texts[0]) for texts, _ in run.corpus.train]
    long = [length - 6 for length in lengths if length > 6]
    assert notices == [
        f"{len(long)} of {len(lengths)} train examples are too long for the context of 8 tokens: "
        f"truncated by {sum(long)} tokens in all"
    ]
    assert max(batch.tokens.shape[1] for batch in batches.in_order()) == 8
    assert sum(len(batch.targets) for batch in batches.in_order()) == len(lengths)


def test_only_a_masked_language_model_has_a_mask_token(make: Make):
    assert make("bert", "bert").tokenizer.has_mask
    assert not make("gpt", "gpt").tokenizer.has_mask
