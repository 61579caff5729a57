"""The user's files are read unchanged, or an error names the line."""

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearformer.data.corpora import Pair, PairCorpus
from clearformer.data.files import read_parallel, read_text, read_tsv, split_pairs, split_text
from clearformer.errors import DataError

OTHER_LINE_BREAKS = "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"
"""nine lines to str.splitlines"""

GZIP = gzip.compress(b"some text that is long enough to be cut", mtime=0)

# text that reading must not change: no "\r" (CRLF becomes LF), no byte order mark, not only white space
sides = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\ufeff"), min_size=1).filter(str.strip)
pair_lists = st.lists(st.tuples(sides, sides), min_size=1)

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
"""examples overwrite the files of earlier ones"""


def numbered(count: int) -> list[Pair]:
    return [(f"source {number}", f"target {number}") for number in range(count)]


def splits(corpus: PairCorpus) -> tuple[list[Pair], list[Pair], list[Pair]]:
    return corpus.train, corpus.validation, corpus.test


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
def test_text_is_read_plain_or_compressed(write, name: str):
    assert read_text(write(name, "Grüße\n☃")) == "Grüße\n☃"


def test_a_byte_order_mark_is_dropped_and_crlf_becomes_lf(write):
    assert read_text(write("a.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\n")) == "one\ntwo\rthree\n"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_invalid_utf8_is_reported_with_its_line_and_byte(write, mark: bytes):
    # counted by hand: "ä" is two bytes, so the bad byte follows 2 + 1 + 4 bytes
    words = rf"byte 0xff in line 3, at byte offset {7 + len(mark)}\b.*save the file as UTF-8"
    with pytest.raises(DataError, match=words):
        read_text(write("a.txt", mark + "ä\nabc\n".encode() + b"\xff!"))


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \n\r\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.gz"])
def test_a_file_without_text_is_refused(write, content: bytes, name: str):
    with pytest.raises(DataError, match=r"text was expected in .*a\.\w+, but the file is empty"):
        read_text(write(name, content))


def test_a_folder_and_a_missing_file_have_different_messages(tmp_path: Path):
    with pytest.raises(DataError, match="found a folder"):
        read_text(tmp_path)
    with pytest.raises(DataError, match=r"nowhere\.txt, but there is none; check the path"):
        read_text(tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(GZIP[:-10], id="truncated"),
        pytest.param(GZIP[:10] + b"\xff" + GZIP[11:], id="unknown block type"),  # after ten bytes of header
        pytest.param(GZIP[:-8] + b"\x00" * 4 + GZIP[-4:], id="wrong checksum"),
        pytest.param(b"not compressed at all", id="not gzip"),
    ],
)
def test_a_broken_gzip_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"must be a whole gzip file.*copy or compress it again"):
        read_text(tmp_path / "a.gz")


@same_folder
@given(content=st.binary(), compressed=st.booleans(), name=st.sampled_from(["a.txt", "a.gz"]))
def test_any_bytes_give_text_or_a_data_error(tmp_path: Path, content: bytes, compressed: bool, name: str):
    (tmp_path / name).write_bytes(gzip.compress(content, mtime=0) if compressed else content)
    try:
        text = read_text(tmp_path / name)
    except DataError:
        return
    assert text.strip()


@same_folder
@given(pairs=pair_lists, ending=st.sampled_from(["", "\n", "\n\n\n"]), newline=st.sampled_from(["\n", "\r\n"]))
def test_pairs_in_a_tsv_are_read_back(write, pairs: list[Pair], ending: str, newline: str):
    text = "\n".join("\t".join(pair) for pair in pairs) + ending
    assert read_tsv(write("pairs.tsv.gz", text.replace("\n", newline))) == pairs


@same_folder
@given(pairs=pair_lists)
def test_pairs_in_parallel_files_are_read_back(write, pairs: list[Pair]):
    source, target = ("".join(f"{pair[side]}\n" for pair in pairs) for side in (0, 1))
    assert read_parallel(write("source.txt", source), write("target.txt", target)) == pairs


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("no tab", "it has no tab"),
        ("one\ttwo\tthree", "it has 2 tabs"),
        ("\ttarget", "its source is empty"),
        ("source\t ", "its target is empty"),
        ("", "the line is empty"),
    ],
)
def test_an_invalid_line_of_a_tsv_is_named(write, line: str, fault: str):
    path = write("pairs.tsv", f"a\tb\n{line}\nc\td\n")
    with pytest.raises(DataError, match=rf"line 2 of .*pairs\.tsv must be .*but {fault}; fix or delete that line"):
        read_tsv(path)


