from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from itertools import count, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clearformer.config import Config
from clearformer.data.tokenizers import BOS, EOS, PAD, UNK
from clearformer.engine import engine_of, open_engine
from clearformer.engines.tinygrad import adapter
from clearformer.errors import PromptError
from clearformer.generation.decoding import generate
from clearformer.generation.sampling import GREEDY, Sampler, Sampling, probabilities
from clearformer.generation.speculative import Draft, acceptance, residual

CONTEXT = 7
PROMPTS = [[5, 6, 7], [4], [9, 8]]
VARIED = {"positions": "rotary", "num_kv_heads": 1, "ngram_buckets": 13, "window": 3, "qk_norm": True}
VARIANTS = [{}, {"norm_order": "post", "positions": "sinusoidal"}, {"positions": "alibi"}, VARIED]

# sums of up to 8 products in float64, each rounded to 1e-16 of a number below 1
ALGEBRA_TOLERANCE = 1e-14
# float32 logits of scrambled models, summed in another order, as in test_cache.py
LOGIT_TOLERANCE = 2e-5


def generated(model: Any, prompts: list[list[int]], count: int, *args: Any, **kwargs: Any) -> list[list[int]]:
    """The new tokens of each row."""
    return [list(row) for row in zip(*generate(model, prompts, count, *args, **kwargs), strict=True)]


def often_right(model: Any) -> Any:
    """A copy that says the opposite in every third of its passes."""
    copy, passes = deepcopy(model), count()
    copy.output_projection.register_forward_hook(lambda _, __, logits: -logits if next(passes) % 3 == 2 else logits)
    return copy


@st.composite
def distributions(draw: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray]:
    """p and q over the same few tokens, with zeros."""
    size = draw(st.integers(1, 8))
    odds = st.lists(st.sampled_from([0.0, 0.0, 1e-9, 0.5, 1.0, 3.0]), min_size=size, max_size=size).filter(any)
    p, q = np.array([draw(odds)]), np.array([draw(odds)])
    return p / p.sum(), q / q.sum()


@given(distributions())
def test_accepted_and_replaced_tokens_together_have_the_targets_distribution(pair: tuple[np.ndarray, np.ndarray]):
    p, q = pair
    accepted = q * acceptance(p, q)
    rejected = 1.0 - accepted.sum()
    np.testing.assert_allclose(accepted + rejected * residual(p, q), p, rtol=0, atol=ALGEBRA_TOLERANCE)


@given(distributions())
def test_as_many_drafted_tokens_are_accepted_as_the_distributions_share(pair: tuple[np.ndarray, np.ndarray]):
    p, q = pair
    distance = np.abs(p - q).sum() / 2  # total variation; Leviathan et al. 2022, corollary 3.6
    assert (q * acceptance(p, q)).sum() == pytest.approx(1 - distance, abs=ALGEBRA_TOLERANCE)
    np.testing.assert_allclose(residual(p, q).sum(), 1, atol=ALGEBRA_TOLERANCE)


def test_the_rule_worked_by_hand():
    p, q = np.array([[0.5, 0.3, 0.2, 0.0]]), np.array([[0.25, 0.6, 0.0, 0.15]])
    np.testing.assert_allclose(acceptance(p, q), [[1, 0.5, 0, 0]])  # the third is never drafted
    np.testing.assert_allclose(residual(p, q), [[0.25 / 0.45, 0, 0.2 / 0.45, 0]])
    np.testing.assert_array_equal(residual(p, p), p)


@pytest.mark.parametrize("tokens", [1, 3, 8])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_greedy_tokens_are_those_without_a_draft(tiny, variant: dict[str, Any], tokens: int):
    model = tiny("gpt", **variant)
    draft = Draft(often_right(model), tokens)
    for prompts, new, slide in (([[5]], CONTEXT, False), ([[5] * CONTEXT], 1, False), (PROMPTS, 12, True)):
        expected = generated(model, prompts, new, GREEDY, slide=slide)
        assert generated(model, prompts, new, GREEDY, slide=slide, draft=draft) == expected
    assert draft.steps + draft.accepted == CONTEXT + 1 + 12
    assert 0 < draft.accepted < draft.drafted


