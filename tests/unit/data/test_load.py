"""A corpus is loaded by name or from files, or the error lists the names; every change changes its fingerprint."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from clearformer.data.catalogue import DOWNLOADS
from clearformer.data.corpora import Corpus, LabelledCorpus, PairCorpus, TextCorpus, fingerprint
from clearformer.data.load import Kind, guess_kind, load_corpus
from clearformer.data.text_files import expand
from clearformer.errors import DataError

TEXT = "To be, or not to be: that is the question.\n" * 10
PAIRS = [(f"source {number}", f"target {number}") for number in range(400)]
PAIRS_TSV = "".join(f"{source}\t{target}\n" for source, target in PAIRS)
LABELLED_CSV = "".join(f"text number {number},{'ab'[number % 2]}\n" for number in range(40))
LABELLED_TSV = LABELLED_CSV.replace(",", "\t")


def load(*paths: Path, name: str = "mine", kind: Kind | None = None) -> Corpus:
    return load_corpus(name, tuple(map(str, paths)), kind=kind)


def everything(corpus: Corpus) -> list[tuple[str, str]]:
    return sorted([*corpus.train, *corpus.validation, *corpus.test])


def test_built_in_tasks_are_loaded_by_name():
    reverse, copy = load_corpus("reverse"), load_corpus("copy")
    assert (reverse.name, reverse.kind, copy.name) == ("reverse", "pairs", "copy")
    assert all(target == source[::-1] for source, target in everything(reverse))
    assert all(target == source for source, target in everything(copy))


def test_an_unknown_name_is_refused_with_the_known_ones():
    words = r"a corpus named dates, reverse, copy, pydocs, .*, polarity, ag_news was expected, found 'revers'"
    with pytest.raises(DataError, match=words):
        load_corpus("revers")


def test_a_download_is_fetched_and_read_from_its_folder(write, monkeypatch: pytest.MonkeyPatch):
    folder = write("tinyshakespeare.txt", TEXT).parent
    fetched = []
    monkeypatch.setattr("clearformer.data.load.fetch", lambda download, **_: fetched.append(download) or folder)
    corpus = load_corpus("tinyshakespeare")
    assert fetched == [DOWNLOADS["tinyshakespeare"]]
    assert corpus == load(folder, name="tinyshakespeare")
    assert isinstance(corpus, TextCorpus)
    assert corpus.train + corpus.validation == TEXT


def test_multi30k_keeps_its_splits(tmp_path: Path, write):
    for split, word in {"train": "t", "val": "v", "test_2016_flickr": "f"}.items():
        write(f"{split}.de.gz", f"{word} deutsch\n")
        write(f"{split}.en.gz", f"{word} english\n")
    corpus = load(tmp_path, name="multi30k")
    assert isinstance(corpus, PairCorpus)
    assert (corpus.train, corpus.validation, corpus.test) == (
        [("t deutsch", "t english")],
        [("v deutsch", "v english")],
        [("f deutsch", "f english")],
    )


def test_polarity_is_split_within_each_class_in_the_order_of_its_files(tmp_path: Path, write):
    # 21 sentences a class: the first round(16.8) = 17 for train, up to round(18.9) = 19 for validation
    for name in ("pos", "neg"):
        write(f"rt-polarity.{name}", "".join(f"{name} {number} \n" for number in range(21)))
    corpus = load(tmp_path, name="polarity")
    assert isinstance(corpus, LabelledCorpus)
    assert corpus.classes == ["negative", "positive"]
    for split, numbers in {"train": range(17), "validation": (17, 18), "test": (19, 20)}.items():
        expected = [((f"pos {number}",), "positive") for number in numbers]
        expected += [((f"neg {number}",), "negative") for number in numbers]
        assert getattr(corpus, split) == expected


@pytest.fixture
def ag_news(write) -> Callable[..., Corpus]:
    """The corpus of a file like that of AG News, with a first row."""

    def load_with(row: str = '"1","title","text"', count: int = 7600) -> Corpus:
        write("classes.txt", "World\nSports\nBusiness\nSci/Tech\n")
        rows = [f'"{number % 4 + 1}","title {number}","text {number}"' for number in range(count - 1)]
        return load(write("test.csv", "\n".join([row, *rows]) + "\n").parent, name="ag_news")

    return load_with


def test_ag_news_has_its_class_names_and_the_same_splits_on_every_machine(ag_news):
    corpus = ag_news()
    assert isinstance(corpus, LabelledCorpus)
    assert [len(split) for split in (corpus.train, corpus.validation, corpus.test)] == [6000, 800, 800]
    assert len({texts for texts, _ in everything(corpus)}) == 7600
    assert corpus.classes == ["Business", "Sci/Tech", "Sports", "World"]
    assert (("title 7", "text 7"), "Sci/Tech") in everything(corpus)
    # the test split has about a quarter of each class: binomial, five standard deviations on both sides
    assert all(130 < sum(label == name for _, label in corpus.test) < 270 for name in corpus.classes)
    # recorded once: if NumPy shuffled otherwise, results measured on these splits would be invalid
    assert [texts[0] for texts, _ in corpus.train[:3]] == ["title 3751", "title 4207", "title 2786"]


def test_ag_news_is_unescaped(ag_news):
    # a dollar; entities without their ampersand, one at the start; line breaks as backslashes; a doubled quote
    row = r'"3","Oil at \$47"," #39;Up #36;1 quot;now quot;, AT amp;T said\on\\Monday &lt;T.N&gt; "" #151; "'
    expected = ("Oil at $47", '\'Up$1"now", AT&T said on Monday <T.N> "\u2014')
    assert (expected, "Business") in everything(ag_news(row))


@pytest.mark.parametrize("row", ['"5","title","text"', '"World","title","text"', '"0","title","text"'])
def test_ag_news_with_an_unknown_class_is_refused(ag_news, row: str):
    with pytest.raises(DataError, match=r"line 1 of .*test\.csv must be a class of 1 to 4, .*3 cells that begin with"):
        ag_news(row, count=2)


def test_ag_news_with_another_number_of_rows_is_refused(ag_news):
    with pytest.raises(DataError, match=r"7,600 rows were expected in .*test\.csv, found 1; download it again"):
        ag_news(count=1)


def test_a_folder_without_a_download_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"a file was expected for mine, found the folder .*; give --data a file in it"):
        load(tmp_path)


def test_a_text_file_is_text_and_named_after_its_file(write):
    corpus = load(write("hamlet.txt", TEXT))
    assert isinstance(corpus, TextCorpus)
    assert corpus.name == "hamlet.txt"
    assert corpus.train + corpus.validation == TEXT


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.tsv.gz"])
@pytest.mark.parametrize("kind", [None, "pairs", "text"])
def test_a_tsv_of_pairs_is_pairs(write, name: str, kind: Kind | None):
    corpus = load(write(name, PAIRS_TSV), kind=kind)
    assert isinstance(corpus, PairCorpus)
    assert everything(corpus) == sorted(PAIRS)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.csv", LABELLED_CSV, None),
        ("a.csv.gz", LABELLED_CSV, "labels"),
        ("a.csv", LABELLED_CSV, "pairs"),
        ("a.tsv", LABELLED_TSV, None),
        ("a.tsv.gz", LABELLED_TSV, "labels"),
    ],
)
def test_a_csv_and_a_tsv_with_a_column_of_labels_are_labelled(write, name: str, content: str, kind: Kind | None):
    corpus = load(write(name, content), kind=kind)
    assert isinstance(corpus, LabelledCorpus)
    assert (corpus.name, corpus.classes) == (name, ["a", "b"])
    assert [len(split) for split in (corpus.train, corpus.validation, corpus.test)] == [36, 2, 2]
    assert f"{name} has 40 examples of 2 classes (a, b): the label is column 2" in corpus.note


def test_the_requested_kind_decides_how_an_ambiguous_tsv_is_read(write):
    assert isinstance(load(write("a.tsv", LABELLED_TSV), kind="pairs"), PairCorpus)
    # a dictionary with three sources a target: too many distinct values to be guessed as labels
    dictionary = write("b.tsv", "text\tlabel two\n" + "".join(f"word {n}\twort {n // 3}\n" for n in range(30)))
    assert isinstance(load(dictionary, kind="labels"), LabelledCorpus)


@pytest.mark.parametrize("kind", ["labels", "pairs", "text"])
def test_a_text_file_is_text_whatever_kind_is_requested(write, kind: Kind):
    assert load(write("a.txt", TEXT), kind=kind).kind == "text"


@pytest.mark.parametrize(("name", "content"), [("a.csv", LABELLED_CSV), ("a.tsv", LABELLED_TSV)])
def test_labelled_texts_read_as_text_lose_their_labels_and_keep_their_splits(write, name: str, content: str):
    path = write(name, content)
    text, examples = load(path, kind="text"), load(path)
    assert isinstance(text, TextCorpus)
    assert isinstance(examples, LabelledCorpus)
    for split in ("train", "validation", "test"):
        assert getattr(text, split).splitlines() == [texts[0] for texts, _ in getattr(examples, split)]
    assert text.note == f"{examples.note}; only the texts are used, one a line"


def test_the_kind_of_a_file_is_guessed_from_its_name_and_that_of_a_tsv_from_its_content(tmp_path: Path, write):
    assert guess_kind(write("labelled.tsv", LABELLED_TSV)) == "labels"
    assert guess_kind(write("pairs.tsv.gz", PAIRS_TSV)) == "pairs"
    others = {"any.csv": "labels", "any.csv.gz": "labels", "any.txt": "text", "any": "text", "any.gz": "text"}
    assert {name: guess_kind(tmp_path / name) for name in others} == others


def test_two_files_are_source_and_target(write):
    sources, targets = ("".join(f"{pair[side]}\n" for pair in PAIRS) for side in (0, 1))
    corpus = load(write("a.de", sources), write("a.en.gz", targets))
    assert corpus.name == "a.de and a.en.gz"
    assert everything(corpus) == sorted(PAIRS)


@pytest.mark.parametrize(("kind", "ending"), [("pairs", ""), ("labels", ".csv"), ("text", ".csv")])
def test_three_files_that_are_not_text_are_refused(tmp_path: Path, kind: Kind, ending: str):
    with pytest.raises(DataError, match=r"one file, or a source and a target, found 3 paths; join them first"):
        load(*(tmp_path / f"{name}{ending}" for name in "abc"), kind=kind)


def test_files_of_text_are_joined_with_a_line_break_between_them(write):
    paths = [write(f"{name}.txt", TEXT.rstrip("\n") * (name != "b") or "b\n") for name in "abc"]
    corpus = load(*paths)
    assert isinstance(corpus, TextCorpus)
    assert corpus.name == "a.txt and 2 more"
    assert corpus.train + corpus.validation == f"{TEXT}b\n{TEXT}"
    two = load(*paths[1:], kind="text")
    assert isinstance(two, TextCorpus)
    assert two.train + two.validation == f"b\n{TEXT}"


def test_a_pattern_names_files_in_order(tmp_path: Path, write):
    files = [write(f"corpus/{name}.txt", f"{name} {TEXT}") for name in ("b", "a", "c[1]")]
    (tmp_path / "corpus" / "folder.txt").mkdir()
    a, b, c = sorted(map(str, files))
    assert expand([tmp_path / "corpus" / "*.txt"]) == (a, b, c)
    assert expand([tmp_path / "**" / "?.txt", c]) == (a, b, c)
    with pytest.raises(DataError, match=r"files were expected under the name .*\*\.md, but there are none"):
        expand([tmp_path / "corpus" / "*.md"])


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"none\.txt"):
        load(tmp_path / "none.txt")


def test_a_fingerprint_ignores_name_and_note():
    assert fingerprint(TextCorpus("one", "a", "b")) == fingerprint(TextCorpus("other", "a", "b"))
    assert fingerprint(PairCorpus("one", PAIRS, PAIRS, [])) == fingerprint(PairCorpus("two", PAIRS[:], PAIRS[:], []))
    one, other = (LabelledCorpus(name, [(("a",), "b")], [], [], note=name) for name in ("one", "other"))
    assert fingerprint(one) == fingerprint(other)


def test_any_change_changes_the_fingerprint():
    # all different, even if some are equal when joined with tabs, line breaks or zeros
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
