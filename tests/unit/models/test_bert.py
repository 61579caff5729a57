"""BERT sees both sides, never padding, and segments only where it has embeddings for them."""

import pytest
import torch

LENGTH = 6
# float32 in rectangles of another size: no difference seen, but another BLAS may add in another order
PADDED_TOLERANCE = 1e-5


@pytest.fixture
def bert(variant, tiny):
    return tiny("bert", **variant)


def call(model, tokens: torch.Tensor, real: torch.Tensor | None = None, segments: torch.Tensor | None = None):
    """Where they are not given, all tokens are real and of the first segment; either may be given once for all rows."""
    real = torch.ones(LENGTH, dtype=torch.bool)[: tokens.shape[1]] if real is None else real
    segments = torch.zeros_like(tokens) if segments is None else segments
    return model(tokens, real.expand_as(tokens), segments.expand_as(tokens))


def changes(model, tokens: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
    """[place, t]: the most that another token at `place` moves the logits at t."""
    rows, places = tokens.repeat(LENGTH, 1), torch.arange(LENGTH)
    rows[places, places] = (tokens + 1) % 11
    found = call(model, torch.cat((tokens[None], rows)), real)
    return (found[1:] - found[:1]).abs().amax(-1)


def test_every_token_sees_both_sides_as_far_as_its_windows_reach(bert):
    found = changes(bert, torch.randint(11, (LENGTH,)))
    config, away = bert.config, torch.arange(LENGTH) - torch.arange(LENGTH)[:, None]
    reach = config.num_layers * (config.window - 1) if config.window else LENGTH
    seen = (-away <= reach) & (away <= reach + 2 * bool(config.ngram_buckets))  # n-grams look back
    assert found[seen].min() > 1e-7
    assert (found[~seen] == 0.0).all()


def test_padding_is_never_attended_and_adds_nothing_to_a_row(bert):
    tokens, real = torch.randint(11, (LENGTH,)), torch.arange(LENGTH) < 4
    found = changes(bert, tokens, real)
    assert (found[4:, :4] == 0.0).all()
    alone = call(bert, tokens[None, :4])
    padded = call(bert, tokens[None], real)[:, :4]
    torch.testing.assert_close(padded, alone, atol=PADDED_TOLERANCE, rtol=PADDED_TOLERANCE)


def test_a_row_of_padding_alone_is_finite_and_so_are_its_gradients(bert):
    tokens, real = torch.randint(11, (2, LENGTH)), torch.tensor([[True] * LENGTH, [False] * LENGTH])
    out = call(bert, tokens, real)
    out.square().mean().backward()
    assert out.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in bert.parameters() if parameter.grad is not None)


def test_rows_do_not_see_each_other(bert):
    tokens = torch.randint(11, (3, LENGTH))
    other = tokens.clone()
    other[1] = (tokens[1] + 1) % 11
    assert ((call(bert, tokens) - call(bert, other)).abs().amax((1, 2)) > 0).tolist() == [False, True, False]


@pytest.mark.parametrize("segments", [0, 2])
def test_segments_matter_only_where_there_are_embeddings_for_them(tiny, segments: int):
    model, tokens = tiny("bert", segments=segments), torch.randint(11, (1, LENGTH))
    one, two = (call(model, tokens, None, (torch.arange(LENGTH) >= start).long()) for start in (LENGTH, 3))
    assert ("segments.weight" in dict(model.named_parameters())) == bool(segments)
    assert torch.equal(one, two) != bool(segments)


def test_a_segments_vector_is_added_to_its_tokens_before_the_norm(tiny):
    model, tokens = tiny("bert"), torch.randint(11, (1, LENGTH))
    inside = []
    model.embedding_norm.register_forward_pre_hook(lambda _, inputs: inside.append(inputs[0]))
    segments = torch.tensor([0, 0, 1, 1, 0, 1])
    call(model, tokens, None, segments)
    expected = model.embedding.weight[tokens] + model.positions.weight[:LENGTH] + model.segments.weight[segments]
    torch.testing.assert_close(inside[0], expected, atol=1e-6, rtol=0.0)  # three float32 numbers in another order


@pytest.mark.parametrize("tied", [True, False])
def test_logits_have_a_bias_of_their_own_and_the_embeddings_matrix_where_tied(tiny, tied: bool):
    model, tokens = tiny("bert", tie_embeddings=tied), torch.zeros(1, LENGTH, dtype=torch.int64)
    assert (model.output_projection.weight is model.embedding.weight) == tied
    before = call(model, tokens)
    with torch.no_grad():
        model.output_projection.bias[9] += 1.0
    expected = torch.eye(11)[9].expand(1, LENGTH, 11)
    torch.testing.assert_close(call(model, tokens) - before, expected, atol=1e-5, rtol=0.0)
