"""Normalizers in C make of a text what the `tokenizers` package makes of it, and Python of its normal forms; a table of
replacements that is damaged is refused."""

import base64
import functools
import json
import struct
import time
import unicodedata
from typing import Any

import pytest
from charsmap import compiled
from foreign import REPLACED, ROW, TABLE, byte_pairs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers
from vocabulary import AWKWARD, CTokenizer

pytestmark = pytest.mark.usefixtures("compiled")

CHARACTERS = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE1000))]
"""of all planes that anything is in"""
MARKS = [
    "\u0301", "\u0300", "\u0327", "\u0345", "\u05b0", "\u093c", "\u094d", "\u1161", "\u11a8", "\u200d", "\u200c",
    "\ufe0f",
]  # fmt: skip
BASES = [
    "a", "e", "é", "Å", "ﬁ", "①", "Ａ", "™", "©", "👩", "🇩", "क", "\u0958", "\u0600", "ᄀ", "가", "각", "\r", "\n", " ",
    "ｶ", "ﾞ",
]  # fmt: skip
texts = st.lists(st.text(max_size=4) | st.sampled_from([*MARKS, *MARKS, *BASES, *AWKWARD]), max_size=16).map("".join)
MOST_GROWTH = 13
"""times that a text may become longer by a table, of charsmap.h"""


NORMALIZERS = {
    "NFC": normalizers.NFC(),
    "NFD": normalizers.NFD(),
    "Precompiled": normalizers.Precompiled(TABLE),
    "Sequence": normalizers.Sequence(
        [normalizers.Precompiled(TABLE), normalizers.Strip(left=False), normalizers.Replace(ROW, " ")]
    ),
    "Strip": normalizers.Sequence([normalizers.NFD(), normalizers.Strip(), normalizers.Replace(ROW, " ")]),
}


@functools.cache
def file_of(name: str = "") -> Any:
    """A tokenizer.json with a normalizer, whose tokens of a text have the text that becomes of it."""
    return json.loads(byte_pairs(normalizer=NORMALIZERS.get(name)).to_str())


@functools.cache
def read(name: str) -> CTokenizer:
    return CTokenizer(json.dumps(file_of(name)).encode(), b"{}")


def in_c(name: str, text: str) -> str:
    """What the normalizer makes of a text in C."""
    c = read(name)
    return c.decode(c.encode(text))


@pytest.mark.parametrize("name", NORMALIZERS)
@settings(max_examples=100)
@given(text=texts)
@example(text="".join([*BASES, *MARKS, *reversed(MARKS)]))
@example(text="".join(base + mark + other for base in BASES for mark in MARKS for other in MARKS))
@example(text="\r\n\u0301 ﷺ  \u3000  \x00\u0301  ")
@example(text="👩\u200d™\u0301 👩\u0301™\u0301 👩\u200d\u200d™\u0301 क\u094d\u200c\u0958\u0301 가\u11a7")
def test_a_text_becomes_what_it_becomes_in_the_library(name: str, text: str):
    assert in_c(name, text) == NORMALIZERS[name].normalize_str(text)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NFC", "NFD", "Precompiled"])
@pytest.mark.parametrize("around", ["{}\n", "a{}\u0301\n", "\u0323{}\u0316", "\u1100{}\u11a8\u0300\n", "क्{}\u0301 "])
def test_each_character_becomes_what_it_becomes_in_the_library(name: str, around: str):
    for start in range(0, len(CHARACTERS), 20_000):  # which needs 200 MB
        text = "".join(around.format(character) for character in CHARACTERS[start : start + 20_000])
        assert in_c(name, text) == NORMALIZERS[name].normalize_str(text)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_normal_forms_are_python_s_for_characters_of_unicode_3_2(form):
    """The library knows those up to Unicode 9: it puts no later accents into order, of which Python knows 50 more."""
    old = [character for character in CHARACTERS if unicodedata.ucd_3_2_0.category(character) != "Cn"]
    text = "".join(f"x{character}\u0316\u0301y" for character in old)
    assert in_c(form, text) == unicodedata.normalize(form, text)


