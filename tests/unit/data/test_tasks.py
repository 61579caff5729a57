from collections import Counter

import pytest

from clearformer.data.corpora import PairCorpus, fingerprint
from clearformer.data.tasks import copy, reverse
from clearformer.errors import DataError

SMALL = (200, 20, 40)


def sources(corpus: PairCorpus) -> list[str]:
    return [source for part in (corpus.train, corpus.validation, corpus.test) for source, _ in part]


@pytest.fixture(scope="module")
def reversed_strings() -> PairCorpus:
    return reverse()


def test_the_target_of_reverse_has_each_letter_at_the_mirrored_place(reversed_strings: PairCorpus):
    for source, target in reversed_strings.train:
        assert len(target) == len(source)
        assert all(target[place] == source[-1 - place] for place in range(len(source)))


def test_the_target_of_copy_is_its_source_and_the_sources_are_those_of_reverse():
    corpus = copy(sizes=SMALL)
    assert all(source == target for source, target in corpus.train + corpus.validation + corpus.test)
    assert sources(corpus) == sources(reverse(sizes=SMALL))


def test_no_source_comes_twice_within_or_across_splits(reversed_strings: PairCorpus):
    assert max(Counter(sources(reversed_strings)).values()) == 1


def test_the_splits_have_the_sizes_asked_for(reversed_strings: PairCorpus):
    splits = (reversed_strings.train, reversed_strings.validation, reversed_strings.test)
    assert tuple(map(len, splits)) == (20_000, 500, 1_000)
    corpus = reverse(sizes=SMALL)
    assert (len(corpus.train), len(corpus.validation), len(corpus.test)) == SMALL


def test_sources_are_one_to_twenty_lower_case_letters(reversed_strings: PairCorpus):
    texts = sources(reversed_strings)
    assert set("".join(texts)) == set("abcdefghijklmnopqrstuvwxyz")
    assert {len(text) for text in texts} == set(range(1, 21))


def test_lengths_are_even_in_every_split(reversed_strings: PairCorpus):
    # There are 26 strings of one letter and 676 of two; the other 20,800 are shared by 18 lengths, 1,155 each at most.
    counts = Counter(map(len, sources(reversed_strings)))
    assert counts[1] <= 26
    assert counts[2] <= 676
    assert all(1_000 < counts[length] < 1_300 for length in range(3, 21))
    # A split that got only what was drawn last would have next to no source of two letters: the test's share is 3 %.
    assert sum(len(source) == 2 for source, _ in reversed_strings.test) >= 15


@pytest.mark.parametrize("task", [reverse, copy])
def test_a_corpus_depends_on_its_seed_alone(task):
    assert task(seed=3, sizes=SMALL) == task(seed=3, sizes=SMALL)
    assert task(seed=3, sizes=SMALL) != task(seed=4, sizes=SMALL)


def test_every_machine_draws_the_strings_committed_here():
    assert fingerprint(reverse(sizes=SMALL)) == "82c34921843bbb9576b06560e0be18184424e5c9f4522f0b2a6426301df7c38b"


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-9, 1, 1)])
def test_a_split_without_a_pair_is_refused(sizes: tuple[int, int, int]):
    with pytest.raises(DataError, match="every split of a generated task needs at least 1 pair, found sizes"):
        reverse(sizes=sizes)
