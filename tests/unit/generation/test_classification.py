"""Class probabilities are softmax of the logits, however examples are batched, and truncated ones are counted."""

from collections.abc import Callable

import pytest
import torch

from clearformer.config import ClassifierConfig
from clearformer.data.tokenizers import BOS, EOS, Tokenizer, train_tokenizer
from clearformer.generation.classification import classify
from clearformer.models.classifier import Classifier

CONTEXT = 10
# float32 logits; padding changes the order of sums: by 1e-7 at most
TOLERANCE = 1e-6


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer("character", ["abcdefgh "], 20)


@pytest.fixture(params=[{"body": "bert", "segments": 2}, {"body": "gpt", "pooling": "last"}], ids=["bert", "gpt"])
def model(request: pytest.FixtureRequest, scramble: Callable[..., None], tokenizer: Tokenizer) -> Classifier:
    sizes = {"d_model": 8, "num_heads": 2, "num_layers": 1, "d_ff": 16, "dropout": 0.0, "num_classes": 3}
    classifier = Classifier(ClassifierConfig(tokenizer.vocab_size, CONTEXT, **sizes, **request.param))
    scramble(classifier)
    return classifier.eval()


def by_hand(model: Classifier, tokens: list[int], segments: list[int]) -> list[float]:
    row = torch.tensor([tokens])
    with torch.no_grad():
        return model(row, row >= 0, torch.tensor([segments]))[0].softmax(-1).tolist()


def test_one_text_stands_between_bos_and_eos(model: Classifier, tokenizer: Tokenizer):
    done = classify(model, tokenizer, [("abc",)])
    tokens = [BOS, *tokenizer.encode("abc"), EOS]
    assert done.probabilities.tolist()[0] == pytest.approx(by_hand(model, tokens, [0] * 5), rel=TOLERANCE)
    assert (done.truncated, done.unknown) == (0, 0)


def test_two_texts_are_read_together_as_two_segments(model: Classifier, tokenizer: Tokenizer):
    done = classify(model, tokenizer, [("ab", "c")])
    tokens = [BOS, *tokenizer.encode("ab"), EOS, *tokenizer.encode("c"), EOS]
    assert done.probabilities.tolist()[0] == pytest.approx(by_hand(model, tokens, [0, 0, 0, 0, 1, 1]), rel=TOLERANCE)


def test_many_examples_keep_their_order_and_give_what_each_gives_alone(model: Classifier, tokenizer: Tokenizer):
    examples = [("abcdefgh"[: number % 7 + 1],) for number in range(230)]
    together = classify(model, tokenizer, examples).probabilities
    assert together.shape == (230, 3)
    alone = {texts: classify(model, tokenizer, [texts]).probabilities[0].tolist() for texts in set(examples)}
    assert len({tuple(row) for row in alone.values()}) == 7
    for row, texts in zip(together.tolist(), examples, strict=True):
        assert row == pytest.approx(alone[texts], rel=TOLERANCE * 10)


def test_examples_that_are_too_long_are_truncated_and_counted(model: Classifier, tokenizer: Tokenizer):
    long, fits = "abcdefghab", "abcdefgh"  # BOS and EOS need room too
    done = classify(model, tokenizer, [(long,), (fits,), ("a☃",)])
    assert (done.truncated, done.unknown) == (1, 1)
    assert done.probabilities[0].tolist() == pytest.approx(done.probabilities[1].tolist(), rel=TOLERANCE)


def test_nothing_to_classify_is_nothing(model: Classifier, tokenizer: Tokenizer):
    assert classify(model, tokenizer, []).probabilities.shape == (0, 3)
