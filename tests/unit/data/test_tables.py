"""A table is read as examples with a note on its columns, or an error names the line."""

import csv
import io
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearformer.data.corpora import Example, LabelledCorpus
from clearformer.data.tables import is_labelled, read_labelled, split_labelled
from clearformer.errors import DataError

BODY = "good film,positive\nbad film,negative\nnot bad,positive\nso dull,negative\nso good,positive\nno fun,negative\n"
EXAMPLES: list[Example] = [
    (("good film",), "positive"),
    (("bad film",), "negative"),
    (("not bad",), "positive"),
    (("so dull",), "negative"),
    (("so good",), "positive"),
    (("no fun",), "negative"),
]
cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\ufeff"), min_size=1).filter(str.strip)


def numbered(count: int, label: str) -> list[Example]:
    return [((f"{label} number {number}",), label) for number in range(count)]


def splits(corpus: LabelledCorpus) -> tuple[list[Example], list[Example], list[Example]]:
    return corpus.train, corpus.validation, corpus.test


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz"])
@pytest.mark.parametrize("first_line", ["", "review,sentiment\n", "review, Label\n", "review,verdict\n"])
def test_a_table_is_read_with_or_without_a_header(write, name: str, first_line: str):
    text = (first_line + BODY).replace(",", "\t" if ".tsv" in name else ",")
    examples, note = read_labelled(write(name, text))
    assert examples == EXAMPLES
    assert f"the first line {'a header' if first_line else 'an example'}" in note
    assert "6 examples of 2 classes (negative, positive)" in note


@pytest.mark.parametrize("name", ["label", "CLASS", "Category", "target", "sentiment", "Y"])
def test_a_header_that_names_the_label_takes_precedence_over_the_values(write, name: str):
    # the values of the named column are distinct, those of the other column repeat
    text = f"{name},text\n1,it is\n2,it is\n3,it is\n4,it was\n5,it was\n"
    examples, note = read_labelled(write("a.csv", text))
    assert [label for _, label in examples] == ["1", "2", "3", "4", "5"]
    assert f"the label is column 1 '{name}', the text column 2 'text', the first line a header" in note


@pytest.mark.parametrize(
    ("content", "first", "count", "label"),
    [
        pytest.param(
            "text,y\nit is,y\nit was,n\n", (("it is",), "y"), 2, "column 2 'y'", id="a label equal to its name"
        ),
        pytest.param(
            "target,label,text\nt,one,some words\nt,two,other words\n",
            (("t", "some words"), "one"),
            2,
            "column 2 'label'",
            id="two names of LABEL_NAMES",
        ),
        pytest.param(
            "".join(f"{number % 3},headline {number % 11},text {number}\n" for number in range(30)),
            (("headline 0", "text 0"), "0"),
            30,
            "column 1, the text column 2 and column 3, the first line an example",
            id="fewest values",
        ),
        pytest.param(
            "".join(f"en us,text {number},{'ab'[number % 2]}\n" for number in range(10)),
            (("en us", "text 0"), "a"),
            10,
            "column 3",
            id="a constant column comes last",
        ),
    ],
)
def test_the_label_is_the_named_column_or_the_one_with_the_fewest_values(
    write, content: str, first: Example, count: int, label: str
):
    examples, note = read_labelled(write("a.csv", content))
    assert (examples[0], len(examples)) == (first, count)
    assert f"the label is {label}" in note


def test_numbers_identifiers_and_empty_columns_are_left_out_and_reported(write):
    rows = [f"{number},id-{number:03},,{number / 7}e-3,the text,{'ab'[number % 2]}" for number in range(10)]
    examples, note = read_labelled(write("a.csv", "n,key,void,score,words,label\n" + "\n".join(rows)))
    assert set(examples) == {(("the text",), "a"), (("the text",), "b")}
    assert note.endswith(
        "the first line a header, and column 1 'n' (only numbers) is left out, and column 2 'key' (identifiers) is "
        "left out, and column 3 'void' (empty) is left out, and column 4 'score' (only numbers) is left out"
    )