@pytest.mark.parametrize("context", [1, 3, 20])
@pytest.mark.parametrize("cached", [True, False])
def test_a_draft_may_have_another_context(tiny, context: int, cached: bool):
    model, draft = tiny("gpt", 1), Draft(tiny("gpt", 2, context=context))
    for prompts in ([[5] * 12], PROMPTS):
        expected = generated(model, prompts, 12, GREEDY, slide=True)
        assert generated(model, prompts, 12, GREEDY, slide=True, cached=cached, draft=draft) == expected


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(), Sampling(top_k=3)], ids=str)
def test_a_draft_that_is_the_target_is_always_right(tiny, sampling: Sampling):
    model = tiny("gpt", context=40)
    draft = Draft(model, tokens=4)
    generated(model, [[5, 6, 7]], 30, sampling, draft=draft)
    assert (draft.steps, draft.drafted, draft.accepted) == (6, 24, 24)
    assert draft.tokens_per_step == 5.0


def test_a_draft_that_is_never_right_costs_a_step_per_token(tiny):
    model, wrong = tiny("gpt", context=40), tiny("gpt", context=40, tie_embeddings=False)
    likeliest = generated(model, [[5, 6, 7]], 12, GREEDY)
    with torch.no_grad():  # whatever is read, a token that the target does not write
        wrong.output_projection.weight.zero_()
    never = next(token for token in range(4, 11) if token not in likeliest[0])
    wrong.output_projection.register_forward_hook(
        lambda _, __, out: out + 9.0 * torch.nn.functional.one_hot(torch.tensor(never), out.shape[-1])
    )
    draft = Draft(wrong, tokens=3)
    lengths: list[int] = []
    model.embedding.register_forward_hook(lambda _, inputs, __: lengths.append(inputs[0].shape[1]))
    assert generated(model, [[5, 6, 7]], 12, GREEDY, draft=draft) == likeliest
    assert (draft.steps, draft.accepted) == (12, 0)
    assert draft.tokens_per_step == 1.0
    assert draft.drafted == 9 * 3 + 2 + 1  # never more than could still be used
    assert lengths == [6, *[4] * 8, 3, 2, 1]  # each rejected token is forgotten, and nothing else


def test_a_step_reads_only_what_is_new(tiny):
    model, helper = tiny("gpt", context=40), tiny("gpt", context=40)
    lengths: dict[str, list[int]] = {"target": [], "draft": []}
    for name, one in (("target", model), ("draft", helper)):
        one.embedding.register_forward_hook(lambda _, inputs, __, name=name: lengths[name].append(inputs[0].shape[1]))
    generated(model, [[5, 6, 7]], 8, GREEDY, draft=Draft(helper, 3))
    # the draft is right: 4 tokens a step, and it has not yet read the last two of a step when the next begins
    assert lengths == {"target": [6, 4], "draft": [3, 1, 1, 2, 1, 1]}


def exact(model: Any, prompt: list[int], count: int, sampling: Sampling) -> dict[tuple[int, ...], float]:
    """The probability of every continuation, from one full forward pass per prefix."""
    found: dict[tuple[int, ...], float] = {(): 1.0}
    for _ in range(count):
        longer = {}
        for tokens, so_far in found.items():
            logits = model(torch.tensor([[*prompt, *tokens]]))[:, -1].detach().numpy()
            logits[:, [PAD, BOS, EOS, UNK]] = -np.inf
            for token, p in enumerate(probabilities(logits, sampling)[0].tolist()):
                if p > 0:
                    longer[(*tokens, token)] = so_far * p
        found = longer
    return found


