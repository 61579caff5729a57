"""A reading of a text says what the model does with it, for every family."""

from pathlib import Path

import numpy as np
import pytest
import torch

import clearformer
from clearformer.errors import InspectionError, PromptError
from clearformer.inspection.reading import Reading

# float32: sums of a dozen parts in another order
ROUNDING = 1e-4
FAMILIES = {
    "transformer": ("pairs_run", "n 1001"),
    "gpt": ("text_run", "the quick"),
    "bert": ("masked_run", "the quick <mask> fox"),
    "classifier": ("labelled_run", "a good film"),
}


@pytest.fixture(params=FAMILIES)
def reading(request: pytest.FixtureRequest) -> Reading:
    run, text = FAMILIES[request.param]
    return clearformer.open_run(request.getfixturevalue(run), notify=pytest.fail).inspect(text)


def logits(reading: Reading) -> torch.Tensor:
    with torch.inference_mode():
        return reading.model(*reading.inputs)[0]


def test_views_agree_with_the_logits(reading: Reading):
    found, names = logits(reading), reading.classes or reading.tokenizer.token_text
    likeliest = int((found[1] if found.dim() == 2 else found).argmax())
    output = names[likeliest] if reading.classes else names(likeliest)
    expected = float(found.flatten(0, -2)[1, likeliest] if found.dim() == 2 else found[likeliest])
    parts = reading.contributions(1)
    assert (parts.output, parts.logit) == (output, pytest.approx(expected, abs=ROUNDING))
    values = reading.attribution(1)
    assert values.output == output
    assert [len(tokens) for tokens, _ in values.texts] == [x.shape[1] for x in reading.inputs[: len(reading.texts)]]
    end = reading.lens().candidates[-1]
    assert len(end) == len(reading.texts[-1])
    if found.dim() == 2:
        assert [best[0][0] for best in end] == [names(int(row.argmax())) for row in found]
        assert end[1][0][1] == pytest.approx(float(found[1].softmax(-1).max()), abs=ROUNDING)


def test_an_output_may_be_named(reading: Reading):
    name = reading.classes[1] if reading.classes else " fox" if reading.model.config.kind == "bert" else "n"
    index = 1 if reading.classes else reading.tokenizer.encode(name)[0]
    assert reading.contributions(0, name) == reading.contributions(0, index)
    last = reading.classes[-1] if reading.classes else reading.tokenizer.token_text(reading.tokenizer.vocab_size - 1)
    assert reading.contributions(0, -1).output == last
    with pytest.raises(InspectionError, match=r"output must be from -\d+ to \d+, found 10000"):
        reading.attribution(0, 10_000)
    with pytest.raises(
        InspectionError, match=r"one output of the model was expected, found 'n 1', which is \d of them"
    ):
        reading.contributions(0, "n 1")


def test_scores_and_maps_are_of_the_same_weights(reading: Reading):
    kind, scores = reading.model.config.kind, reading.scores().scores
    assert all(("induction" in found) == (kind == "gpt") for found in scores.values())
    map_ = reading.attention(0, 1)
    np.testing.assert_allclose(map_.weights.sum(-1), 1.0, atol=1e-6)
    core = next(core for core, _ in scores if ("cross" in core) == (kind == "transformer"))
    entropy = -(map_.weights * np.log(np.maximum(map_.weights, 1e-30))).sum(-1).mean()
    assert scores[core, 1]["entropy"] == pytest.approx(entropy, abs=ROUNDING)


def test_each_part_of_a_translator_s_attention_has_its_tokens(pairs_run: Path):
    reading = clearformer.open_run(pairs_run).inspect("n 1001", "1 n")
    source, read, written = [*"n 1001", "<eos>"], ["<bos>", *"1 n"], [*"1 n", "<eos>"]
    for part, rows, columns in (
        (None, written, source), ("cross", written, source), ("encoder", source, source), ("decoder", read, read),
    ):  # fmt: skip
        heads = reading.heads(part)
        assert (heads.rows, heads.columns) == (rows, columns)
        assert heads.weights.shape == (1, 2, len(rows), len(columns))
    assert np.triu(reading.heads("decoder").weights, 1).max() == 0.0


def test_what_a_model_of_one_text_lacks_is_refused(text_run: Path):
    run = clearformer.open_run(text_run)
    with pytest.raises(InspectionError, match=r"a translator was expected for attention of its encoder, found a model"):
        run.inspect("the").heads("encoder")
    with pytest.raises(InspectionError, match="position must be from -3 to 2, found 3"):
        run.inspect("the").attribution(3)
    with pytest.raises(PromptError, match="a text of 1 to 16 tokens was expected, the model's context, found 0"):
        run.inspect("")


def test_unknown_and_truncated_tokens_are_reported(text_run: Path, labelled_run: Path):
    notices: list[str] = []
    clearformer.open_run(text_run, notify=notices.append).inspect("the é")
    clearformer.open_run(labelled_run, notify=notices.append).inspect("a" + " good" * 30)
    assert notices == [
        "1 tokens of the input were not in the vocabulary and read as <unk>",
        "the text is too long for the context of 12 tokens: truncated",
    ]