def test_a_column_of_distinct_words_is_text_if_there_is_no_other(write):
    examples, note = read_labelled(write("a.csv", "name,label\nRossi,it\nMeyer,de\nBianchi,it\n"))
    assert examples == [(("Rossi",), "it"), (("Meyer",), "de"), (("Bianchi",), "it")]
    assert "left out" not in note


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])  # files are overwritten
@given(texts=st.lists(st.tuples(cells, cells), min_size=1), newline=st.sampled_from(["\n", "\r\n"]))
@pytest.mark.parametrize(("name", "dialect"), [("a.csv", "excel"), ("a.tsv", "excel-tab")])
def test_what_the_csv_module_writes_is_read_back(
    write, name: str, dialect: str, texts: list[tuple[str, str]], newline: str
):
    # with separators, quotes and line breaks inside cells, as Python quotes them
    table = io.StringIO(newline="")
    writer = csv.writer(table, dialect, lineterminator="\n")
    expected = [((f"= {one}", f"= {two}"), "ab"[index % 2]) for index, (one, two) in enumerate(texts * 2)]
    writer.writerows([("text", "more", "label"), *((*both, label) for both, label in expected)])
    path = write(name, "\ufeff" + table.getvalue().replace("\n", newline))
    assert read_labelled(path)[0] == [(tuple(text.strip() for text in both), label) for both, label in expected]


def test_a_cell_of_a_million_characters_is_read_whole(write):
    long = "lorem ipsum " * 83_334
    examples, _ = read_labelled(write("a.csv", f"text,label\n{long},a\nshort text,b\n"))
    assert examples[0][0][0] == long.strip()
    assert len(long) > 1_000_000


def test_many_classes_are_not_all_named(write):
    rows = [f"text number {number},c{number % 7}" for number in range(70)]
    assert "7 classes (c0, c1, c2, c3, c4, …)" in read_labelled(write("a.csv", "\n".join(rows)))[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", r"text was expected in .*a\.csv, but the file is empty"),
        ("\ufeff\r\n", r"text was expected in .*a\.csv, but the file is empty"),
        (b"some text,a\n\xff,b\n", r"a\.csv must be UTF-8 text, but the byte 0xff in line 2"),
        (BODY + "a,b,c\n", r"line 7 of .*a\.csv must have as many cells as line 1, which has 2, found 3; fix or"),
        ('"a\n\nb",x\n"c",y,z\n', r"line 4 of .*a\.csv must have as many cells as line 1, which has 2, found 3"),
        (BODY + "\n" + BODY, r"line 7 of .*a\.csv must be a row of cells, but it is empty; delete it"),
        (BODY + ' ,positive\n', r"line 7 of .*a\.csv must have something in column 1, found nothing; fix or del"),
        (BODY + "fine,\n" * 2, r"line 7 of .*a\.csv must have something in column 2, found nothing"),
        ("text,label\na b,\nb c,x\n", r"line 2 of .*a\.csv must have something in column 2 'label', found nothing"),
        (BODY + '"open,positive\nmore\n', r"row that begins in line 7 of .*a\.csv must be whole, .*close its double"),
        (BODY + '"a"b,positive\n', r"row that begins in line 7 of .*a\.csv must be whole, but: '.' expected after"),
        ("text,label\na b,x\nb c,x\n", r"classes were expected in column 2 'label' of .*a\.csv, found 1, 'x' alone"),
        ("a b,x\nb c,x\nc d,x\nd e,x\n", r"2 to 1,000 classes were expected in column 2 of .*found 1, 'x' alone \(the"),
        (BODY + "a\rb,positive\n", r"row that begins in line 7 of .*a\.csv must be whole, but: new-line char"),
        ("a b,p q\nb c,p q\nc d,q r\nd e,r s\ne f,q r\n", r"labels, whose values repeat, were .*csv, found 5 rows"),
        ("label\na\nb\na\nb\n", r"a column of texts and one of labels, .* found 5 rows of 1 cells without the two"),
        ("text,label\n", r"2 to 1,000 classes were expected in column 2 'label' of .*a\.csv, found 0"),
        (
            "label,text\n" + "".join(f"c{number},some text\n" * 2 for number in range(1001)),
            r"2 to 1,000 classes were expected in column 1 'label' of .*a\.csv, found 1,001 \(the first line was taken",
        ),
    ],
)  # fmt: skip
def test_an_invalid_table_is_refused_with_the_line(write, content: str | bytes, words: str):
    with pytest.raises(DataError, match=words):
        read_labelled(write("a.csv", content))


