"""No information goes where it must not: the future, padding, other rows. Exactly none, whatever the weights."""

import pytest
import torch

CONTEXT = 7
# float32 in rectangles of another size, so sums in another order: 1.2e-7 seen, relative to 1 + the value
PADDED_TOLERANCE = 1e-5


@pytest.fixture
def gpt(variant, tiny):
    return tiny("gpt", **variant)


@pytest.fixture
def transformer(variant, tiny):
    return tiny("transformer", **variant)


def reach(model) -> int:
    """How many places away a token can still tell: in each layer to the window's edge, and by n-grams two more."""
    config = model.config
    edge = config.num_layers * (config.window - 1) + 2 * bool(config.ngram_buckets)
    return edge if config.window else config.context


def distances(length: int) -> torch.Tensor:
    """[place, t]: how far t is after place."""
    return torch.arange(length) - torch.arange(length)[:, None]


def some_real(model) -> torch.Tensor:
    """Which of six tokens are no padding. N-grams and windows know of places, so there it is at the end alone."""
    at_end = model.config.ngram_buckets or model.config.window
    return torch.tensor([[True, bool(at_end), True, True, False, False]])


def variants(tokens: torch.Tensor) -> torch.Tensor:
    """The tokens, and below them a row for each place at which they differ."""
    rows = tokens.repeat(len(tokens) + 1, 1)
    places = torch.arange(len(tokens))
    rows[places + 1, places] = (tokens + 1) % 11
    return rows


def changes(logits: torch.Tensor) -> torch.Tensor:
    """[place, t]: the most that a change at `place` moved the logits at t."""
    assert logits.isfinite().all()
    return (logits[1:] - logits[:1]).abs().amax(-1)


def decoded(model, target: torch.Tensor, source: torch.Tensor, source_real=None, target_real=None) -> torch.Tensor:
    """Logits of each target for the one source or its own; what is real may be given once for all rows."""
    source = source.expand(len(target), -1)
    every = torch.ones(1, 1, dtype=torch.bool)
    source_real, target_real = (every if real is None else real for real in (source_real, target_real))
    return model(source, target, source_real.expand_as(source), target_real.expand_as(target))


@pytest.mark.parametrize("length", [1, 2, CONTEXT])
def test_future_tokens_cannot_change_past_logits_and_every_earlier_token_in_reach_does(gpt, transformer, length):
    tokens = variants(torch.randint(11, (length,)))
    source = torch.randint(11, (1, 5))
    away = distances(length)
    seen = (away >= 0) & (away <= reach(gpt))
    for logits in (gpt(tokens), decoded(transformer, tokens, source)):
        found = changes(logits)
        assert (found[~seen] == 0.0).all()
        assert found[seen].min() > 1e-7


def test_no_weights_are_so_large_that_they_overcome_the_masks(gpt, transformer):
    with torch.no_grad():
        for model in (gpt, transformer):
            for parameter in model.parameters():
                parameter *= 100
    tokens, source = variants(torch.randint(11, (CONTEXT,))), torch.randint(11, (1, 5))
    future = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).tril(-1)
    for logits in (gpt(tokens), decoded(transformer, tokens, source)):
        assert (changes(logits)[future] == 0.0).all()
    real = torch.tensor([[True, True, True, False, False]])
    padded = torch.cat((source[:, :3], (source[:, 3:] + 1) % 11), 1)
    assert torch.equal(decoded(transformer, tokens, source, real), decoded(transformer, tokens, padded, real))


def test_the_sources_padding_changes_nothing_and_its_tokens_change_everything(transformer):
    sources, target = variants(torch.randint(11, (6,))), torch.randint(11, (1, 4)).expand(7, -1)
    real = some_real(transformer)
    found = changes(decoded(transformer, target, sources, real))
    assert (found[~real[0]] == 0.0).all()
    assert found[real[0]].min() > 1e-6