def test_parallel_files_of_different_lengths_are_refused_with_both_counts(write):
    source, target = write("s", "1\n2\n3\n"), write("t", "1\n2\n3\n4")
    with pytest.raises(DataError, match=r"found 3 in .*s and 4 in .*t; align them line by line"):
        read_parallel(source, target)


@pytest.mark.parametrize(("source", "target", "where"), [("a\n \nc", "x\ny\nz", "source"), ("a\nb", "x\n\n", "target")])
def test_an_empty_side_of_parallel_files_is_named(write, source: str, target: str, where: str):
    with pytest.raises(DataError, match=rf"line 2 of .*{where}, but the line is empty; .*delete line 2 in both"):
        read_parallel(write("source", source), write("target", target))


@pytest.mark.parametrize("line", [OTHER_LINE_BREAKS, "lorem ipsum " * 84_000], ids=["other breaks", "a million"])
def test_only_a_newline_ends_a_line_however_long(write, line: str):
    path = write("lines", f"{line}\nsecond\n")
    assert read_parallel(path, path) == [(line, line), ("second", "second")]
    assert read_tsv(write("lines.tsv", f"{line}\t{line}\n")) == [(line, line)]


def test_text_is_split_90_to_10_percent_in_order():
    text = "".join(chr(ord("a") + index % 26) for index in range(115))
    corpus = split_text("letters", text)
    assert (len(corpus.train), len(corpus.validation), corpus.test) == (103, 12, "")  # 0.9 · 115 = 103.5
    assert corpus.train + corpus.validation == text


def test_too_little_text_is_refused():
    assert split_text("just enough", "x" * 100).validation == "x" * 10
    with pytest.raises(DataError, match=r"short must have at least 100 characters.*found 99; give more text"):
        split_text("short", "x" * 99)


def test_pairs_are_split_about_90_5_5_percent():
    corpus = split_pairs("numbers", numbered(10_000))
    # binomial(10,000, 0.05): mean 500, five standard deviations of 22 on both sides
    assert 390 < len(corpus.validation) < 610
    assert 390 < len(corpus.test) < 610
    assert sum(map(len, splits(corpus))) == 10_000


def test_the_split_of_a_source_is_the_same_on_every_machine():
    # SHA-256 modulo 20 by sha256sum and bc: hello 0, river 1, one 5
    corpus = split_pairs("words", [*numbered(400), ("hello", "a"), ("river", "b"), ("one", "c")])
    assert ("hello", "a") in corpus.validation
    assert ("river", "b") in corpus.test
    assert ("one", "c") in corpus.train


@given(extra=st.lists(st.tuples(st.sampled_from([source for source, _ in numbered(400)]) | sides, sides)))
def test_no_source_is_in_two_splits_and_no_pair_is_lost(extra: list[Pair]):
    pairs = numbered(400) + extra
    corpus = split_pairs("numbers", pairs)
    sources = [{source for source, _ in split} for split in splits(corpus)]
    assert sum(map(len, sources)) == len(set().union(*sources))
    assert sorted(pair for split in splits(corpus) for pair in split) == sorted(pairs)


@given(extra=st.lists(st.tuples(sides, sides)))
def test_appending_pairs_moves_no_other(extra: list[Pair]):
    before, after = split_pairs("numbers", numbered(400)), split_pairs("numbers", numbered(400) + extra)
    for split, longer in zip(splits(before), splits(after), strict=True):
        assert longer[: len(split)] == split


@pytest.mark.parametrize("count", [*range(3, 60), 100])
def test_few_pairs_still_give_every_split_at_least_one(count: int):
    corpus = split_pairs("few", numbered(count))
    assert all(splits(corpus))
    assert sorted(pair for split in splits(corpus) for pair in split) == sorted(numbered(count))


@pytest.mark.parametrize("pairs", [numbered(2), [("hello", str(number)) for number in range(1000)]])
def test_fewer_sources_than_splits_are_refused(pairs: list[Pair]):
    words = rf"same must have at least 3 distinct sources.*found {len(set(dict(pairs)))} in {len(pairs):,} pairs"
    with pytest.raises(DataError, match=words):
        split_pairs("same", pairs)
