import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearformer.errors import PromptError, TrainingError
from clearformer.generation.sampling import GREEDY, Sampler, Sampling, probabilities

P = [0.4, 0.1, 0.3, 0.2]
LOGITS = np.log(np.array([P]))


def distribution(sampling: Sampling, p: list[float] = P) -> list[float]:
    return probabilities(np.log(np.array([p])), sampling)[0].tolist()


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), P),
        (Sampling(temperature=0.5), [16 / 30, 1 / 30, 9 / 30, 4 / 30]),  # squares: 16, 1, 9, 4
        (Sampling(temperature=2.0, top_k=1), [1, 0, 0, 0]),
        (Sampling(top_k=2), [4 / 7, 0, 3 / 7, 0]),
        (Sampling(top_k=3), [4 / 9, 0, 3 / 9, 2 / 9]),
        (Sampling(top_k=4), P),
        (Sampling(top_k=99), P),
        (Sampling(top_p=0.01), [1, 0, 0, 0]),  # at least one is kept
        (Sampling(top_p=0.39), [1, 0, 0, 0]),
        (Sampling(top_p=0.41), [4 / 7, 0, 3 / 7, 0]),  # the token that crosses p is kept
        (Sampling(top_p=0.69), [4 / 7, 0, 3 / 7, 0]),
        (Sampling(top_p=0.71), [4 / 9, 0, 3 / 9, 2 / 9]),
        (Sampling(top_p=0.91), P),
        # top-p counts what top-k left: (4/7, 3/7), so 0.5 of it is the first and 0.6 needs both
        (Sampling(top_k=2, top_p=0.5), [1, 0, 0, 0]),
        (Sampling(top_k=2, top_p=0.6), [4 / 7, 0, 3 / 7, 0]),
        (Sampling(temperature=0.5, top_p=0.5), [1, 0, 0, 0]),  # after the temperature: 16/30 is enough
        (GREEDY, [1, 0, 0, 0]),
    ],
)
def test_probabilities_worked_by_hand(sampling: Sampling, expected: list[float]):
    assert distribution(sampling) == pytest.approx(expected, abs=1e-12)


def test_top_p_reached_exactly_needs_no_further_token():
    # powers of two, so that no sum is rounded
    p = [0.5, 0.25, 0.125, 0.125]
    assert distribution(Sampling(top_p=0.5), p) == pytest.approx([1, 0, 0, 0], abs=1e-12)
    assert distribution(Sampling(top_p=0.75), p) == pytest.approx([2 / 3, 1 / 3, 0, 0], abs=1e-12)


def test_ties_go_to_the_first():
    p = [0.2, 0.3, 0.3, 0.2]
    assert distribution(GREEDY, p) == [0, 1, 0, 0]
    assert distribution(Sampling(top_k=1), p) == [0, 1, 0, 0]
    assert distribution(Sampling(top_k=3), p) == pytest.approx([2 / 8, 3 / 8, 3 / 8, 0])
    assert distribution(Sampling(top_p=0.1), [0.25] * 4) == [1, 0, 0, 0]


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-310])
def test_a_temperature_near_zero_is_nearly_greedy_and_a_large_one_nearly_uniform(temperature: float):
    assert distribution(Sampling(temperature=temperature)) == pytest.approx([1, 0, 0, 0], abs=1e-12)
    assert distribution(Sampling(temperature=1e6)) == pytest.approx([0.25] * 4, abs=1e-5)


@given(
    # eighths, so that different logits have different probabilities
    logits=st.lists(st.integers(-1000, 1000).map(lambda number: number / 8), min_size=1, max_size=8),
    temperature=st.floats(0.01, 100),
    top_k=st.integers(0, 9),
    top_p=st.floats(0.01, 1.0),
)
def test_probabilities_are_a_distribution_over_the_likeliest(
    logits: list[float], temperature: float, top_k: int, top_p: float
):
    p = probabilities(np.array([logits]), Sampling(temperature, top_k, top_p))[0]
    assert p.sum() == pytest.approx(1.0)
    assert p[np.argmax(logits)] == p.max()
    assert np.count_nonzero(p) <= (top_k or len(logits))
    if not p.all():
        assert np.array(logits)[p > 0].min() >= np.array(logits)[p == 0].max()


