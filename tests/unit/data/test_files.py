"""The user's files come through unchanged, or an error names the place."""

import gzip
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clearformer.data.corpora import Pair
from clearformer.data.files import read_parallel, read_text, read_tsv, split_pairs, split_text
from clearformer.errors import DataError

LINE_BREAKS_TO_OTHERS = "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"
"""str.splitlines makes nine lines of this"""

# text that reading must not change: no "\r" (CRLF becomes LF), no mark at the start, something beside white space
sides = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\ufeff"), min_size=1).filter(str.strip)
pair_lists = st.lists(st.tuples(sides, sides), min_size=1)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["text.txt", "text.txt.gz"])
def test_text_is_read_plain_or_packed(tmp_path: Path, name: str):
    assert read_text(write(tmp_path / name, "Grüße\n☃".encode())) == "Grüße\n☃"


def test_a_byte_order_mark_is_dropped_and_crlf_becomes_lf(tmp_path: Path):
    assert read_text(write(tmp_path / "a.txt", b"\xef\xbb\xbfone\r\ntwo\rthree\n")) == "one\ntwo\rthree\n"


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_invalid_utf8_is_named_by_line_and_byte(tmp_path: Path, mark: bytes):
    # counted by hand: "ä" is two bytes, so the bad byte follows 2 + 1 + 4 bytes
    path = write(tmp_path / "a.txt", mark + "ä\nabc\n".encode() + b"\xff!")
    with pytest.raises(
        DataError, match=rf"byte 0xff in line 3, at byte offset {7 + len(mark)}\b.*save the file as UTF-8"
    ):
        read_text(path)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \n\r\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.gz"])
def test_a_file_without_text_is_refused(tmp_path: Path, content: bytes, name: str):
    with pytest.raises(DataError, match=r"text was expected in .*a\.\w+, but the file is empty"):
        read_text(write(tmp_path / name, content))


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path: Path):
    with pytest.raises(DataError, match="found a folder"):
        read_text(tmp_path)
    with pytest.raises(DataError, match=r"nowhere\.txt, but there is none; check the path"):
        read_text(tmp_path / "nowhere.txt")


def test_a_broken_gzip_is_refused(tmp_path: Path):
    whole = gzip.compress(b"some text that is long enough to be cut", mtime=0)
    no_such_block = whole[:10] + b"\xff" + whole[11:]  # ten bytes of header, then the first block's type
    wrong_sum = whole[:-8] + b"\x00" * 4 + whole[-4:]
    for broken in (whole[:-10], no_such_block, wrong_sum, b"not packed at all"):
        (tmp_path / "a.gz").write_bytes(broken)
        with pytest.raises(DataError, match=r"must be a whole gzip file.*copy or compress it again"):
            read_text(tmp_path / "a.gz")


@settings(deadline=None)
@given(content=st.binary(), packed=st.booleans(), name=st.sampled_from(["a.txt", "a.gz"]))
def test_any_bytes_give_text_or_a_data_error(content: bytes, packed: bool, name: str):
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
        try:
            text = read_text(path)
        except DataError:
            return
        assert text.strip()


@settings(deadline=None)
@given(pairs=pair_lists, ending=st.sampled_from(["", "\n", "\n\n\n"]), newline=st.sampled_from(["\n", "\r\n"]))
def test_pairs_survive_a_tsv(pairs: list[Pair], ending: str, newline: str):
    text = "\n".join("\t".join(pair) for pair in pairs) + ending
    with TemporaryDirectory() as folder:
        path = write(Path(folder) / "pairs.tsv.gz", text.replace("\n", newline).encode())
        assert read_tsv(path) == pairs


@settings(deadline=None)
@given(pairs=pair_lists)
def test_pairs_survive_parallel_files(pairs: list[Pair]):
    with TemporaryDirectory() as folder:
        source, target = (
            write(Path(folder) / f"{side}.txt", "".join(f"{pair[side]}\n" for pair in pairs).encode())
            for side in (0, 1)
        )
        assert read_parallel(source, target) == pairs


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
def test_a_bad_line_of_a_tsv_is_named(tmp_path: Path, line: str, fault: str):
    path = write(tmp_path / "pairs.tsv", f"a\tb\n{line}\nc\td\n".encode())
    with pytest.raises(DataError, match=rf"line 2 of .*pairs\.tsv must be .*but {fault}; fix or delete that line"):
        read_tsv(path)


def test_parallel_files_of_different_lengths_are_refused_with_both_counts(tmp_path: Path):
    source, target = write(tmp_path / "s", b"1\n2\n3\n"), write(tmp_path / "t", b"1\n2\n3\n4")
    with pytest.raises(DataError, match=r"found 3 in .*s and 4 in .*t; align them line by line"):
        read_parallel(source, target)


