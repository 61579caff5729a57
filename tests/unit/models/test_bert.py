"""BERT attends to both sides, never to padding, and uses segments only if it has embeddings for them."""

import pytest
import torch

LENGTH = 6
# float32 matrices of another shape: no difference seen, but another BLAS may add in another order
PADDED_TOLERANCE = 1e-5


@pytest.fixture
def bert(variant, tiny):
    return tiny("bert", **variant)


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(11, (1, LENGTH))


def call(model, tokens: torch.Tensor, real: torch.Tensor | None = None, segments: torch.Tensor | None = None):
    """Without padding and in the first segment, unless given for each row or once for all."""
    real = torch.ones_like(tokens, dtype=torch.bool) if real is None else real
    segments = torch.zeros_like(tokens) if segments is None else segments
    return model(tokens, real.expand_as(tokens), segments.expand_as(tokens))


def test_every_token_in_reach_of_the_windows_affects_both_sides(bert, tokens, influence, in_reach):
    effect = influence(lambda rows: call(bert, rows), tokens[0])
    reached = in_reach(bert.config, LENGTH, causal=False)
    assert effect[reached].min() > 1e-7
    assert (effect[~reached] == 0.0).all()


def test_padding_has_no_effect(bert, tokens, influence):
    real = torch.arange(LENGTH) < 4
    assert not influence(lambda rows: call(bert, rows, real), tokens[0])[4:, :4].any()
    padded, alone = call(bert, tokens, real)[:, :4], call(bert, tokens[:, :4])
    torch.testing.assert_close(padded, alone, atol=PADDED_TOLERANCE, rtol=PADDED_TOLERANCE)


def test_a_row_of_padding_alone_has_finite_logits_and_gradients(bert, tokens):
    out = call(bert, tokens.expand(2, -1), torch.tensor([[True], [False]]))
    out.square().mean().backward()
    assert out.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in bert.parameters() if parameter.grad is not None)


def test_rows_of_a_batch_do_not_affect_each_other(bert):
    tokens = torch.randint(11, (3, LENGTH))
    others = (tokens + torch.tensor([[0], [1], [0]])) % 11
    assert (call(bert, tokens) != call(bert, others)).any(-1).any(-1).tolist() == [False, True, False]


@pytest.mark.parametrize("segments", [0, 2])
def test_segments_matter_only_if_there_are_embeddings_for_them(tiny, tokens, segments: int):
    model = tiny("bert", segments=segments)
    one, two = (call(model, tokens, None, (torch.arange(LENGTH) >= start).long()) for start in (LENGTH, 3))
    assert ("segments.weight" in dict(model.named_parameters())) == bool(segments)
    assert torch.equal(one, two) != bool(segments)


def test_segment_embeddings_are_added_to_the_tokens_before_the_norm(tiny, tokens):
    model, inputs, segments = tiny("bert"), [], torch.tensor([0, 0, 1, 1, 0, 1])
    model.embedding_norm.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    call(model, tokens, None, segments)
    expected = model.embedding.weight[tokens] + model.positions.weight[:LENGTH] + model.segments.weight[segments]
    torch.testing.assert_close(inputs[0], expected, atol=1e-6, rtol=0.0)  # three float32 numbers in another order


@pytest.mark.parametrize("tied", [True, False])
def test_logits_have_their_own_bias_and_if_tied_the_embeddings_matrix(tiny, tokens, tied: bool):
    model = tiny("bert", tie_embeddings=tied)
    assert (model.output_projection.weight is model.embedding.weight) == tied
    before = call(model, tokens)
    with torch.no_grad():
        model.output_projection.bias[9] += 1.0
    expected = torch.eye(11)[9].expand(1, LENGTH, 11)
    torch.testing.assert_close(call(model, tokens) - before, expected, atol=1e-5, rtol=0.0)
