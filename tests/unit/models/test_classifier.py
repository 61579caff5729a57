"""A classifier pools one vector per text, which neither padding nor other texts affect."""

import pytest
import torch

from clearformer.models.classifier import POOLINGS

# float32 matrices of another shape: no difference seen, but another BLAS may add in another order
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
def test_pooling_of_texts_of_two_and_three_tokens_worked_by_hand(pooling: str, expected: list[list[float]]):
    x = torch.tensor([[[1.0, 10], [2, 20], [900, 900]], [[4, 40], [5, 50], [6, 60]]])
    real = torch.tensor([[True, True, False], [True, True, True]])
    assert POOLINGS[pooling](x, real).tolist() == expected


def test_the_mean_of_a_text_of_padding_alone_is_zero():
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
    torch.testing.assert_close(call(model, tokens, real), expected, atol=PADDED_TOLERANCE, rtol=PADDED_TOLERANCE)


@pytest.mark.parametrize("body", ["bert", "gpt"])
def test_logits_of_mean_pooling_are_the_mean_of_the_logits_of_real_tokens(tiny, body: str):
    model, tokens = tiny("classifier", body=body, pooling="mean", num_classes=3), torch.randint(11, (2, 5))
    real = torch.arange(5) < torch.tensor([[5], [2]])
    of_tokens = model.token_logits(tokens, real, torch.zeros_like(tokens))
    assert of_tokens.shape == (2, 5, 3)
    expected = torch.stack((of_tokens[0].mean(0), of_tokens[1, :2].mean(0)))
    torch.testing.assert_close(call(model, tokens, real), expected, atol=PADDED_TOLERANCE, rtol=PADDED_TOLERANCE)


@bodies
def test_padding_has_no_effect(tiny, variant, body: str, pooling: str):
    model = tiny("classifier", **variant, body=body, pooling=pooling)
    tokens, real = torch.randint(11, (3, 6)), (torch.arange(6) < 4).expand(3, 6)
    other = torch.where(real, tokens, (tokens + 1) % 11)
    assert torch.equal(call(model, tokens, real), call(model, other, real))
    alone = call(model, tokens[:, :4])
    torch.testing.assert_close(call(model, tokens, real), alone, atol=PADDED_TOLERANCE, rtol=PADDED_TOLERANCE)


@bodies
def test_every_real_token_affects_its_own_text_alone(tiny, body: str, pooling: str):
    model, tokens = tiny("classifier", body=body, pooling=pooling), torch.randint(11, (5, 5))
    another_token_each = (tokens + torch.eye(5, dtype=torch.int64)) % 11  # in text i at position i
    assert (call(model, tokens) - call(model, another_token_each)).abs().amax(-1).min() > 1e-6
    another_text = (tokens + torch.eye(5, dtype=torch.int64)[:, 2:3]) % 11
    changed = (call(model, tokens) != call(model, another_text)).any(-1)
    assert changed.tolist() == [False, False, True, False, False]


def test_segments_are_passed_to_the_body(tiny):
    model, tokens = tiny("classifier", segments=2), torch.randint(11, (1, 5))
    real, zeros = torch.ones_like(tokens, dtype=torch.bool), torch.zeros_like(tokens)
    assert not torch.equal(model(tokens, real, zeros), model(tokens, real, zeros + 1))


def test_dropout_before_the_projection_is_on_in_training_only(tiny):
    model, tokens = tiny("classifier", dropout=0.5), torch.randint(11, (1, 5))
    model.body.eval()
    assert torch.equal(call(model, tokens), call(model, tokens))
    model.dropout.train()
    assert not torch.equal(call(model, tokens), call(model, tokens))
