import numpy as np
import pytest
import torch

from clearformer.data.tokenizers import BOS, EOS, PAD, UNK, train_tokenizer
from clearformer.errors import PromptError
from clearformer.generation.sampling import GREEDY, Sampler, Sampling
from clearformer.generation.translation import translate, translate_texts

CONTEXT = 7
VARIANTS = [{}, {"norm_order": "pre"}, {"positions": "learned"}, {"norm": "rms", "tie_embeddings": False}]
SOURCES = [[5, 6, 7], [4], [10, 9, 8, 7, 6, 5], [6, 6], [], [7, 4, 4, 5]]


def by_hand(model, sources: list[list[int]], sampling: Sampling = GREEDY) -> list[list[int]]:
    """Each source alone, one full forward pass per token."""
    targets, sampler = [[BOS] for _ in sources], Sampler(sampling, len(sources), suppressed=[PAD, BOS, UNK])
    for _ in range(CONTEXT):
        logits = []
        for source, target in zip(sources, targets, strict=True):
            tokens = torch.tensor([[*source, EOS]]), torch.tensor([target])
            with torch.no_grad():
                logits.append(model(*tokens, tokens[0] >= 0, tokens[1] >= 0)[0, -1].numpy())
        for target, token in zip(targets, sampler(np.stack(logits)), strict=True):
            target.append(int(token))
    return [target[1 : target.index(EOS) if EOS in target else None] for target in targets]


@pytest.fixture
def constant(tiny):
    """A model for which one token is always likeliest, and another second."""

    def make(likeliest: int, second: int):
        model = tiny("transformer", tie_embeddings=False)
        with torch.no_grad():
            norm = model.decoder.layers[-1].feed_forward_residual.norm
            norm.weight.zero_()  # the decoder's output is the bias, whatever its input
            norm.bias.fill_(1.0)
            model.output_projection.weight.zero_()
            model.output_projection.weight[likeliest] = 2.0
            model.output_projection.weight[second] = 1.0
        return model

    return make


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=2.0)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_batch_gives_what_each_source_gives_alone_by_full_forward_passes(tiny, variant: dict, sampling: Sampling):
    found = []
    for seed in range(3):
        model = tiny("transformer", seed, **variant)
        found += translate(model, SOURCES, sampling)
        assert found[-len(SOURCES) :] == by_hand(model, SOURCES, sampling)
    if sampling != GREEDY:
        assert len({len(target) for target in found}) > 2  # so rows did end at different steps


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_with_and_without_the_cache_the_targets_are_the_same(tiny, variant: dict):
    for seed in range(6):
        model, sampling = tiny("transformer", seed, **variant), Sampling(temperature=2.0, seed=seed)
        assert translate(model, SOURCES, sampling) == translate(model, SOURCES, sampling, cached=False)


def test_decoding_stops_when_all_rows_have_ended(constant):
    model, steps = constant(EOS, 5), []
    model.decoder.register_forward_hook(lambda *_: steps.append(1))
    assert translate(model, [[4], [5, 6]]) == [[], []]
    assert len(steps) == 1


@pytest.mark.parametrize("cached", [True, False])
def test_a_target_without_eos_is_as_long_as_the_context(constant, cached: bool):
    assert translate(constant(5, EOS), [[4], [5, 6]], cached=cached) == [[5] * CONTEXT] * 2


@pytest.mark.parametrize("special", [PAD, BOS, UNK])
def test_special_tokens_are_never_generated(constant, special: int):
    assert translate(constant(special, 6), [[4]]) == [[6] * CONTEXT]


def test_tokens_after_eos_are_dropped(tiny):
    for seed in range(6):
        for target in translate(tiny("transformer", seed), SOURCES, Sampling(temperature=3.0)):
            assert not {PAD, BOS, EOS, UNK} & set(target)


def test_a_source_must_leave_room_for_eos(tiny):
    model = tiny("transformer")
    with pytest.raises(PromptError) as error:
        translate(model, [[5], [5] * CONTEXT])
    assert str(error.value) == (
        "a source of fewer than 7 tokens was expected, the model's context, found 7; split it into sentences"
    )
    assert len(translate(model, [[5] * (CONTEXT - 1)])) == 1


def test_the_source_is_encoded_once(tiny):
    model, calls = tiny("transformer"), []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    translate(model, SOURCES, GREEDY)
    assert len(calls) == 1


def test_translated_texts_come_in_the_order_of_their_sources(tiny):
    tokenizer = train_tokenizer("character", ["abcdefg"], 11)
    assert tokenizer.vocab_size == 11
    model = tiny("transformer", 6, norm_order="pre")
    texts, progress = ["abcde", "a", "gfedcb", "cc"] * 30, []
    expected = list(map(tokenizer.decode, by_hand(model, [tokenizer.encode(text) for text in texts[:4]]))) * 30
    assert len(set(expected)) > 1
    assert translate_texts(model, tokenizer, texts, advance=lambda *done: progress.append(done)) == expected
    assert progress == [(100, 120), (120, 120)]
