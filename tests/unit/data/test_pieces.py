"""Files in every format give their text in pieces, or one sentence that says what is wrong with them."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearformer.data import pieces
from clearformer.data.pieces import read_documents, read_pieces
from clearformer.data.text_files import TextFiles
from clearformer.data.tokenizers import train_tokenizer
from clearformer.errors import DataError

TEXTS = ["one line", "two\r\nlines\n", "", "Grüße ☃ 😀"]
READ = "one line\n\ntwo\nlines\n\n\n\nGrüße ☃ 😀\n\n"
"""TEXTS, each with an empty line behind it"""
JSONL = "".join(json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(TEXTS))


def zstandard() -> Any:
    return pytest.importorskip("zstandard", reason="the optional package zstandard writes the files to be read")


def parquet(path: Path, columns: dict[str, list[Any]]) -> Path:
    pytest.importorskip("pyarrow", reason="the optional package pyarrow writes the files to be read")
    from pyarrow import table
    from pyarrow.parquet import write_table

    write_table(table(columns), path)
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text("ab .\n\r\u3000é"), block=st.integers(1, 9))
def test_pieces_are_the_text_and_have_its_tokens(write, text: str, block: int):
    path = write("a.txt", text + "x")
    tokenizer = train_tokenizer("word", ["ab a b . x\n é \u3000"], 20)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pieces, "BLOCK", block)
        found = list(read_pieces(path))
    whole = (text + "x").replace("\r\n", "\n")
    assert "".join(found) == whole
    if all(len(line) <= block for line in whole.split("\n")):  # a longer one of a single word is cut anywhere
        assert tokenizer.encode_array(found).tolist() == tokenizer.encode(whole)


def test_a_line_without_end_is_cut_between_words(write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pieces, "BLOCK", 10)
    text = "word " * 20
    found = list(read_pieces(write("a.txt", text)))
    assert "".join(found) == text
    assert len(found) == 5
    assert all(piece.startswith(" word") for piece in found[1:])
    assert max(map(len, found)) <= 30
    assert max(map(len, read_pieces(write("a.txt", "x" * 1000)))) <= 30


@pytest.mark.parametrize("frames", [1, 3])
def test_zstd_is_read_frame_by_frame(tmp_path: Path, frames: int):
    text = "a line of text\n" * 5000
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zstandard().compress(text.encode()) * frames)
    assert "".join(read_pieces(path)) == text * frames


@pytest.mark.parametrize("damage", ["cut", "changed", "plain"])
def test_a_damaged_zstd_is_refused(tmp_path: Path, damage: str):
    data = zstandard().compress(bytes(range(97, 123)) * 9)
    path = tmp_path / "a.zst"
    path.write_bytes({"cut": data[:-3], "changed": b"\xff" + data[1:], "plain": b"plain text"}[damage])
    with pytest.raises(DataError, match=r"a\.zst must be a whole zstd file, but.*copy or compress it again"):
        list(read_pieces(path))


def test_jsonl_gives_the_texts_under_a_name(write):
    assert "".join(read_documents(write("a.jsonl", f"\n{JSONL}\n"), "text")) == READ
    assert "".join(read_documents(write("a.jsonl.gz", JSONL.replace('"text"', '"body"')), "body")) == READ


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"text": "a"}\n{"body": "b"}', "an object with 'text' was expected in line 2 of .*, found 'body'; name the"),
        ('{"text": "a"}\n["b"]', "an object with 'text' was expected in line 2 of .*, found \\['b'\\]"),
        ('{"text": "a"}\n{"text": "b"', "an object in JSON was expected in line 2 of .*, but: Expecting"),
        ('{"text": 5}', "text was expected under 'text' in line 1 of .*, found 5; fix or delete it"),
        ('{"text": "\\ud800"}', "text was expected under 'text' in line 1 of .*, found half a character"),
        ('{"text": "a"}\n{"text": "\xff"}'.encode("latin-1"), "an object in JSON was expected in line 2 of"),
        ('{"text": " "}', "text was expected under 'text' in .*, found none; choose another file or column"),
        ("", "text was expected under 'text' in .*, found none"),
    ],
)
def test_what_is_wrong_in_jsonl_is_named(write, content: str | bytes, words: str):
    with pytest.raises(DataError, match=words):
        list(read_documents(write("a.jsonl", content), "text"))


def test_parquet_gives_a_column(tmp_path: Path):
    path = parquet(tmp_path / "a.parquet", {"id": [1, 2, 3, 4], "text": TEXTS})
    assert "".join(read_documents(path, "text")) == READ


def test_what_is_wrong_in_parquet_is_named(tmp_path: Path):
    path = parquet(tmp_path / "a.parquet", {"id": [1, 2], "text": ["a", None]})
    for column, words in {
        "body": "a column 'body' was expected in .*, found 'id', 'text'; name the text's column with --data-column",
        "id": "text was expected under 'id' in row 1 of .*, found 1",
        "text": "text was expected under 'text' in row 2 of .*, found nothing",
    }.items():
        with pytest.raises(DataError, match=words):
            list(read_documents(path, column))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.parquet must be a whole Parquet file, but.*copy or write it again"):
        list(read_documents(path, "text"))
    with pytest.raises(DataError, match=r"a file was expected at .*none\.parquet, but there is none"):
        list(read_documents(tmp_path / "none.parquet", "text"))


@pytest.mark.parametrize(("name", "package"), [("a.txt.zst", "zstandard"), ("a.parquet", "pyarrow")])
def test_a_package_that_is_not_installed_is_named(write, monkeypatch: pytest.MonkeyPatch, name: str, package: str):
    for module in ("zstandard", "compression.zstd", "pyarrow"):
        monkeypatch.setitem(sys.modules, module, None)
    files = TextFiles((write(name, b"content"),))
    with pytest.raises(DataError, match=rf"the package {package} was expected, to read {name}, but is not installed; "):
        list(files.pieces())
