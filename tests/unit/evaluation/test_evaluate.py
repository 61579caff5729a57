"""Scores are means over the whole split, of the trained model and of the same model before its first step."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from clearformer.config import Config, CosineSchedule, GPTConfig, TrainConfig, TransformerConfig
from clearformer.errors import CheckpointError, DataError
from clearformer.evaluation.evaluate import evaluate, measure
from clearformer.models.build import build
from clearformer.runs.folder import RunFolder, create_folder, open_folder
from clearformer.runs.session import train_run

# float32, one division and one logarithm a token
LOSS_TOLERANCE = 1e-6

SIZES = {"vocab_size": 60, "context": 16, "d_model": 16, "num_heads": 2, "num_layers": 1, "d_ff": 32, "dropout": 0.0}
FAMILIES = {"gpt": GPTConfig(**SIZES), "transformer": TransformerConfig(**SIZES)}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunFolder]:
    def make(family: str) -> RunFolder:
        words = [f"{number:03b}{'xy'[number % 2]}" for number in range(300)]
        lines = words if family == "gpt" else [f"{word}\t{'a' if word[-1] == 'x' else 'bb'}" for word in words]
        data = tmp_path / ("data.txt" if family == "gpt" else "data.tsv")
        data.write_text("".join(f"{line}\n" for line in lines))
        settings = TrainConfig(steps=100, batch_tokens=500, schedule=CosineSchedule(3e-2, 1e-3, 5), device="cpu")
        config = Config("mine", FAMILIES[family], data=(str(data),), train=settings)
        return create_folder(tmp_path / family, config, pytest.fail)

    return make


def predictions(run: RunFolder, split: str) -> int:
    """How many tokens are predicted: of text all but the first, of pairs each character of the target and EOS."""
    examples = getattr(run.corpus, split)
    return len(examples) - 1 if isinstance(examples, str) else sum(len(target) + 1 for _, target in examples)


@pytest.mark.parametrize("family", ["gpt", "transformer"])
def test_the_loss_of_uniform_logits_is_the_logarithm_of_the_vocabulary_size(
    make_run: Callable[..., RunFolder], family: str
):
    run = make_run(family)
    model = build(run.config.model, 1).eval()
    with torch.no_grad():
        model.get_parameter("embedding.weight").zero_()  # tied: all logits are 0
    scores = measure(run, model, "validation", run.batches("validation"))
    assert scores["loss"] == pytest.approx(math.log(run.tokenizer.vocab_size), rel=LOSS_TOLERANCE)
    assert scores["perplexity"] == pytest.approx(run.tokenizer.vocab_size, rel=1e-5)


@pytest.mark.parametrize("family", ["gpt", "transformer"])
def test_the_loss_is_the_mean_over_every_token_of_the_split(make_run: Callable[..., RunFolder], family: str):
    # a model whose output does not depend on its input: logits are the output matrix times one vector
    run = make_run(family)
    model = build(dataclasses.replace(run.config.model, tie_embeddings=False, norm_order="pre"), 1).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("decoder.norm"):
                parameter.copy_(torch.zeros(16) if name.endswith("weight") else torch.ones(16))
        bias = torch.linspace(-1, 1, run.tokenizer.vocab_size)
        model.output_projection.weight.copy_((bias / 16)[:, None].expand(-1, 16))
    log_p = bias.double().log_softmax(-1)
    examples = run.corpus.validation
    if isinstance(examples, str):
        labels = run.tokenizer.encode(examples)[1:]
    else:
        labels = [index for _, target in examples for index in [*run.tokenizer.encode(target), 2]]
    assert len(labels) == predictions(run, "validation")
    by_hand = -sum(log_p[index].item() for index in labels) / len(labels)
    assert measure(run, model, "validation", run.batches("validation"))["loss"] == pytest.approx(
        by_hand, rel=LOSS_TOLERANCE
    )


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt", "transformer"])
def test_a_trained_model_beats_its_initialization(make_run: Callable[..., RunFolder], family: str):
    run = make_run(family)
    with pytest.raises(CheckpointError, match="none was saved yet; resume the run first"):
        evaluate(run, "validation")
    for _ in train_run(run):
        pass
    progress: list[tuple[str, int, int]] = []
    result = evaluate(open_folder(run.folder, pytest.fail), "validation", lambda *done: progress.append(done))
    untrained = result.pop("untrained")
    assert (result["run"], result["split"], result["step"]) == (str(run.folder), "validation", 100)
    assert result["loss"] < untrained["loss"] - 0.5
    assert result["perplexity"] == pytest.approx(math.exp(result["loss"]))
    assert untrained == measure(
        run, build(run.config.model, run.config.train.seed).eval(), "validation", run.batches("validation")
    )
    if family == "transformer":
        # x becomes a, and y becomes bb: about half of each
        assert result["exact_match"] > 0.9 > untrained["exact_match"]
        count = len(run.corpus.validation)
        assert progress == [("trained", count, count), ("untrained", count, count)]
    else:
        assert "bleu" not in result


def test_a_missing_split_is_refused(make_run: Callable[..., RunFolder]):
    run = make_run("gpt")
    model = build(run.config.model, 1)
    with pytest.raises(DataError, match=r"data\.txt has no test split; evaluate with --split validation"):
        measure(run, model, "test", run.batches("test"))
