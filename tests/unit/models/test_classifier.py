"""A classifier reads one vector of each text, chosen as its pooling says, and nothing of padding or other texts."""

import pytest
import torch

from clearformer.models.classifier import POOLINGS

# float32 in rectangles of another size: no difference seen, but another BLAS may add in another order
PADDED_TOLERANCE = 1e-5
BODIES = [("bert", pooling) for pooling in ("first", "last", "mean")] + [("gpt", "last"), ("gpt", "mean")]
bodies = pytest.mark.parametrize(("body", "pooling"), BODIES)


def call(model, tokens: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
    real = torch.ones_like(tokens, dtype=torch.bool) if real is None else real
    return model(tokens, real, torch.zeros_like(tokens))


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("first", [[1, 10], [4, 40]]), ("last", [[2, 20], [6, 60]]), ("mean", [[1.5, 15], [5, 50]])],
)
def test_poolings_of_texts_of_two_and_three_tokens_worked_by_hand(pooling: str, expected: list[list[float]]):
    x = torch.tensor([[[1.0, 10], [2, 20], [900, 900]], [[4, 40], [5, 50], [6, 60]]])
    real = torch.tensor([[True, True, False], [True, True, True]])
    assert POOLINGS[pooling](x, real).tolist() == expected


def test_the_mean_of_a_text_that_is_all_padding_is_zero():
    assert POOLINGS["mean"](torch.ones(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool)).tolist() == [[0.0, 0.0, 0.0]]


@bodies
def test_logits_are_the_projection_of_the_pooled_vector(tiny, body: str, pooling: str):
    model, tokens = tiny("classifier", body=body, pooling=pooling, num_classes=3), torch.randint(11, (2, 5))
    real = torch.arange(5) < torch.tensor([[5], [2]])
    features = model.features(model.body, tokens, real, torch.zeros_like(tokens))
    chosen = {
        "first": features[:, 0],
        "last": torch.stack((features[0, 4], features[1, 1])),
        "mean": torch.stack((features[0].mean(0), features[1, :2].mean(0))),
    }[pooling]
    expected = chosen @ model.class_projection.weight.T + model.class_projection.bias
    assert expected.shape == (2, 3)
    torch.testing.assert_close(call(model, tokens, real), expected, atol=1e-5, rtol=1e-5)  # as above


@pytest.mark.parametrize("body", ["bert", "gpt"])
def test_logits_of_mean_pooling_are_the_mean_of_what_each_real_token_says(tiny, body: str):
    model, tokens = tiny("classifier", body=body, pooling="mean", num_classes=3), torch.randint(11, (2, 5))
    real = torch.arange(5) < torch.tensor([[5], [2]])
    said = model.token_logits(tokens, real, torch.zeros_like(tokens))
    assert said.shape == (2, 5, 3)
    expected = torch.stack((said[0].mean(0), said[1, :2].mean(0)))
    torch.testing.assert_close(call(model, tokens, real), expected, atol=1e-5, rtol=1e-5)  # as above


@bodies
def test_padding_changes_nothing(tiny, variant, body: str, pooling: str):
    model = tiny("classifier", **variant, body=body, pooling=pooling)
    tokens, real = torch.randint(11, (3, 6)), (torch.arange(6) < 4).expand(3, 6)
    other = torch.where(real, tokens, (tokens + 1) % 11)
    assert torch.equal(call(model, tokens, real), call(model, other, real))
    alone = call(model, tokens[:, :4])
    torch.testing.assert_close(call(model, tokens, real), alone, atol=PADDED_TOLERANCE, rtol=PADDED_TOLERANCE)


@bodies
def test_every_real_token_matters_and_texts_are_independent(tiny, body: str, pooling: str):
    model, tokens = tiny("classifier", body=body, pooling=pooling), torch.randint(11, (5, 5))
    other = tokens.clone()
    other[range(5), range(5)] = (other[range(5), range(5)] + 1) % 11  # text i with another token at place i
    both = call(model, torch.cat((tokens, other)))
    assert (both[:5] - both[5:]).abs().amax(-1).min() > 1e-6
    changed = tokens.clone()
    changed[2] = (tokens[2] + 1) % 11
    found = (call(model, tokens) - call(model, changed)).abs().amax(-1) > 0
    assert found.tolist() == [False, False, True, False, False]


def test_segments_reach_the_body(tiny):
    model, tokens = tiny("classifier", segments=2), torch.randint(11, (1, 5))
    real = torch.ones_like(tokens, dtype=torch.bool)
    zeros = torch.zeros_like(tokens)
    assert not torch.equal(model(tokens, real, zeros), model(tokens, real, zeros + 1))


def test_dropout_before_the_projection_is_on_in_training_only(tiny):
    model, tokens = tiny("classifier", dropout=0.5), torch.randint(11, (1, 5))
    model.body.eval()
    assert torch.equal(call(model, tokens), call(model, tokens))
    model.dropout.train()
    assert not torch.equal(call(model, tokens), call(model, tokens))
