"""Beam search equals brute force where the beam is as wide as the tree, and a plain search in lists where it is not."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clearformer.data.tokenizers import BOS, EOS, PAD, UNK, train_tokenizer
from clearformer.errors import PromptError, TrainingError
from clearformer.generation.beam import Beam, Hypothesis, beam_search
from clearformer.generation.translation import n_best_texts, translate, translate_texts

# float32 log-probabilities of up to 7 tokens: at most 1.8e-6 nats over 2,100 searches, times ten
TOLERANCE = 2e-5

CONTEXT = 7
VARIANTS = [{}, {"positions": "rotary", "num_kv_heads": 1}, {"norm_order": "pre", "window": 3}, {"ngram_buckets": 50}]
SOURCES = [[5, 6, 7], [4], [10, 9, 8, 7, 6, 5], [6, 6], [], [7, 4, 4, 5]]
BEAMS = [Beam(2), Beam(4, 0.6, 4), Beam(3, 0.0, 2), Beam(6, 3.0, 1)]


@torch.no_grad()
def log_p(model, source: list[int], targets: list[list[int]]) -> torch.Tensor:
    """Log-probabilities of all tokens at each position of targets of equal length, by one full forward pass."""
    tokens = torch.tensor([[*source, EOS]] * len(targets)), torch.tensor([[BOS, *target[:-1]] for target in targets])
    return model(*tokens, tokens[0] >= 0, tokens[1] >= 0).double().log_softmax(-1)


def totals(model, source: list[int], targets: list[list[int]]) -> list[tuple[list[int], float]]:
    """Targets of equal length, each with its log-probability."""
    of_tokens = log_p(model, source, targets).gather(-1, torch.tensor(targets)[..., None])
    return list(zip(targets, of_tokens.sum((1, 2)).tolist(), strict=True))


def search_in_lists(model, source: list[int], beam: Beam) -> list[tuple[list[int], float, float]]:
    """Beam search one hypothesis at a time, without a cache or early stopping."""
    config, open_, finished = model.config, [([], 0.0)], []
    limit = min(config.context, len(source) + 50)
    while open_:
        longer = []
        for tokens, so_far in open_:
            last = log_p(model, source, [[*tokens, PAD]])[0, -1].tolist()
            longer += [([*tokens, v], so_far + last[v]) for v in range(config.vocab_size) if v not in (PAD, BOS, UNK)]
        longer.sort(key=lambda one: -one[1])
        kept, open_ = longer[: beam.size - len(finished)], []
        for tokens, total in kept:
            ended = tokens[-1] == EOS or len(tokens) == limit
            (finished if ended else open_).append((tokens, total))
    return ranked(finished, beam)


def ranked(targets: list[tuple[list[int], float]], beam: Beam) -> list[tuple[list[int], float, float]]:
    """Tokens without EOS, log-probability and score, best first; EOS counts in the length."""
    scored = [
        ([token for token in tokens if token != EOS], total, total / ((5 + len(tokens)) / 6) ** beam.length_penalty)
        for tokens, total in targets
    ]
    return sorted(scored, key=lambda one: -one[2])[: beam.n_best]


def assert_same(found: list[Hypothesis], expected: list[tuple[list[int], float, float]]) -> None:
    assert [one.tokens for one in found] == [tokens for tokens, _, _ in expected]
    numbers = [[one.log_probability, one.score] for one in found]
    np.testing.assert_allclose(numbers, [numbers for _, *numbers in expected], atol=TOLERANCE, rtol=0)


@pytest.fixture
def constant(tiny):
    """A model with constant token probabilities, whatever its input; other tokens share the rest."""

    def make(likely: dict[int, float], **changes):
        model = tiny("transformer", tie_embeddings=False, **changes)
        rest = (1 - sum(likely.values())) / (11 - len(likely))
        with torch.no_grad():
            norm = model.decoder.layers[-1].feed_forward_residual.norm
            norm.weight.zero_()  # the decoder's output is the bias, whatever its input: eight ones
            norm.bias.fill_(1.0)
            p = torch.tensor([likely.get(token, rest) for token in range(11)])
            model.output_projection.weight.copy_((p.log() / 8)[:, None].expand(-1, 8))
        return model

    return make


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_as_wide_as_the_tree_finds_what_brute_force_finds(tiny, seed: int):
    model, source, words = tiny("transformer", seed, vocab_size=8, context=4), [5, 6], [4, 5, 6, 7]
    targets = totals(model, source, list(map(list, itertools.product(words, repeat=4))))  # cut at the context
    for length in range(4):
        targets += totals(model, source, [[*words, EOS] for words in itertools.product(words, repeat=length)])
    assert len(targets) == 256 + 1 + 4 + 16 + 64
    for length_penalty, n_best in itertools.product((0.0, 0.6, 3.0), (1, 7, len(targets))):
        beam = Beam(len(targets), length_penalty, n_best)
        assert_same(beam_search(model, [source], beam)[0], ranked(targets, beam))


@pytest.mark.slow
@settings(max_examples=20)
@given(
    sources=st.lists(st.lists(st.integers(UNK, 10), max_size=CONTEXT - 1), min_size=1, max_size=3),
    variant=st.sampled_from(VARIANTS),
    size=st.integers(1, 5),
    length_penalty=st.sampled_from([0.0, 0.6, 1.0, 3.0]),
    cached=st.booleans(),
    data=st.data(),
)
def test_a_batch_gives_what_a_plain_search_gives_for_each_source(
    tiny, sources, variant, size: int, length_penalty: float, cached: bool, data
):
    model = tiny("transformer", data.draw(st.integers(0, 2**31)), **variant)
    beam = Beam(size, length_penalty, data.draw(st.integers(1, size)))
    for source, found in zip(sources, beam_search(model, sources, beam, cached=cached), strict=True):
        assert_same(found, search_in_lists(model, source, beam))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_hypotheses_are_the_same_batched_and_alone_with_and_without_the_cache(tiny, variant: dict):
    lengths = set()
    for seed, beam in enumerate(BEAMS):
        model = tiny("transformer", seed, **variant)
        together = beam_search(model, SOURCES, beam)
        for others in (
            beam_search(model, SOURCES, beam, cached=False),
            [beam_search(model, [source], beam)[0] for source in SOURCES],
        ):
            for found, other in zip(together, others, strict=True):
                assert_same(found, [(one.tokens, one.log_probability, one.score) for one in other])
        lengths |= {len(one.tokens) for found in together for one in found}
    assert len(lengths) > 3  # so hypotheses did end at different steps


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 3.0])
def test_a_beam_of_one_is_greedy_decoding(tiny, variant: dict, length_penalty: float):
    for seed in range(6):
        model = tiny("transformer", seed, **variant)
        found = beam_search(model, SOURCES, Beam(1, length_penalty))
        assert [one.tokens for (one,) in found] == translate(model, SOURCES)


def test_ties_go_to_the_first(constant):
    model = constant({}, context=3)  # all equally likely: EOS is the first that is permitted, then 4, 5 and 6
    assert beam_search(model, [[5]], Beam(1))[0][0].tokens == translate(model, [[5]])[0] == []
    # EOS leaves slots for 4, 5 and 6; what follows 4 comes before what follows 5: EOS, 4 4 and 4 5; and so on
    found = beam_search(model, [[5]], Beam(4, n_best=4))[0]
    assert sorted(one.tokens for one in found) == [[], [4], [4, 4], [4, 4, 4]]


def test_the_length_penalty_worked_by_hand():
    assert Beam(length_penalty=0.0).penalty(np.array([1, 50])).tolist() == [1.0, 1.0]
    assert Beam(length_penalty=1.0).penalty(np.array([1, 7, 13])).tolist() == [1.0, 2.0, 3.0]
    assert Beam(length_penalty=0.5).penalty(np.array([19])).tolist() == [2.0]
    assert Beam(length_penalty=0.6).penalty(np.array([7])).item() == pytest.approx(1.5157, abs=1e-4)  # 2^0.6
    assert Beam(length_penalty=1e300).penalty(np.array([7])).item() == math.inf  # without a warning


def test_a_larger_penalty_lets_a_longer_target_win_worked_by_hand(constant):
    # EOS 0.3, a word 0.6; a target truncated at 7 tokens does not include EOS
    model = constant({EOS: 0.3, 5: 0.6})
    whole = 7 * math.log(0.6)
    for length_penalty, tokens, total, score in (
        (0.0, [], math.log(0.3), math.log(0.3)),  # 0.3 against 0.6^7
        (1.0, [], math.log(0.3), math.log(0.3)),  # -1.204 against -3.576 / 2
        (2.0, [5] * 7, whole, whole / 4),  # -1.204 against -3.576 / 4
    ):
        (found,) = beam_search(model, [[4]], Beam(2, length_penalty))[0]
        assert found.tokens == tokens
        assert [found.log_probability, found.score] == pytest.approx([total, score], abs=TOLERANCE)


def test_eos_counts_in_the_probability_and_the_length(constant):
    (found,) = beam_search(constant({EOS: 0.01, 5: 0.98}, context=2), [[4]], Beam(3, 1.0, 3))
    # 5 5 is truncated; 5 and EOS are two tokens as well; EOS alone is one
    expected = [([5, 5], 2 * math.log(0.98), 7 / 6), ([5], math.log(0.98 * 0.01), 7 / 6), ([], math.log(0.01), 1)]
    assert_same(found, [(tokens, total, total / penalty) for tokens, total, penalty in expected])


def test_the_search_stops_as_soon_as_no_open_hypothesis_can_win_and_not_before(constant):
    steps: list[int] = []

    def count(model, beam: Beam) -> int:
        steps.clear()
        hook = model.decoder.register_forward_hook(lambda *_: steps.append(1))
        beam_search(model, [[4]], beam)
        hook.remove()
        return len(steps)

    # EOS 0.8 has score -0.22; a word 0.15 will have at best -1.90 / 2^0.6, if all that follows is certain
    assert count(constant({EOS: 0.8, 5: 0.15}), Beam(2)) == 1
    # -1.14 against at best -0.45 / 2: after 1, 2, 3, 4, 5 words 0.64, 0.41, 0.26, 0.17, 0.11, which is -2.23 / 2
    assert count(constant({EOS: 0.32, 5: 0.64}), Beam(2, 1.0)) == 6
    # two are wanted, and the second ends in the second step: 0.8 · 0.15 is -2.12 / 1.1; two words reach -3.79 / 1.5
    assert count(constant({EOS: 0.8, 5: 0.15}), Beam(3, 0.6, 2)) == 2


def test_a_finished_source_takes_no_more_rows(tiny):
    model, rows = tiny("transformer", 3, norm_order="pre"), []
    model.decoder.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))

    def rows_per_step(sources: list[list[int]]) -> list[int]:
        rows.clear()
        beam_search(model, sources, Beam(4))
        return list(rows)

    alone = [rows_per_step([source]) for source in SOURCES]
    assert len({len(steps) for steps in alone}) > 1
    assert rows_per_step(SOURCES) == [sum(step) for step in itertools.zip_longest(*alone, fillvalue=0)]


@pytest.mark.parametrize(("context", "source", "longest"), [(CONTEXT, [4], CONTEXT), (60, [4] * 3, 53)])
def test_a_target_without_eos_is_truncated_at_its_limit(constant, context: int, source: list[int], longest: int):
    found = beam_search(constant({EOS: 1e-9, 5: 0.99}, context=context), [source], Beam(2, 1.0))[0][0]
    assert found.tokens == [5] * longest
    assert found.log_probability == pytest.approx(longest * math.log(0.99), abs=TOLERANCE)
    assert found.score == pytest.approx(longest * math.log(0.99) * 6 / (5 + longest), abs=TOLERANCE)


def test_every_source_of_a_batch_has_its_own_limit(constant):
    found = beam_search(constant({EOS: 1e-9, 5: 0.99}, context=60), [[4] * 5, [4], [4] * 3], Beam(2))
    assert [len(best.tokens) for (best,) in found] == [55, 51, 53]


def test_special_tokens_are_never_generated_but_keep_their_probability(constant):
    model = constant({PAD: 0.3, BOS: 0.3, UNK: 0.3, 6: 0.05, EOS: 1e-9})
    (found,) = beam_search(model, [[4]], Beam(2, 0.6, 2))
    assert not {PAD, BOS, UNK, EOS} & {token for one in found for token in one.tokens}
    assert found[0].tokens == [6] * CONTEXT
    assert found[0].log_probability == pytest.approx(CONTEXT * math.log(0.05), abs=TOLERANCE)


@pytest.mark.parametrize("n_best", [1, 3, 6])
def test_the_n_best_are_sorted_and_distinct(tiny, n_best: int):
    for found in beam_search(tiny("transformer", 2), SOURCES, Beam(6, 0.6, n_best)):
        assert len(found) == n_best
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        assert len({tuple(one.tokens) for one in found}) == n_best


def test_there_are_no_more_hypotheses_than_targets(tiny):
    # one token: EOS, or one of four words
    (found,) = beam_search(tiny("transformer", vocab_size=8, context=1), [[]], Beam(20, 0.6, 20))
    assert sorted(one.tokens for one in found) == [[], [4], [5], [6], [7]]


def test_a_diverged_model_raises_an_error(constant):
    model = constant({EOS: 0.5})
    with torch.no_grad():
        model.output_projection.weight[7, 0] = math.nan
    with pytest.raises(TrainingError, match="found NaN or infinity: the model diverged; train it anew"):
        beam_search(model, [[4]], Beam(2))


def test_a_source_longer_than_the_context_is_refused(tiny):
    with pytest.raises(PromptError, match="a source of fewer than 7 tokens was expected, the model's context, found 7"):
        beam_search(tiny("transformer"), [[5], [5] * CONTEXT], Beam(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, r"--beam must be 1 \(greedy\) or more, found 0"),
        ({"length_penalty": -0.1}, r"--length-penalty must be 0 \(none\) or more, found -0.1"),
        ({"length_penalty": math.inf}, r"--length-penalty must be 0 \(none\) or more, found inf"),
        ({"length_penalty": math.nan}, r"--length-penalty must be 0 \(none\) or more, found nan"),
        ({"n_best": 0}, r"--n-best must be at least 1 and at most --beam \(4\), found 0"),
        ({"n_best": 5}, r"--n-best must be at least 1 and at most --beam \(4\), found 5"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_flag(changes: dict, message: str):
    with pytest.raises(PromptError, match=message):
        Beam(**changes)


def test_the_model_reads_one_token_per_step_with_the_cache(tiny):
    model, lengths = tiny("transformer"), []
    model.decoder.register_forward_hook(lambda _, inputs, __: lengths.append(inputs[0].shape[1]))
    beam_search(model, SOURCES, Beam(4, 0.6, 4))
    assert set(lengths) == {1}
    assert len(lengths) > 2


def test_the_cache_is_no_longer_than_the_longest_target(tiny, monkeypatch: pytest.MonkeyPatch):
    model, lengths = tiny("transformer", context=200), set()
    decode = model.decode
    monkeypatch.setattr(
        model, "decode", lambda *args, cache: lengths.add(cache.layers[0].keys.shape[2]) or decode(*args, cache=cache)
    )
    beam_search(model, [[4] * 5, [4]], Beam(2))
    assert lengths == {55}


def test_texts_come_in_the_order_of_their_sources_with_their_hypotheses(tiny):
    tokenizer = train_tokenizer("character", ["abcdefg"], 11)
    model, beam, texts = tiny("transformer", 6, norm_order="pre"), Beam(4, 0.6, 3), ["abcde", "a", "gfedcb", "cc"]
    searched = beam_search(model, [tokenizer.encode(text) for text in texts], beam)
    expected = [[(tokenizer.decode(one.tokens), one.score) for one in found] for found in searched]
    found = n_best_texts(model, tokenizer, texts * 30, beam)
    for i, hypotheses in enumerate(found):
        assert [one.text for one in hypotheses] == [text for text, _ in expected[i % 4]]
        assert [one.score for one in hypotheses] == pytest.approx([score for _, score in expected[i % 4]], abs=1e-4)
    assert len({found[i][0].text for i in range(4)}) > 1
    assert translate_texts(model, tokenizer, texts, beam) == [hypotheses[0].text for hypotheses in found[:4]]
    greedy = [tokenizer.decode(target) for target in translate(model, [tokenizer.encode(text) for text in texts])]
    assert translate_texts(model, tokenizer, texts) == translate_texts(model, tokenizer, texts, Beam(1)) == greedy