@pytest.mark.parametrize("padding", [1, 3])
def test_a_row_gives_the_same_alone_as_padded_to_the_length_of_others(gpt, transformer, padding: int):
    tokens, source = torch.randint(11, (1, 4)), torch.randint(11, (1, 4))
    zeros = torch.zeros(1, padding, dtype=torch.int64)
    padded, real = torch.cat((tokens, zeros), 1), (torch.arange(4 + padding) < 4)[None]
    same = {"atol": PADDED_TOLERANCE, "rtol": PADDED_TOLERANCE}
    torch.testing.assert_close(gpt(padded)[:, :4], gpt(tokens), **same)
    expected = decoded(transformer, tokens, source)
    both = decoded(transformer, padded, torch.cat((source, zeros), 1), real, real)[:, :4]
    torch.testing.assert_close(both, expected, **same)


def test_the_targets_padding_changes_no_real_tokens_logits(transformer):
    targets, source = variants(torch.randint(11, (6,))), torch.randint(11, (1, 5))
    real = some_real(transformer)
    found = changes(decoded(transformer, targets, source, None, real))
    assert (found[~real[0]][:, real[0]] == 0.0).all()
    assert found[0][real[0] & (torch.arange(6) <= reach(transformer))].min() > 0.0  # a real one does


def test_a_source_without_a_real_token_gives_finite_logits_and_gradients(transformer):
    source, target = torch.randint(11, (2, 5)), torch.randint(11, (2, 4))
    source_real = torch.tensor([[True] * 5, [False] * 5])
    target_real = torch.tensor([[True] * 4, [False] * 4])
    logits = transformer.train()(source, target, source_real, target_real)
    assert logits.isfinite().all()
    logits.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in transformer.parameters())


def test_rows_of_a_batch_do_not_see_each_other(gpt, transformer):
    tokens, source = torch.randint(11, (3, 6)), torch.randint(11, (3, 5))
    other, other_source = tokens.clone(), source.clone()
    other[1], other_source[1] = (tokens[1] + 1) % 11, (source[1] + 1) % 11
    pairs = (
        (gpt(tokens), gpt(other)),
        (
            decoded(transformer, tokens, source),
            decoded(transformer, other, other_source),
        ),
    )
    for before, after in pairs:
        assert ((before - after).abs().amax((1, 2)) > 0).tolist() == [False, True, False]


def test_the_encoder_sees_both_sides(transformer):
    sources = variants(torch.randint(11, (6,)))
    found = changes(transformer.encode(sources, torch.ones_like(sources, dtype=torch.bool)))
    edge = transformer.config.num_layers * (transformer.config.window - 1) if transformer.config.window else 6
    # n-grams look back only, so what comes later is seen as far as the windows reach
    seen = (-distances(6) <= edge) & (distances(6) <= reach(transformer))
    assert found[seen].min() > 0.0
    assert (found[~seen] == 0.0).all()


def test_the_order_of_tokens_matters_even_where_causality_does_not_tell_it(transformer):
    # without positions an encoder is blind to order: two tokens changing places, their vectors would change places
    source, swapped = torch.tensor([[1, 2, 3, 4]]), [1, 0, 2, 3]
    real = torch.ones_like(source, dtype=torch.bool)
    one, other = transformer.encode(source, real), transformer.encode(source[:, swapped], real)
    assert (one - other[:, swapped]).abs().amax(-1).min() > 2 * PADDED_TOLERANCE


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary", "alibi", "none"])
def test_positions_that_know_left_from_right_tell_an_encoder_a_text_from_its_reverse(tiny, positions: str):
    model, source = tiny("transformer", positions=positions), torch.tensor([[1, 2, 3, 4]])
    real = torch.ones_like(source, dtype=torch.bool)
    forwards, backwards = model.encode(source, real), model.encode(source.flip(1), real)
    blind = (forwards - backwards.flip(1)).abs().max() < PADDED_TOLERANCE
    assert blind == (positions in ("alibi", "none"))


def test_without_positions_a_causal_mask_tells_a_decoder_the_order(tiny):
    model, tokens = tiny("gpt", positions="none"), torch.tensor([[1, 2, 3, 4]])
    one, other = model(tokens), model(tokens[:, [1, 0, 2, 3]])
    assert (one - other)[:, 2:].abs().amax(-1).min() > 2 * PADDED_TOLERANCE
