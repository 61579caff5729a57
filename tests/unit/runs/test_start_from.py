"""A run with `start_from` copies the tokenizer and body weights of another run, which it then no longer needs."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clearformer.config import BERTConfig, ClassifierConfig, Config, CosineSchedule, GPTConfig, ModelConfig, TrainConfig
from clearformer.errors import CheckpointError, ConfigError, RunError
from clearformer.models.initial import initial_weights, parameter_shapes
from clearformer.runs.folder import RunFolder, create_folder, open_folder
from clearformer.runs.session import initial_model, load_model, train_run, untrained_model
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


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make("bert", "name")`: a new run of that family; `notices` collects its notices."""

    def make(
        family: str, name: str, start_from: str = "", notices: list[str] | None = None, **model: object
    ) -> RunFolder:
        labelled = family.startswith("classifier")
        data = tmp_path / ("words.tsv" if labelled else "words.txt")
        words = [f"no. {number * number}" for number in range(300)]
        lines = [f"{word}\t{'even' if word[-1] in '02468' else 'odd'}" for word in words] if labelled else words
        data.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        config = Config(
            "mine",
            dataclasses.replace(MODELS[family], **model),
            data=(str(data),),
            start_from=start_from,
            train=TrainConfig(**SETTINGS),
        )
        return create_folder(tmp_path / name, config, (notices if notices is not None else []).append)

    return make


def weights(run: RunFolder) -> dict[str, np.ndarray]:
    return {name: weight.detach().numpy() for name, weight in load_model(run)[0].named_parameters()}


def first(run: RunFolder) -> dict[str, np.ndarray]:
    return {name: weight.detach().numpy() for name, weight in initial_model(run).named_parameters()}


@pytest.mark.parametrize("family", ["bert", "gpt"])
def test_a_classifier_starts_with_the_body_and_the_tokenizer_of_a_language_model(
    make: Make, resume: Resume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
):
    earlier = make(family, "earlier")
    resume(earlier.folder)
    trained, notices = weights(earlier), []
    monkeypatch.chdir(tmp_path)
    run = make(BODY[family], "run", "earlier", notices, vocab_size=999)
    assert run.config.start_from == str(earlier.folder)
    assert (run.folder / "tokenizer.json").read_bytes() == (earlier.folder / "tokenizer.json").read_bytes()
    assert run.config.model.vocab_size == earlier.config.model.vocab_size
    found, initial = first(run), initial_weights(run.config.model, run.config.train.seed)
    transferred = 0
    for name, weight in found.items():
        if name.startswith("body."):
            assert np.array_equal(weight, trained[name.removeprefix("body.")]), name
            transferred += weight.size
        else:
            assert name.startswith("class_projection")
            assert np.array_equal(weight, initial[name])
    count = sum(weight.size for weight in found.values())
    notice = f"{transferred:,} of {count:,} parameters are taken from {earlier.folder} at step 6; the others are random"
    assert notice in notices
    assert count - transferred == 8 * 2 + 2  # the class projection: a row of d_model and a bias for each of two classes


def test_within_a_family_the_output_layer_is_transferred_too(make: Make, resume: Resume):
    earlier = make("bert", "earlier")
    resume(earlier.folder)
    trained, found = weights(earlier), first(make("bert", "run", str(earlier.folder)))
    assert trained.keys() == found.keys()
    assert all(np.array_equal(trained[name], found[name]) for name in trained)


def test_a_class_projection_is_never_transferred():
    config = MODELS["classifier"]
    assert transferred_names(config, config).keys() == {
        name for name in parameter_shapes(config) if name.startswith("body.")
    }


def test_the_untrained_model_still_has_random_weights(make: Make, resume: Resume):
    earlier = make("bert", "earlier")
    resume(earlier.folder)
    run = make("classifier", "run", str(earlier.folder))
    initial = initial_weights(run.config.model, run.config.train.seed)
    for name, weight in untrained_model(run).named_parameters():
        assert np.array_equal(weight.detach().numpy(), initial[name])


def test_the_first_step_starts_from_the_transferred_weights(make: Make, resume: Resume):
    earlier = make("bert", "earlier")
    resume(earlier.folder)
    run = make("bert", "run", str(earlier.folder), dropout=0.0)
    trained, _ = load_model(earlier)
    expected = mean_loss(trained, [run.batches("train").batch(0)])
    assert expected < math.log(run.tokenizer.vocab_size) - 0.1
    session = train_run(run)
    assert next(session).record.loss == pytest.approx(expected, rel=LOSS_TOLERANCE)
    session.close()


def test_killed_before_the_first_checkpoint_and_without_the_earlier_run_it_ends_the_same(
    make: Make, resume: Resume, outcome: Outcome
):
    earlier = make("bert", "earlier")
    resume(earlier.folder)
    whole, parts = (make("classifier", name, str(earlier.folder)) for name in ("whole", "parts"))
    resume(whole.folder)
    shutil.rmtree(earlier.folder)
    resume(parts.folder, stop=2)
    shutil.rmtree(parts.checkpoints)  # as if it had been killed at step 2
    resume(parts.folder, stop=4)
    resume(parts.folder)
    assert outcome(parts.folder) == outcome(whole.folder)
    assert load_model(open_folder(parts.folder, pytest.fail))[1] == 6


def test_missing_initial_weights_are_an_error_until_there_is_a_checkpoint(make: Make, resume: Resume):
    earlier = make("bert", "earlier")
    resume(earlier.folder)
    run, started = (make("classifier", name, str(earlier.folder)) for name in ("run", "started"))
    resume(started.folder, stop=2)
    for each in (run, started):
        shutil.rmtree(each.start)
    with pytest.raises(CheckpointError, match=r"the initial weights were expected in .*start, found none; train"):
        resume(run.folder)
    resume(started.folder)
    assert load_model(started)[1] == 6


def test_initial_weights_left_by_an_interrupted_creation_are_not_used(make: Make, resume: Resume):
    earlier, later = make("bert", "earlier"), make("bert", "later")
    resume(earlier.folder, stop=3)
    resume(later.folder)
    half = make("classifier", "run", str(later.folder))
    (half.folder / "config.json").unlink()
    run = make("classifier", "run", str(earlier.folder))
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
        (
            "classifier on gpt",
            {},
            r"with the body of a gpt was expected to start from, found one of a bert; start from",
        ),
    ],
    ids=str,
)
def test_a_model_that_does_not_match_is_refused_and_leaves_no_folder(
    make: Make, resume: Resume, tmp_path: Path, family: str, changes: dict[str, object], words: str
):
    earlier = make("bert", "earlier")
    resume(earlier.folder, stop=1)
    with pytest.raises(ConfigError, match=words):
        make(family, "run", str(earlier.folder), **changes)
    assert not (tmp_path / "run").exists()


def test_a_missing_or_untrained_earlier_run_is_refused(make: Make, tmp_path: Path):
    with pytest.raises(RunError, match=r"a run was expected in .*nowhere, but there is no config\.json"):
        make("classifier", "run", str(tmp_path / "nowhere"))
    earlier = make("bert", "earlier")
    words = r"a checkpoint to start from was expected in .*earlier, but none was saved yet; resume that run first"
    with pytest.raises(CheckpointError, match=words):
        make("classifier", "run", str(earlier.folder))
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
