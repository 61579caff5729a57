"""A corpus is found by name or in files, or the error says what there is; its fingerprint misses no change."""

import gzip
import itertools
from pathlib import Path

import pytest

from clearformer.data import load
from clearformer.data.corpora import LabelledCorpus, PairCorpus, TextCorpus, fingerprint
from clearformer.data.load import Kind, guess_kind, load_corpus
from clearformer.errors import DataError

TEXT = "To be, or not to be: that is the question.\n" * 10
PAIRS = [(f"source {number}", f"target {number}") for number in range(400)]


def write(path: Path, text: str) -> str:
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())
    return str(path)


def labelled(path: Path, separator: str) -> str:
    return write(path, "".join(f"text number {number}{separator}{'ab'[number % 2]}\n" for number in range(40)))


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
    words = r"a corpus named dates, reverse, copy, pydocs, .*, polarity, ag_news was expected, found 'revers'"
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


def test_polarity_is_split_within_each_class_in_the_order_of_its_files(tmp_path: Path):
    # 21 a class: int(16.8 + 0.5) = 17 for train, up to int(18.9 + 0.5) = 19 for validation, the last two for test
    for name in ("pos", "neg"):
        write(tmp_path / f"rt-polarity.{name}", "".join(f"{name} {number} \n" for number in range(21)))
    corpus = load_corpus("polarity", (str(tmp_path),))
    assert isinstance(corpus, LabelledCorpus)
    assert corpus.classes == ["negative", "positive"]
    for split, numbers in {"train": range(17), "validation": (17, 18), "test": (19, 20)}.items():
        expected = [((f"pos {number}",), "positive") for number in numbers]
        expected += [((f"neg {number}",), "negative") for number in numbers]
        assert getattr(corpus, split) == expected


def ag_news(folder: Path, row: str = "") -> tuple[str]:
    write(folder / "classes.txt", "World\nSports\nBusiness\nSci/Tech\n")
    rows = [f'"{number % 4 + 1}","title {number}","text {number}"' for number in range(7599)]
    write(folder / "test.csv", "\n".join([row or '"1","title","text"', *rows]) + "\n")
    return (str(folder),)


def test_ag_news_has_its_classes_names_and_splits_that_are_the_same_everywhere(tmp_path: Path):
    corpus = load_corpus("ag_news", ag_news(tmp_path))
    assert isinstance(corpus, LabelledCorpus)
    splits = (corpus.train, corpus.validation, corpus.test)
    assert list(map(len, splits)) == [6000, 800, 800]
    assert len({texts for split in splits for texts, _ in split}) == 7600
    assert corpus.classes == ["Business", "Sci/Tech", "Sports", "World"]
    assert (("title 7", "text 7"), "Sci/Tech") in corpus.train + corpus.validation + corpus.test
    # every split has of every class about a quarter: binomial, five standard deviations either way
    assert all(130 < sum(label == name for _, label in corpus.test) < 270 for name in corpus.classes)
    # as drawn once: if another NumPy shuffles otherwise, what was measured on these splits is void
    assert [texts[0] for texts, _ in corpus.train[:3]] == ["title 3751", "title 4207", "title 2786"]


def test_what_ag_news_escapes_is_read_as_it_was_meant(tmp_path: Path):
    # a dollar; entities without their ampersand, one at the very start; line ends as backslashes; a doubled quote
    row = r'"3","Oil at \$47"," #39;Up #36;1 quot;now quot;, AT amp;T said\on\\Monday &lt;T.N&gt; "" #151; "'
    corpus = load_corpus("ag_news", ag_news(tmp_path, row))
    assert isinstance(corpus, LabelledCorpus)
    expected = ("Oil at $47", '\'Up$1"now", AT&T said on Monday <T.N> "\u2014')
    assert (expected, "Business") in corpus.train + corpus.validation + corpus.test


@pytest.mark.parametrize("row", ['"5","title","text"', '"World","title","text"', '"0","title","text"'])
def test_another_table_in_the_place_of_ag_news_is_refused(tmp_path: Path, row: str):
    with pytest.raises(DataError, match=r"line 1 of .*test\.csv must be a class of 1 to 4, .*3 cells that begin with"):
        load_corpus("ag_news", ag_news(tmp_path, row))
    write(tmp_path / "test.csv", '"1","title","text"\n')
    with pytest.raises(DataError, match=r"7,600 rows were expected in .*test\.csv, found 1; download it again"):
        load_corpus("ag_news", (str(tmp_path),))


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


