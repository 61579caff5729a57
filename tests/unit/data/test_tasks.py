"""Generated tasks have correct targets, disjoint splits of the requested sizes, and are the same on every machine."""

from collections import Counter
from collections.abc import Callable

import pytest

from clearformer.data.corpora import Pair, PairCorpus, fingerprint
from clearformer.data.dates import dates
from clearformer.data.tasks import copy, reverse
from clearformer.errors import DataError

SMALL = (200, 20, 40)

Task = Callable[..., PairCorpus]


def pairs(corpus: PairCorpus) -> list[Pair]:
    return [*corpus.train, *corpus.validation, *corpus.test]


@pytest.fixture(scope="module")
def reversed_strings() -> PairCorpus:
    return reverse()


@pytest.fixture(scope="module")
def strings(reversed_strings: PairCorpus) -> list[str]:
    return [source for source, _ in pairs(reversed_strings)]


def test_reverse_mirrors_each_letter(reversed_strings: PairCorpus):
    for source, target in reversed_strings.train:
        assert len(target) == len(source)
        assert all(target[index] == source[-1 - index] for index in range(len(source)))


def test_copy_has_the_sources_of_reverse_as_sources_and_targets():
    assert pairs(copy(sizes=SMALL)) == [(source, source) for source, _ in pairs(reverse(sizes=SMALL))]


def test_strings_are_distinct_and_of_one_to_twenty_lower_case_letters(strings: list[str]):
    assert len(set(strings)) == len(strings)
    assert set("".join(strings)) == set("abcdefghijklmnopqrstuvwxyz")
    assert {len(text) for text in strings} == set(range(1, 21))


def test_lengths_are_uniform_in_every_split(strings: list[str], reversed_strings: PairCorpus):
    # There are 26 strings of one letter and 676 of two; the other 20,800 are shared by 18 lengths, 1,155 each at most.
    counts = Counter(map(len, strings))
    assert counts[1] <= 26
    assert counts[2] <= 676
    assert all(1_000 < counts[length] < 1_300 for length in range(3, 21))
    # A split of only what was drawn last would have next to no source of two letters: the test split's share is 3 %.
    assert sum(len(source) == 2 for source, _ in reversed_strings.test) >= 15


@pytest.mark.parametrize(("task", "sizes"), [(reverse, (20_000, 500, 1_000)), (dates, (40_000, 500, 1_000))])
def test_the_default_sizes(task: Task, sizes: tuple[int, int, int]):
    corpus = task()
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == sizes


@pytest.mark.parametrize("task", [reverse, copy, dates])
def test_a_corpus_has_the_requested_sizes_and_depends_on_its_seed_alone(task: Task):
    corpus = task(seed=3, sizes=SMALL)
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == SMALL
    assert corpus == task(seed=3, sizes=SMALL)
    assert corpus != task(seed=4, sizes=SMALL)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (reverse, "82c34921843bbb9576b06560e0be18184424e5c9f4522f0b2a6426301df7c38b"),
        (dates, "880b2841d2407120c3c2ad346da534dfa8eb1b99411c2d0dbec27c937ee9e87a"),
    ],
)
def test_every_machine_generates_the_corpus_committed_here(task: Task, expected: str):
    assert fingerprint(task(sizes=SMALL)) == expected


@pytest.mark.parametrize("task", [reverse, dates])
@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-9, 1, 1)])
def test_an_empty_split_is_refused(task: Task, sizes: tuple[int, int, int]):
    words = rf"every split of a generated task needs at least 1 pair, found sizes \({sizes[0]}, .*; raise the smallest"
    with pytest.raises(DataError, match=words):
        task(sizes=sizes)
