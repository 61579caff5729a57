"""A corpus is found by name or in files, or the error says what there is; its fingerprint misses no change."""

import gzip
import itertools
from pathlib import Path

import pytest

from clearformer.data import load
from clearformer.data.corpora import PairCorpus, TextCorpus, fingerprint
from clearformer.data.load import load_corpus
from clearformer.errors import DataError

TEXT = "To be, or not to be: that is the question.\n" * 10
PAIRS = [(f"source {number}", f"target {number}") for number in range(400)]


def write(path: Path, text: str) -> str:
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return str(path)


def sources(path: Path) -> str:
    return write(path, "".join(f"{source}\n" for source, _ in PAIRS))


def targets(path: Path) -> str:
    return write(path, "".join(f"{target}\n" for _, target in PAIRS))


def everything(corpus: TextCorpus | PairCorpus) -> list[tuple[str, str]]:
    assert isinstance(corpus, PairCorpus)
    return sorted([*corpus.train, *corpus.validation, *corpus.test])


def test_built_in_tasks_are_found_by_name():
    reverse, copy = load_corpus("reverse"), load_corpus("copy")
    assert (reverse.name, reverse.kind, copy.name) == ("reverse", "pairs", "copy")
    assert all(target == source[::-1] for source, target in everything(reverse))
    assert all(target == source for source, target in everything(copy))


def test_other_names_are_refused_with_those_there_are():
    words = r"a corpus named dates, reverse, copy, pydocs, tinyshakespeare, multi30k was expected, found 'revers'"
    with pytest.raises(DataError, match=words):
        load_corpus("revers")


def test_a_download_is_fetched_and_read_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "tinyshakespeare.txt", TEXT)
    asked = []
    monkeypatch.setattr(load, "fetch", lambda download, **_: asked.append(download) or tmp_path)
    corpus = load_corpus("tinyshakespeare")
    assert asked == [load.DOWNLOADS["tinyshakespeare"]]
    assert corpus == load_corpus("tinyshakespeare", (str(tmp_path),))
    assert isinstance(corpus, TextCorpus)
    assert corpus.train + corpus.validation == TEXT


def test_a_folder_for_a_download_keeps_its_splits(tmp_path: Path):
    for split, word in {"train": "t", "val": "v", "test_2016_flickr": "f"}.items():
        write(tmp_path / f"{split}.de.gz", f"{word} deutsch\n")
        write(tmp_path / f"{split}.en.gz", f"{word} english\n")
    corpus = load_corpus("multi30k", (str(tmp_path),))
    assert isinstance(corpus, PairCorpus)
    assert (corpus.train, corpus.validation, corpus.test) == (
        [("t deutsch", "t english")],
        [("v deutsch", "v english")],
        [("f deutsch", "f english")],
    )


def test_a_folder_without_a_download_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"a file was expected for mine, found the folder .*; give --data a file in it"):
        load_corpus("mine", (str(tmp_path),))


def test_a_text_file_is_text_and_takes_the_files_name(tmp_path: Path):
    corpus = load_corpus("mine", (write(tmp_path / "hamlet.txt", TEXT),))
    assert isinstance(corpus, TextCorpus)
    assert corpus.name == "hamlet.txt"
    assert corpus.train + corpus.validation == TEXT


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.tsv.gz"])
def test_a_tsv_is_pairs(tmp_path: Path, name: str):
    path = write(tmp_path / name, "".join(f"{source}\t{target}\n" for source, target in PAIRS))
    assert everything(load_corpus("mine", (path,))) == sorted(PAIRS)


def test_two_files_are_source_and_target(tmp_path: Path):
    corpus = load_corpus("mine", (sources(tmp_path / "a.de"), targets(tmp_path / "a.en.gz")))
    assert corpus.name == "a.de and a.en.gz"
    assert everything(corpus) == sorted(PAIRS)


def test_three_files_are_refused(tmp_path: Path):
    paths = tuple(sources(tmp_path / name) for name in "abc")
    with pytest.raises(DataError, match=r"one file, or a source and a target, found 3 paths; join them first"):
        load_corpus("mine", paths)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"none\.txt"):
        load_corpus("mine", (str(tmp_path / "none.txt"),))


def test_a_fingerprint_depends_on_nothing_but_what_is_said():
    assert fingerprint(TextCorpus("one", "a", "b")) == fingerprint(TextCorpus("other", "a", "b"))
    assert fingerprint(PairCorpus("one", PAIRS, PAIRS, [])) == fingerprint(PairCorpus("two", PAIRS[:], PAIRS[:], []))


def test_any_change_changes_the_fingerprint():
    # each of these says something else, however alike they are when joined with tabs, line ends or zeros
    corpora = [
        TextCorpus("x", "ab", "c"),
        TextCorpus("x", "a", "bc"),
        TextCorpus("x", "ab", "", "c"),
        TextCorpus("x", "a", "\x00b"),
        TextCorpus("x", "a\x00", "b"),
        TextCorpus("x", "ab", "C"),
        PairCorpus("x", [("a", "b"), ("c", "d")], [], []),
        PairCorpus("x", [("c", "d"), ("a", "b")], [], []),
        PairCorpus("x", [("a", "b")], [("c", "d")], []),
        PairCorpus("x", [("a", "b")], [], [("c", "d")]),
        PairCorpus("x", [("b", "a"), ("c", "d")], [], []),
        PairCorpus("x", [("a\tb", "c")], [], []),
        PairCorpus("x", [("a", "b\tc")], [], []),
        PairCorpus("x", [("a", "b\nc\td")], [], []),
    ]
    for one, other in itertools.combinations(corpora, 2):
        assert fingerprint(one) != fingerprint(other), f"{one} and {other}"
