"""Scores of heads: worked by hand on small matrices of weights, and of heads that attend to all keys alike."""

import math

import pytest
import torch

from clearformer.errors import InspectionError
from clearformer.inspection.measures import agreement, entropy, induction, monotone
from clearformer.inspection.scores import cross_scores, head_scores, induction_scores, self_scores

# float32: means of up to 24 weights, and logarithms
ROUNDING = 1e-6
ALL = torch.ones(1, 3, dtype=torch.bool)
ROWS = torch.tensor([[[[1.0, 0.0, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0], [0.25, 0.25, 0.25, 0.25]]]])
"""three queries of one head, four keys"""


def approx(value: float) -> object:
    return pytest.approx(value, abs=ROUNDING)


def test_entropy_by_hand():
    assert float(entropy(ROWS, ALL)) == approx((0 + math.log(2) + math.log(4)) / 3)
    first_two = torch.tensor([[True, True, False]])
    assert float(entropy(ROWS, first_two)) == approx(math.log(2) / 2)


def test_scores_by_hand():
    weights = torch.tensor([[[[1.0, 0.0, 0.0], [0.3, 0.6, 0.1], [0.4, 0.5, 0.1]]]])
    found = {name: float(value) for name, value in self_scores(weights, ALL).items() if name != "entropy"}
    assert found == {"first": approx((0.3 + 0.4) / 2), "diagonal": approx((0.6 + 0.1) / 2), "previous": approx(0.4)}
    # in cross-attention from 3 tokens to 5, the diagonal is at 0, 2 and 4
    weights = torch.tensor([[[[0.1, 0.9, 0, 0, 0], [0.2, 0, 0.7, 0, 0.1], [0, 0, 0, 0.6, 0.4]]]])
    found = cross_scores(weights, ALL, torch.ones(1, 5, dtype=torch.bool))
    assert float(found["diagonal"]) == approx((0.1 + 0.7 + 0.4) / 3)
    assert float(found["first"]) == approx(0.1)
    padded = torch.cat((weights, torch.zeros(1, 1, 3, 2)), -1)
    assert cross_scores(padded, ALL, torch.arange(7)[None] < 5)["diagonal"] == found["diagonal"]


def test_induction_is_the_weight_of_what_followed_the_first_occurrence():
    # a b c a b c: the second a looks at the first b, b at c, c at the second a
    weights = torch.zeros(1, 2, 6, 6)
    for query, key, weight in ((3, 1, 1.0), (4, 2, 0.5), (5, 3, 0.3)):
        weights[0, 0, query, key] = weight
    weights[0, 1] = torch.eye(6).roll(1, 0)  # the previous token: no induction
    assert induction(weights, 3).tolist() == [approx(0.6), 0.0]


def test_monotone_and_agreement_by_hand():
    # the strongest keys are 0, 2, 1, 1: one of three steps goes back
    weights = torch.eye(3)[[0, 2, 1, 1]][None, None]
    assert float(monotone(weights, torch.ones(1, 4, dtype=torch.bool))) == approx(2 / 3)
    assert float(monotone(weights, torch.tensor([[True, True, False, False]]))) == 1.0
    # token 1 may be aligned to 0 or 2, token 3 is not to 1; tokens 0 and 2 are not aligned
    assert float(agreement(weights, {(1, 0), (1, 2), (3, 2)})) == 0.5


@pytest.mark.parametrize("family", ["gpt", "transformer", "bert", "classifier"])
def test_scores_of_heads_that_attend_to_all_keys_alike(family: str, tiny, inputs_of):
    model = tiny(family, positions="learned")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".qkv_projection." in name or ".query_projection." in name:
                parameter[:8] = 0.0  # queries of width 8
    causal = [0.0, *(1 / (t + 1) for t in range(1, 6))]
    scores = head_scores(model, inputs_of(model, [0]))
    for (core, _), found in scores.items():
        if core.startswith("decoder") and "cross" not in core:
            expected = {name: sum(causal) / 5 for name in ("first", "diagonal", "previous")}
            expected["entropy"] = sum(math.log(t + 1) for t in range(6)) / 6
        else:
            length = 7 if family == "transformer" else 6
            names = ("first", "diagonal", "monotone" if "cross" in core else "previous")
            expected = dict.fromkeys(names, 1 / length) | {"entropy": math.log(length)}
            expected |= (
                {"monotone": found["monotone"]} if "cross" in core else {}
            )  # rounding decides which is strongest
        assert found == {name: approx(value) for name, value in expected.items()}
    assert len(scores) == (12 if family == "transformer" else 4)
    if family == "gpt":  # n is 3, half of the context
        found = induction_scores(model)
        assert found == dict.fromkeys(scores, approx((1 / 4 + 1 / 5 + 1 / 6) / 3))


def test_padding_does_not_count(tiny, inputs_of):
    for family in ("transformer", "bert", "classifier"):
        model = tiny(family)
        padded = inputs_of(model, [1])
        lengths = {"transformer": (5, 4, 5, 4), "bert": (4, 4, 4), "classifier": (4, 4, 4)}[family]
        short = tuple(x[:, :length] for x, length in zip(padded, lengths, strict=True))
        both = zip(head_scores(model, padded).values(), head_scores(model, short).values(), strict=True)
        for of_padded, of_short in both:
            assert of_padded == {name: approx(value) for name, value in of_short.items()}


def test_an_alignment_is_scored_for_cross_attention_alone(tiny, inputs_of):
    model = tiny("transformer")
    scores = head_scores(model, inputs_of(model, [0]), {(t, s) for t in range(6) for s in range(7)})
    assert {core: found.get("alignment") for (core, _), found in scores.items()} == {
        f"{stack}.layers.{layer}.{part}.core": value
        for stack, part, value in (
            ("encoder", "attention", None), ("decoder", "attention", None), ("decoder", "cross_attention", 1.0),
        )
        for layer in range(2)
    }  # fmt: skip


def test_what_does_not_fit_is_refused(tiny, inputs_of):
    gpt, transformer = tiny("gpt"), tiny("transformer")
    for model, alignment, rows, words in (
        (gpt, {(0, 0)}, [0], "found a model that reads one text"),
        (transformer, {(0, 7)}, [0], r"of 6 target and 7 source tokens, was expected, found 1 pairs and \(0, 7\)"),
        (transformer, {(0, 0)}, [0, 1], "an alignment of one pair of texts, .*, found 2 pairs"),
    ):
        with pytest.raises(InspectionError, match=words):
            head_scores(model, inputs_of(model, rows), alignment)
    for model, found in (
        (tiny("bert"), "bert with a context of 7"),
        (tiny("gpt", context=3), "gpt with a context of 3"),
    ):
        with pytest.raises(InspectionError, match=f"a GPT, or a classifier on one, .*; found a {found}$"):
            induction_scores(model)
    (nothing,) = {math.isnan(found["previous"]) for found in head_scores(gpt, [torch.tensor([[5]])]).values()}
    assert nothing  # one token has none before it