def test_many_accents_out_of_order_take_no_quadratic_time():
    n = 30_000
    text = "a" + "\u0301\u0327\u0345" * n
    started = time.process_time()
    found = in_c("NFC", text)
    assert time.process_time() - started < 1  # a pass for each class; to sort by exchanging neighbours takes minutes
    assert found == "á" + "\u0327" * n + "\u0301" * (n - 1) + "\u0345" * n  # of classes 202, 230 and 240


def table_in_c(table: bytes | str) -> CTokenizer:
    text = table if isinstance(table, str) else base64.b64encode(table).decode()
    file = file_of() | {"normalizer": {"type": "Precompiled", "precompiled_charsmap": text}}
    return CTokenizer(json.dumps(file).encode(), b"{}")


def unit(table: bytes, place: int, value: int) -> bytes:
    """The table with another unit."""
    at = 4 + 4 * place
    return table[:at] + struct.pack("<I", value) + table[at + 4 :]


SMALL = compiled({"b": "B"})
ROOT, CHILD, LEAF = 1, 1 ^ ord("b"), 2
"""the children of the first unit are those of place 1, and the key "b" ends at place 2"""


@pytest.mark.parametrize(
    "table",
    [
        "", "=", "AAA", "AA=A", "AAAA", "====", "*AAA", "AAB=",
        struct.pack("<I", 0) + b"B\0",
        struct.pack("<I", 2**32 - 1) + SMALL[4:],
        struct.pack("<I", 4 * 255) + SMALL[4:],
        SMALL[:1000],
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused_in_one_sentence(table: bytes | str):
    with pytest.raises(ValueError, match=r"^a precompiled_charsmap of SentencePiece's was expected, found \""):
        table_in_c(table)


@pytest.mark.parametrize(
    "table",
    [
        unit(SMALL, 0, (2**22 - 1) << 10),
        unit(SMALL, 0, 256 << 10),
        unit(SMALL, CHILD, ord("b") | 1 << 8 | (2**21 - 1) << 10),
        unit(SMALL, CHILD, ord("b") | 1 << 8 | 1 << 9 | 1 << 10),
        unit(SMALL, LEAF, 3 | 1 << 31),
        unit(SMALL, LEAF, 2**32 - 1),
        SMALL[:-2] + b"\xff\0",
        unit(compiled({"b": "é"}), LEAF, 1 | 1 << 31),
        compiled({"b": "B" * (MOST_GROWTH + 1)}),
        struct.pack("<257I", 1024, *((place ^ 1) * (1 + (1 << 10)) for place in range(256))) + b"\0",
    ],
    ids=[
        "root outside", "root behind", "child outside", "child far outside", "replacement behind", "replacement far",
        "no UTF-8", "within a character", "grows", "in circles",
    ],
)  # fmt: skip
def test_a_table_that_leads_outside_itself_is_refused_in_one_sentence(table: bytes):
    with pytest.raises(ValueError, match=r"^a precompiled_charsmap of tables in order was expected, found \""):
        table_in_c(table)


def test_the_longest_replacements_fit_and_a_table_without_a_last_zero_is_read():
    c = table_in_c(compiled({"b": "\u00a0" * 4, "c": " " * 4})[:-1])
    assert c.decode(c.encode("bcb" * 50)) == ("\u00a0" * 4 + " " * 4 + "\u00a0" * 4) * 50


def test_a_cluster_of_less_than_six_bytes_becomes_what_its_beginning_becomes():
    assert REPLACED["ﬁ"] == "fi"
    assert in_c("Precompiled", "ﬁ\u0300ﬁ\u0300\u0300 \r\n|") == "fifi\u0300\u0300  |"