@pytest.mark.parametrize(
    ("source", "target", "where"), [(b"a\n \nc", b"x\ny\nz", "source"), (b"a\nb", b"x\n\n", "target")]
)
def test_an_empty_side_of_parallel_files_is_named(tmp_path: Path, source: bytes, target: bytes, where: str):
    with pytest.raises(DataError, match=rf"line 2 of .*{where}, but the line is empty; .*delete line 2 in both"):
        read_parallel(write(tmp_path / "source", source), write(tmp_path / "target", target))


def test_only_a_newline_ends_a_line(tmp_path: Path):
    odd = LINE_BREAKS_TO_OTHERS
    assert len(odd.splitlines()) == 9
    path = write(tmp_path / "odd", f"{odd}\nsecond\n".encode())
    assert read_parallel(path, path) == [(odd, odd), ("second", "second")]
    assert read_tsv(write(tmp_path / "odd.tsv", f"{odd}\t{odd}\n".encode())) == [(odd, odd)]


def test_text_is_split_ninety_to_ten_in_order():
    text = "".join(chr(ord("a") + index % 26) for index in range(115))
    corpus = split_text("letters", text)
    assert (len(corpus.train), len(corpus.validation), corpus.test) == (103, 12, "")  # 0.9 · 115 = 103.5
    assert corpus.train + corpus.validation == text


def test_too_little_text_is_refused():
    assert split_text("just enough", "x" * 100).validation == "x" * 10
    with pytest.raises(DataError, match=r"short must have at least 100 characters.*found 99; give more text"):
        split_text("short", "x" * 99)


def numbered(count: int) -> list[Pair]:
    return [(f"source {number}", f"target {number}") for number in range(count)]


def test_pairs_are_split_about_ninety_five_five():
    corpus = split_pairs("numbers", numbered(10_000))
    # binomial(10,000, 0.05): mean 500, standard deviation 22; five of them either way
    assert 390 < len(corpus.validation) < 610
    assert 390 < len(corpus.test) < 610
    assert len(corpus.train) + len(corpus.validation) + len(corpus.test) == 10_000


def test_where_a_source_falls_is_the_same_on_every_machine():
    # SHA-256 modulo 20 by sha256sum and bc: hello 0, river 1, one 5
    corpus = split_pairs("words", [*numbered(400), ("hello", "a"), ("river", "b"), ("one", "c")])
    assert ("hello", "a") in corpus.validation
    assert ("river", "b") in corpus.test
    assert ("one", "c") in corpus.train


@settings(deadline=None)
@given(extra=st.lists(st.tuples(st.sampled_from([source for source, _ in numbered(400)]) | sides, sides)))
def test_no_source_is_in_two_splits_and_no_pair_is_lost(extra: list[Pair]):
    pairs = numbered(400) + extra
    corpus = split_pairs("numbers", pairs)
    splits = (corpus.train, corpus.validation, corpus.test)
    sources = [{source for source, _ in split} for split in splits]
    assert sum(map(len, sources)) == len(set().union(*sources))
    assert sorted(pair for split in splits for pair in split) == sorted(pairs)


@settings(deadline=None)
@given(extra=st.lists(st.tuples(sides, sides)))
def test_appending_pairs_moves_none_of_the_others(extra: list[Pair]):
    before, after = split_pairs("numbers", numbered(400)), split_pairs("numbers", numbered(400) + extra)
    assert after.train[: len(before.train)] == before.train
    assert after.validation[: len(before.validation)] == before.validation
    assert after.test[: len(before.test)] == before.test


@pytest.mark.parametrize("count", [*range(3, 60), 100])
def test_few_pairs_still_give_every_split_at_least_one(count: int):
    corpus = split_pairs("few", numbered(count))
    splits = (corpus.train, corpus.validation, corpus.test)
    assert all(splits)
    assert sorted(pair for split in splits for pair in split) == sorted(numbered(count))


@pytest.mark.parametrize("pairs", [numbered(2), [("hello", str(number)) for number in range(1000)]])
def test_fewer_sources_than_splits_are_refused(pairs: list[Pair]):
    words = rf"same must have at least 3 distinct sources.*found {len(set(dict(pairs)))} in {len(pairs):,} pairs"
    with pytest.raises(DataError, match=words):
        split_pairs("same", pairs)


def test_a_line_of_a_million_characters_is_a_line(tmp_path: Path):
    long = "lorem ipsum " * 84_000
    path = write(tmp_path / "long", f"{long}\nshort\n".encode())
    assert read_parallel(path, path) == [(long, long), ("short", "short")]
    assert read_tsv(write(tmp_path / "long.tsv", f"{long}\tshort\n".encode())) == [(long, "short")]