@pytest.mark.parametrize(
    ("name", "separator", "kind"),
    [
        ("a.csv", ",", None),
        ("a.csv.gz", ",", "labels"),
        ("a.csv", ",", "pairs"),
        ("a.tsv", "\t", None),
        ("a.tsv.gz", "\t", "labels"),
    ],
)
def test_a_csv_and_a_tsv_with_a_column_of_labels_are_labelled(
    tmp_path: Path, name: str, separator: str, kind: Kind | None
):
    corpus = load_corpus("mine", (labelled(tmp_path / name, separator),), kind=kind)
    assert isinstance(corpus, LabelledCorpus)
    assert (corpus.name, corpus.classes) == (name, ["a", "b"])
    assert [len(split) for split in (corpus.train, corpus.validation, corpus.test)] == [36, 2, 2]
    assert f"{name} has 40 examples of 2 classes (a, b): the label is column 2" in corpus.note


def test_a_tsv_is_what_is_asked_for_where_it_could_be_either(tmp_path: Path):
    path = labelled(tmp_path / "a.tsv", "\t")
    assert isinstance(load_corpus("mine", (path,), kind="pairs"), PairCorpus)
    # a dictionary with two sources a target: too many different values to be guessed labels, but it may be asked for
    either = write(tmp_path / "b.tsv", "text\tlabel two\n" + "".join(f"word {n}\twort {n // 3}\n" for n in range(30)))
    assert isinstance(load_corpus("mine", (either,), kind="labels"), LabelledCorpus)


@pytest.mark.parametrize("kind", ["labels", "pairs", "text"])
def test_a_text_file_stays_text_whatever_is_asked_for(tmp_path: Path, kind: Kind):
    assert load_corpus("mine", (write(tmp_path / "a.txt", TEXT),), kind=kind).kind == "text"


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ","), ("a.tsv", "\t")])
def test_where_text_is_asked_for_labelled_texts_lose_their_labels_and_keep_their_splits(
    tmp_path: Path, name: str, separator: str
):
    path = labelled(tmp_path / name, separator)
    text, examples = load_corpus("mine", (path,), kind="text"), load_corpus("mine", (path,))
    assert isinstance(text, TextCorpus)
    assert isinstance(examples, LabelledCorpus)
    for split in ("train", "validation", "test"):
        assert getattr(text, split).splitlines() == [texts[0] for texts, _ in getattr(examples, split)]
    assert text.note == f"{examples.note}; only the texts are used, one a line"


def test_pairs_stay_pairs_where_text_is_asked_for(tmp_path: Path):
    path = write(tmp_path / "a.tsv", "".join(f"{source}\t{target}\n" for source, target in PAIRS))
    assert load_corpus("mine", (path,), kind="text").kind == "pairs"


def test_what_a_file_is_taken_for(tmp_path: Path):
    labelled(tmp_path / "labelled.tsv", "\t")
    write(tmp_path / "pairs.tsv.gz", "".join(f"{source}\t{target}\n" for source, target in PAIRS))
    names = ("labelled.tsv", "pairs.tsv.gz", "any.csv", "any.csv.gz", "any.txt", "any", "any.gz")
    assert [guess_kind(tmp_path / name) for name in names] == [
        "labels", "pairs", "labels", "labels", "text", "text", "text",
    ]  # fmt: skip


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
    one, other = (LabelledCorpus(name, [(("a",), "b")], [], [], note=name) for name in ("one", "other"))
    assert fingerprint(one) == fingerprint(other)


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
        LabelledCorpus("x", [(("a",), "b"), (("c",), "d")], [], []),
        LabelledCorpus("x", [(("a",), "b"), (("c",), "d")], [(("a",), "b")], []),
        LabelledCorpus("x", [(("a",), "b"), (("c",), "d")], [], [(("a",), "b")]),
        LabelledCorpus("x", [(("a",), "d"), (("c",), "b")], [], []),
        LabelledCorpus("x", [(("a", "b"), "c")], [], []),
        LabelledCorpus("x", [(("a",), "b")], [], []),
    ]
    for one, other in itertools.combinations(corpora, 2):
        assert fingerprint(one) != fingerprint(other), f"{one} and {other}"
