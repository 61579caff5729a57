"""Scores worked by hand, and sacreBLEU's own where it has them."""

import math

import pytest
import sacrebleu

from clearformer.evaluation.scores import bleu, exact_match


def test_exact_match_worked_by_hand():
    assert exact_match(["a", "b", "c ", "d"], ["a", "B", "c", "d"]) == 0.5
    assert exact_match(["a"], ["a"]) == 1.0
    assert exact_match(["a"], ["b"]) == 0.0


def test_outputs_without_a_reference_are_never_dropped():
    with pytest.raises(ValueError, match="zip"):
        exact_match(["a", "b"], ["a"])


def test_equal_texts_have_bleu_100():
    texts = ["the cat sat on the mat", "it was a fine day for all"]
    assert bleu(texts, texts)[0] == pytest.approx(100.0)


def test_bleu_worked_by_hand():
    # five of six unigrams, three of five bigrams, two of four trigrams, one of three 4-grams; as long as the reference
    score, _ = bleu(["the cat sat on a mat"], ["the cat sat on the mat"])
    assert score == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25, rel=1e-9)
    # a text that stops short has no wrong words, and a brevity penalty of exp(1 - 6/5)
    score, _ = bleu(["the cat sat on the"], ["the cat sat on the mat"])
    assert score == pytest.approx(100 * math.exp(1 - 6 / 5), rel=1e-9)


def test_bleu_is_of_the_corpus_as_sacrebleu_has_it():
    outputs = ["The cat sat, quietly.", "A dog barked at the old man", "no"]
    references = ["The cat sat there, quietly.", "The dog barked at an old man", "yes"]
    score, signature = bleu(outputs, references)
    assert score == sacrebleu.corpus_bleu(outputs, [references]).score
    assert 0 < score < 100
    assert {"case:mixed", "tok:13a", "nrefs:1"} <= set(signature.split("|"))


def test_lowercase_bleu_is_that_of_the_lowercased_texts():
    outputs, references = ["The Cat sat on the MAT", "A dog barked at the old man"], ["the cat sat on the mat", "A DOG"]
    score, signature = bleu(outputs, references, lowercase=True)
    assert score == bleu([text.lower() for text in outputs], [text.lower() for text in references])[0]
    assert score > bleu(outputs, references)[0]
    assert {"case:lc", "tok:13a"} <= set(signature.split("|"))