def test_every_class_is_split_about_90_5_5_percent():
    examples = numbered(1000, "a") + numbered(100, "b") + numbered(3, "c") + numbered(2, "d")
    corpus = split_labelled("mine", examples, note="a note")
    counts = [Counter(label for _, label in split) for split in splits(corpus)]
    # a twentieth of each class, and at least one if it has three
    assert counts == [{"a": 900, "b": 90, "c": 1, "d": 2}, {"a": 50, "b": 5, "c": 1}, {"a": 50, "b": 5, "c": 1}]
    assert corpus.classes == ["a", "b", "c", "d"]
    assert (corpus.kind, corpus.name, corpus.note) == ("labels", "mine", "a note")


def test_examples_keep_their_order_and_their_split_does_not_depend_on_it():
    examples = numbered(60, "a") + numbered(60, "b")
    forwards, backwards = split_labelled("x", examples), split_labelled("x", examples[::-1])
    for split, reverse in zip(splits(forwards), splits(backwards), strict=True):
        assert split == [example for example in examples if example in split]
        assert split == reverse[::-1]


# so few that texts recur with the same or another label
some_texts = st.tuples(st.sampled_from("abcdefgh"))


@given(examples=st.lists(st.tuples(some_texts, st.sampled_from("xyz"))))
def test_no_text_is_in_two_splits_no_example_is_lost_and_train_has_every_label(examples: list[Example]):
    examples = examples + numbered(3, "x")
    corpus = split_labelled("mine", examples)
    assert sorted(example for split in splits(corpus) for example in split) == sorted(examples)
    texts = [{texts for texts, _ in split} for split in splits(corpus)]
    assert sum(map(len, texts)) == len(set().union(*texts))
    assert set(corpus.classes) == {label for _, label in examples}


def test_train_has_a_label_that_only_a_held_out_text_has():
    # the text held out for x is the only one of y, so it moves to train
    held_out = split_labelled("mine", numbered(3, "x")).validation[0][0]
    corpus = split_labelled("mine", [*numbered(3, "x"), (held_out, "y")])
    assert corpus.classes == ["x", "y"]


def test_too_few_texts_are_refused():
    words = r"mine must have a class of at least 3 distinct texts.*found 4 texts in 2 classes"
    with pytest.raises(DataError, match=words):
        split_labelled("mine", numbered(2, "a") * 5 + numbered(2, "b"))


def table(texts: int, labels: int, order: int = 1) -> str:
    """Lines of `texts` distinct texts and `labels` distinct labels; order -1 puts the label first."""
    rows = [(f"text {number}", f"label {number % labels}") for number in range(texts)]
    return "".join("\t".join(row[::order]) + "\n" for row in rows)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_label_that_train_lacks_is_named(split: str):
    parts = {"train": numbered(1, "a"), "validation": [], "test": []} | {split: numbered(1, "b") + numbered(1, "a")}
    words = rf"split of mine must have every label, but 'b' occurs in the {split} split alone"
    with pytest.raises(DataError, match=words):
        LabelledCorpus("mine", **parts)


@pytest.mark.parametrize(
    ("content", "labelled"),
    [
        ("text\tlabel\n" + "".join(f"a {number}\tb {number}\n" for number in range(9)), True),
        ("Class\tText\n" + "a\tb\n" * 9, True),
        ("source\ttarget\n" + "".join(f"a {number}\tb {number}\n" for number in range(9)), False),
        ("text\ttarget\n" + "".join(f"a {number}\tb {number}\n" for number in range(9)), True),
        ("".join(f"one {number}\tzwei {number}\n" for number in range(9)), False),
        ("yes\tja\nno\tnein\n" * 20, False),  # a small dictionary: both columns repeat equally often
        # at most a twentieth as many labels as texts, in either order
        *((table(40, 2, order), True) for order in (1, -1)),
        *((table(39, 2, order), False) for order in (1, -1)),
        # at most a hundred labels
        (table(2100, 100), True),
        (table(2100, 101), False),
        # 120 dates in 32 forms
        ("".join(f"way {way} of {date}\tdate {date}\n" for date in range(120) for way in range(32)), False),
        (table(20, 1), True),  # `read_labelled` refuses a single class
        ("a\tb\tc\n" * 9, True),  # not pairs
        ("a\tb\n", False),
        ("no tab\nno tab\n", False),
        ("a\tb\nc\n", False),
        ("a\tb\n\nc\td\n", False),
        ("", False),
    ],
)
def test_labelled_texts_are_distinguished_from_pairs(write, content: str, labelled: bool):
    assert is_labelled(write("a.tsv", content)) == labelled