def test_each_row_has_its_own_distribution():
    logits = np.log(np.array([P, P[::-1]]))
    both = probabilities(logits, Sampling(top_k=2))
    assert both[0].tolist() == pytest.approx(both[1, ::-1].tolist())
    assert both[0].tolist() == pytest.approx(distribution(Sampling(top_k=2)))


def draw(sampler: Sampler, steps: int, rows: int = 1) -> list[list[int]]:
    return [sampler(np.repeat(LOGITS, rows, axis=0)).tolist() for _ in range(steps)]


def test_a_seed_gives_the_same_tokens_and_another_seed_others():
    first, again, other = (draw(Sampler(Sampling(seed=seed), 1), 50) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_row_draws_the_same_whatever_the_rows_after_it():
    alone = [step[0] for step in draw(Sampler(Sampling(), 1), 50)]
    three = np.array(draw(Sampler(Sampling(), 3), 50, rows=3))
    assert three[:, 0].tolist() == alone
    assert (three[:, 0] != three[:, 1]).any()
    assert (three[:, 1] != three[:, 2]).any()


def test_a_rows_draw_does_not_depend_on_what_the_others_drew():
    logits = np.repeat(LOGITS, 2, axis=0)
    one, other = Sampler(Sampling(), 2), Sampler(Sampling(), 2)
    changed = np.stack((LOGITS[0, ::-1], LOGITS[0]))
    assert [one(logits)[1] for _ in range(50)] == [other(changed)[1] for _ in range(50)]


@pytest.mark.parametrize("sampling", [Sampling(seed=3), Sampling(seed=3, top_k=2), Sampling(seed=3, temperature=0.5)])
def test_token_frequencies_match_their_probabilities(sampling: Sampling):
    count = 4000
    drawn = np.array(draw(Sampler(sampling, 4), count // 4, rows=4)).ravel()
    for token, p in enumerate(distribution(sampling)):
        deviation = (p * (1 - p) / count) ** 0.5
        assert abs((drawn == token).mean() - p) <= 4 * deviation, token


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(), Sampling(top_k=1), Sampling(top_p=0.1)])
def test_suppressed_tokens_are_not_chosen_even_if_likeliest(sampling: Sampling):
    tokens = {token for step in draw(Sampler(sampling, 1, suppressed=[0, 2]), 200) for token in step}
    assert tokens == ({1, 3} if sampling == Sampling() else {3})


def test_the_callers_logits_are_left_as_they_are():
    logits = LOGITS.copy()
    Sampler(Sampling(), 1, suppressed=[0])(logits)
    np.testing.assert_array_equal(logits, LOGITS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temperature": -0.1}, r"--temperature must be 0 \(greedy\) or more, found -0.1"),
        ({"temperature": float("inf")}, r"--temperature must be 0 \(greedy\) or more, found inf"),
        ({"temperature": float("nan")}, r"--temperature must be 0 \(greedy\) or more, found nan"),
        ({"top_k": -1}, r"--top-k must be 0 \(all\) or more, found -1"),
        ({"top_p": 0.0}, "--top-p must be above 0 and at most 1, found 0.0"),
        ({"top_p": 1.1}, "--top-p must be above 0 and at most 1, found 1.1"),
        ({"seed": -1}, "--seed must be 0 or more, found -1"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_its_flag(changes: dict, message: str):
    with pytest.raises(PromptError, match=message):
        Sampling(**changes)


def test_nan_logits_raise_an_error():
    with pytest.raises(TrainingError, match="found NaN: the model diverged; train it anew"):
        Sampler(GREEDY, rows=1)(np.array([[0.0, np.nan, 1.0]]))
