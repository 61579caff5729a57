"""Future tokens, padding and other rows have no effect at all, whatever the weights."""

import pytest
import torch

CONTEXT = 7
# float32 matrices of another shape, so sums in another order: 1.2e-7 seen, relative to 1 + the value
PADDED_TOLERANCE = 1e-5


@pytest.fixture
def gpt(variant, tiny):
    return tiny("gpt", **variant)


@pytest.fixture
def transformer(variant, tiny):
    return tiny("transformer", **variant)


@pytest.fixture
def source() -> torch.Tensor:
    return torch.randint(11, (1, 5))


def some_real(model) -> torch.Tensor:
    """Six tokens with padding at the end; also in the middle, unless n-grams or windows count positions."""
    at_end = model.config.ngram_buckets or model.config.window
    return torch.tensor([[True, bool(at_end), True, True, False, False]])


def decoder(model, source: torch.Tensor, source_real=None, target_real=None):
    """target -> logits, for one source or one per target; masks default to no padding."""

    def full(real: torch.Tensor | None, tokens: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(tokens, dtype=torch.bool) if real is None else real.expand_as(tokens)

    def logits(target: torch.Tensor) -> torch.Tensor:
        sources = source.expand(len(target), -1)
        return model(sources, target, full(source_real, sources), full(target_real, target))

    return logits


def encode(model, source: torch.Tensor) -> torch.Tensor:
    return model.encode(source, torch.ones_like(source, dtype=torch.bool))


@pytest.mark.parametrize("length", [1, 2, CONTEXT])
def test_future_tokens_cannot_change_past_logits_and_every_earlier_token_in_reach_does(
    gpt, transformer, source, influence, in_reach, length: int
):
    tokens, reached = torch.randint(11, (length,)), in_reach(gpt.config, length, causal=True)
    for logits in (gpt, decoder(transformer, source)):
        effect = influence(logits, tokens)
        assert (effect[~reached] == 0.0).all()
        assert effect[reached].min() > 1e-7


def test_no_weights_are_large_enough_to_overcome_the_masks(gpt, transformer, source, influence):
    with torch.no_grad():
        for parameter in (*gpt.parameters(), *transformer.parameters()):
            parameter *= 100
    tokens = torch.randint(11, (CONTEXT,))
    for logits in (gpt, decoder(transformer, source)):
        assert not influence(logits, tokens).tril(-1).any()
    real = torch.tensor([[True, True, True, False, False]])
    padded = torch.where(real, source, (source + 1) % 11)
    one, other = (decoder(transformer, each, real)(tokens[None]) for each in (source, padded))
    assert torch.equal(one, other)


def test_padding_of_the_source_has_no_effect_and_each_of_its_tokens_has_one(transformer, influence):
    target, real = torch.randint(11, (1, 4)).expand(7, -1), some_real(transformer)
    effect = influence(lambda sources: decoder(transformer, sources, real)(target), torch.randint(11, (6,)))
    assert (effect[~real[0]] == 0.0).all()
    assert effect[real[0]].min() > 1e-6


@pytest.mark.parametrize("padding", [1, 3])
def test_a_row_gives_the_same_logits_alone_as_padded(gpt, transformer, padding: int):
    tokens, source = torch.randint(11, (2, 1, 4))
    padded, padded_source = (torch.nn.functional.pad(each, (0, padding)) for each in (tokens, source))
    real = (torch.arange(4 + padding) < 4)[None]
    for logits, alone in (
        (gpt(padded), gpt(tokens)),
        (decoder(transformer, padded_source, real, real)(padded), decoder(transformer, source)(tokens)),
    ):
        torch.testing.assert_close(logits[:, :4], alone, atol=PADDED_TOLERANCE, rtol=PADDED_TOLERANCE)


def test_padding_of_the_target_changes_no_real_tokens_logits(transformer, source, influence, in_reach):
    real = some_real(transformer)
    effect = influence(decoder(transformer, source, None, real), torch.randint(11, (6,)))
    assert (effect[~real[0]][:, real[0]] == 0.0).all()
    assert effect[0][real[0] & in_reach(transformer.config, 6, causal=True)[0]].min() > 0.0  # a real one does


def test_a_source_of_padding_alone_gives_finite_logits_and_gradients(transformer):
    source, target = torch.randint(11, (2, 5)), torch.randint(11, (2, 4))
    no_padding_and_all = torch.tensor([[True], [False]])
    logits = transformer.train()(source, target, no_padding_and_all.expand(2, 5), no_padding_and_all.expand(2, 4))
    assert logits.isfinite().all()
    logits.square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in transformer.parameters())


def test_rows_of_a_batch_do_not_affect_each_other(gpt, transformer):
    tokens, sources = torch.randint(11, (3, 6)), torch.randint(11, (3, 5))
    second = torch.tensor([[0], [1], [0]])
    others, other_sources = (tokens + second) % 11, (sources + second) % 11
    for before, after in (
        (gpt(tokens), gpt(others)),
        (decoder(transformer, sources)(tokens), decoder(transformer, other_sources)(others)),
    ):
        assert (before != after).any(-1).any(-1).tolist() == [False, True, False]


def test_every_token_in_reach_affects_the_encoders_output_on_both_sides(transformer, influence, in_reach):
    effect = influence(lambda tokens: encode(transformer, tokens), torch.randint(11, (6,)))
    reached = in_reach(transformer.config, 6, causal=False)
    assert effect[reached].min() > 0.0
    assert (effect[~reached] == 0.0).all()


def test_the_encoder_depends_on_the_order_of_tokens(transformer):
    # without positions, swapping two tokens would only swap their vectors
    source, swapped = torch.tensor([[1, 2, 3, 4]]), [1, 0, 2, 3]
    one, other = encode(transformer, source), encode(transformer, source[:, swapped])
    assert (one - other[:, swapped]).abs().amax(-1).min() > 2 * PADDED_TOLERANCE


@pytest.mark.parametrize("positions", ["sinusoidal", "learned", "rotary", "alibi", "relative", "none"])
def test_an_encoder_distinguishes_a_text_from_its_reverse_unless_positions_ignore_direction(tiny, positions: str):
    model, source = tiny("transformer", positions=positions), torch.tensor([[1, 2, 3, 4]])
    forwards, backwards = encode(model, source), encode(model, source.flip(1))
    only_reversed = (forwards - backwards.flip(1)).abs().max() < PADDED_TOLERANCE
    assert only_reversed == (positions in ("alibi", "none"))


def test_a_decoder_without_positions_knows_the_order_from_the_causal_mask(tiny):
    model, tokens = tiny("gpt", positions="none"), torch.tensor([[1, 2, 3, 4]])
    one, other = model(tokens), model(tokens[:, [1, 0, 2, 3]])
    assert (one - other)[:, 2:].abs().amax(-1).min() > 2 * PADDED_TOLERANCE