class EveryPath(Sampler):
    """In place of a random choice, all choices in turn: each run takes the next path, of this probability."""

    def __init__(self, *args: Any, path: list[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.path, self.taken, self.sizes, self.probability = path, 0, list[int](), 1.0

    def choose(self, p: list[float]) -> int:
        possible = [index for index, one in enumerate(p) if one > 0]
        self.path += [0] * (self.taken == len(self.path))
        index = possible[self.path[self.taken]]
        self.taken += 1
        self.sizes.append(len(possible))
        self.probability *= p[index]
        return index

    def draw(self, p: np.ndarray) -> np.ndarray:
        return np.array([self.choose(row) for row in p.tolist()])

    def uniform(self) -> Any:
        return Coins(self)


class Coins:
    """Numbers in [0, 1) of which only matters whether they are below others."""

    def __init__(self, sampler: EveryPath) -> None:
        self.sampler = sampler

    def __lt__(self, p: np.ndarray) -> np.ndarray:
        return np.array([self.sampler.choose([1 - one, one]) == 1 for one in p.tolist()])


def every_path(monkeypatch: pytest.MonkeyPatch, *args: Any, **kwargs: Any) -> dict[Any, float]:
    """The probability of everything that `generate` can return."""
    found: Counter[Any] = Counter()
    path: list[int] = []
    while True:
        samplers = []

        def sampler(*args: Any, path: list[int] = path, made: list[EveryPath] = samplers, **kwargs: Any) -> EveryPath:
            made.append(EveryPath(*args, path=path, **kwargs))
            return made[-1]

        monkeypatch.setattr("clearformer.generation.decoding.Sampler", sampler)
        rows = tuple(map(tuple, generated(*args, **kwargs)))
        found[rows] += samplers[0].probability
        sizes = samplers[0].sizes
        while path and path[-1] == sizes[len(path) - 1] - 1:
            path.pop()
        if not path:
            return dict(found)
        path[-1] += 1


@pytest.mark.parametrize(
    ("sampling", "tokens"),
    [(Sampling(), 1), (Sampling(temperature=1.5, top_k=2), 2), (Sampling(temperature=0.7, top_p=0.8), 3)],
    ids=str,
)
def test_sampled_tokens_have_the_distribution_they_have_without_a_draft(
    tiny, sampling: Sampling, tokens: int, monkeypatch: pytest.MonkeyPatch
):
    model, helper = (tiny("gpt", seed, vocab_size=UNK + 4) for seed in (1, 2))
    expected = exact(model, [5, 6], 3, sampling)
    found = every_path(monkeypatch, model, [[5, 6]], 3, sampling, draft=Draft(helper, tokens))
    assert {row: p for (row,), p in found.items()} == pytest.approx(expected, abs=LOGIT_TOLERANCE)


def test_rows_of_a_batch_have_their_distributions_and_are_independent(tiny, monkeypatch: pytest.MonkeyPatch):
    model, helper = (tiny("gpt", seed, vocab_size=UNK + 3) for seed in (1, 2))
    rows = [exact(model, prompt, 2, Sampling()) for prompt in ([4], [5, 4])]
    expected = {(one, two): rows[0][one] * rows[1][two] for one, two in product(*rows)}
    found = every_path(monkeypatch, model, [[4], [5, 4]], 2, Sampling(), draft=Draft(helper, 1))
    assert found == pytest.approx(expected, abs=LOGIT_TOLERANCE)


def test_random_numbers_of_drafting_judging_and_replacing_are_independent(tiny):
    model, helper = (tiny("gpt", seed, vocab_size=UNK + 4) for seed in (1, 2))
    expected, rows = exact(model, [5, 6], 2, Sampling()), 4000
    found = Counter(map(tuple, generated(model, [[5, 6]] * rows, 2, Sampling(), draft=Draft(helper, 1))))
    for tokens, p in expected.items():
        # five standard deviations of a share: a right sampler is farther off once in 2 million
        assert found[tokens] / rows == pytest.approx(p, abs=5 * (p * (1 - p) / rows) ** 0.5), tokens


def test_the_same_seed_gives_the_same_text_with_the_same_draft(tiny):
    model, helper = tiny("gpt", 1, context=60), tiny("gpt", 2, context=60)
    first, again, other = (
        generated(model, [[5]], 50, Sampling(temperature=3.0, seed=seed), draft=Draft(helper)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def model_of(engine: str, model: Any) -> Any:
    """The same model, of an engine."""
    if engine == "torch":
        return model
    twin = open_engine(engine).make_model(Config("none", model.config))
    open_engine(engine).load_weights(twin, engine_of(model).weights_of(model))
    return twin


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("engine", ["torch", "numpy", "c"])
def test_tokens_that_are_taken_back_leave_nothing_behind(tiny, engine: str, cached: bool, variant: dict[str, Any]):
    model = tiny("gpt", context=12, **variant)
    twin = model_of(engine, model)
    decoder = engine_of(twin).make_decoder(twin, PROMPTS, cached=cached)
    # read two, take back one of them and one before it that was read earlier, and so on; at the end none at once
    for added, taken in ((2, 0), (2, 3), (1, 1), (3, 2), (1, 0), (2, 2), (1, 0)):
        for number in range(added):
            decoder.append([4 + (number + row) % 7 for row in range(3)])
        found = decoder.logits(added)
        for row in range(3):
            whole = model(torch.tensor([decoder.rows[row]]))[0, -added:].detach().numpy()
            np.testing.assert_allclose(found[row], whole, atol=LOGIT_TOLERANCE * np.abs(whole).max())
        decoder.take_back(taken)


@pytest.mark.parametrize("pair", [("torch", "numpy"), ("numpy", "torch"), ("c", "c")], ids="-".join)
def test_target_and_draft_may_have_engines_of_their_own(tiny, pair: tuple[str, str]):
    model, helper = tiny("gpt", 1, positions="alibi"), tiny("gpt", 2, positions="alibi")
    target, draft = model_of(pair[0], model), Draft(model_of(pair[1], helper), 3)
    expected = generated(model, PROMPTS, 20, GREEDY, slide=True)
    assert generated(target, PROMPTS, 20, GREEDY, slide=True, draft=draft) == expected
    alone = Draft(helper, 3)
    assert generated(model, PROMPTS, 20, GREEDY, slide=True, draft=alone) == expected
    assert (draft.steps, draft.accepted) == (alone.steps, alone.accepted)


@pytest.mark.skipif(bool(reason := adapter.reason_to_skip()), reason=reason)
def test_an_engine_that_reads_one_token_a_step_is_refused_by_name(tiny):
    model = tiny("gpt")
    twin = model_of("tinygrad", model)
    for target, draft in ((model, twin), (twin, model)):
        with pytest.raises(PromptError) as refused:
            next(generate(target, [[5]], 3, GREEDY, draft=Draft(draft)))
        assert str(refused.value) == (
            "an engine that reads several tokens in one step (torch, numpy or c) was expected with --draft, found "
            "tinygrad; add --engine torch"
        )


@pytest.mark.parametrize("length", [1, 5, CONTEXT])
def test_a_full_context_raises_after_all_tokens_that_fit(tiny, length: int):
    tokens = generate(tiny("gpt"), [[5] * length], 100, GREEDY, draft=Draft(tiny("gpt")))
    fit = CONTEXT - length + 1  # the last token is generated, but never read
    for _ in range(fit):
        next(tokens)
    with pytest.raises(PromptError, match=f"the context of 7 tokens is full after {fit} of 100 new tokens"):
        next(tokens)


def test_a_draft_proposes_at_least_one_token(tiny):
    with pytest.raises(PromptError, match=r"^--draft-tokens must be 1 or more, found 0; raise it$"):
        Draft(tiny("gpt"), 0)
