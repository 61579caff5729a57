"""Tokenizers in C give the ids and the text that the `tokenizers` package gives, and refuse what they cannot read."""

import ctypes
import functools
import itertools
import json
import operator
import random
import runpy
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from vocabulary import AWKWARD, BYTES, CTokenizer, broken

from clearformer.data.dates import dates
from clearformer.data.modular import number_tokenizer
from clearformer.data.pydocs import pydocs
from clearformer.data.tokenizers import Tokenizer, train_tokenizer

pytestmark = pytest.mark.usefixtures("compiled")

ROOT = Path(__file__).parents[4]
REMOVED = object()


def in_c(tokenizer: Tokenizer) -> CTokenizer:
    return CTokenizer(tokenizer.backend.to_str().encode())


LINES = [
    "the quick brown fox\n",
    "jumps over 12 dogs,\t  naïve café 日本語\r\n",
    "x²! x³ ½ 👩‍👩‍👧 e\u0301\n",
    "<mask> <pad>",
]
texts = st.lists(st.text() | st.sampled_from(AWKWARD), max_size=20).map("".join)
KINDS = [*((kind, mask) for kind in ("character", "word", "bpe") for mask in (False, True)), ("number", False)]


@functools.cache
def trained(kind: Any, mask: bool) -> tuple[Tokenizer, CTokenizer]:
    numbers = kind == "number"
    tokenizer = number_tokenizer(13) if numbers else train_tokenizer(kind, LINES * 3, 300, mask=mask)
    return tokenizer, in_c(tokenizer)


@pytest.mark.parametrize(("kind", "mask"), KINDS)
@given(text=texts)
@example(text="".join(AWKWARD))
def test_a_text_has_the_ids_and_the_ids_have_the_text_of_the_library(kind: str, mask: bool, text: str):
    python, c = trained(kind, mask)
    ids = python.encode(text)
    assert c.encode(text) == ids
    assert c.decode(ids) == python.decode(ids)
    assert kind != "bpe" or c.decode(ids) == text


@given(text=texts.filter(bool))
@example(text="a² ²! !²a \u00a0 x\t\n  \n \r\n\x85y")
def test_a_text_is_cut_into_the_pieces_of_the_library(text: str):
    tokenizer = train_tokenizer("word", [text], 10_000)  # every piece is a token
    assert in_c(tokenizer).encode(text) == tokenizer.encode(text)
    assert tokenizer.unknown(text) == []


@pytest.mark.parametrize(("kind", "mask"), KINDS)
@given(ids=st.lists(st.integers(0, 320) | st.just(2**31 - 1), max_size=30), places=st.sets(st.integers(0, 30)))
def test_any_ids_at_once_or_in_a_stream_have_the_text_of_the_library(
    kind: str, mask: bool, ids: list[int], places: set[int]
):
    python, c = trained(kind, mask)
    assert c.decode(ids) == python.decode(ids)
    rest = ctypes.create_string_buffer(8)  # `partial` of tokenizer.h
    parts = itertools.pairwise([0, *sorted(place for place in places if 0 < place < len(ids)), len(ids)])
    text = "".join(c.decode(ids[first:end], rest) for first, end in parts if end > first)
    assert text + c.decode([], rest) == python.decode(ids)


def test_a_stream_yields_a_character_with_its_last_byte_and_a_cut_one_at_the_end():
    _, c = trained("bpe", False)
    rest = ctypes.create_string_buffer(8)
    first, second, third, fourth = (4 + BYTES.index(byte) for byte in "🦊".encode())
    stream = [first, second, third, fourth, first, second]
    assert [c.decode([index], rest) for index in stream] == ["", "", "", "🦊", "", ""]
    assert c.decode([], rest) == "\ufffd"
    assert c.decode([4 + BYTES.index(ord("a"))], rest) == "a"


@given(data=broken)
@example(data=b"\xc1\xbf \xe0\x9f\xbf \xed\xa0\x80 \xf0\x8f\xbf\xbf \xf4\x90\x80\x80 \xf5\x80")
def test_broken_utf_8_is_decoded_as_python_replaces_it_and_not_encoded(data: bytes):
    _, c = trained("bpe", False)
    assert c.decode([4 + BYTES.index(byte) for byte in data]) == data.decode("utf-8", "replace")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="no UTF-8"):
            c.encode(data)
    else:
        assert c.decode(c.encode(data)) == text


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["character", "word", "bpe"])
def test_built_in_corpora_have_the_ids_of_the_library(kind: Any):
    pairs = dates(sizes=(2_000, 1, 1)).train
    for text in (pydocs().validation, "".join(f"{source}\t{target}\n" for source, target in pairs)):
        tokenizer = train_tokenizer(kind, [text], 2_000)
        c, ids = in_c(tokenizer), tokenizer.encode(text)
        assert c.encode(text) == ids
        assert c.decode(ids) == tokenizer.decode(ids)


def test_a_long_piece_of_overlapping_merges_takes_no_quadratic_time():
    letters = random.Random(1).choices("abc", k=100_000)
    tokenizer = train_tokenizer("bpe", ["".join(letters[:10_000])], 600)
    c, text = in_c(tokenizer), "".join(letters)
    started = time.process_time()
    ids = c.encode(text)
    assert time.process_time() - started < 1  # 0.03 s; to search all pairs for each of 70,000 merges takes minutes
    assert ids == tokenizer.encode(text)


@pytest.mark.parametrize(
    ("kind", "place", "value", "words"),
    [
        (
            "bpe",
            "normalizer",
            {"type": "NFC"},
            r'null was expected as "normalizer" of tokenizer.json, found \{"type": "NFC"\}',
        ),
        ("word", "model.type", "Unigram", '"WordLevel" was expected as "type" of "model", found "Unigram"'),
        ("word", "model.other", 1, 'nothing was expected as "other" of "model", found 1'),
        ("bpe", "model.dropout", REMOVED, 'null was expected as "dropout" of "model", found nothing'),
        (
            "bpe",
            "pre_tokenizer.pretokenizers",
            [],
            'an object was expected as "pretokenizers" of "pre_tokenizer", found nothing',
        ),
        (
            "word",
            "pre_tokenizer.pattern.Regex",
            r"\s+",
            r'the pattern of characters or of words was expected, found "\\\\s\+"',
        ),
        ("word", "model.vocab.the", 2**32, 'an id for each token .* found 4294967296 for "the"'),
        ("word", "model.vocab.the", 5.0, 'an id for each token .* found 5.0 for "the"'),
        ("word", "model.vocab.the", 0, 'an id for each token .* found 0 for "the"'),
        ("word", "model.vocab.the", REMOVED, "an id for each token"),
        ("word", "model.vocab", {}, "the token <pad> was expected with id 0"),
        ("bpe", "model.merges.0", ["t", "Ġq"], r'merges of two tokens into a third .* found \["t", "\?\?q"\]'),
        ("bpe", "model.merges.0", "t h", 'pairs of tokens .* found "t h"'),
        ("bpe", "model.merges.0", ["t", "h", "e"], "pairs of tokens"),
        ("bpe", "added_tokens.1.content", "<s>", "only special tokens were expected as added_tokens"),
        ("bpe", "added_tokens.1.special", False, 'true was expected as "special" of "added_tokens", found false'),
    ],
)
def test_a_file_of_another_kind_is_refused_in_one_sentence(kind: str, place: str, value: Any, words: str):
    file = json.loads(trained(kind, False)[0].backend.to_str())
    *outer, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    container = functools.reduce(operator.getitem, outer, file)
    container[last] = value
    if value is REMOVED:
        del container[last]
    with pytest.raises(ValueError, match=f"{words}.*; use the tokenizer.json that the run was made with$"):
        CTokenizer(json.dumps(file, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            '"padding":null',
            '"padding":null,"padding":null',
            'nothing was expected as "padding" of tokenizer.json, found null',
        ),
        ('"<bos>":', '"<s>":', "the token <bos> was expected with id 1"),
        ('"the":', '"he":', 'different tokens were expected, found "he" twice'),
        ('"the":', '"日":', r'tokens of byte-level characters .* found "\?\?\?"'),
        ('"the":', '"\u00ad":', "tokens of byte-level characters"),
        ('"a":', '"aa":', "a token for each byte was expected, found none for 97"),
    ],
)
def test_a_vocabulary_with_other_tokens_and_a_repeated_key_are_refused(old: str, new: str, words: str):
    text = trained("bpe", False)[0].backend.to_str()
    with pytest.raises(ValueError, match=words):
        CTokenizer(text.replace(old, new).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff{}", b"[" * 10**6])
def test_other_text_is_refused(text: bytes):
    with pytest.raises(ValueError, match="an object of JSON was expected"):
        CTokenizer(text)


@pytest.mark.slow
def test_a_damaged_file_is_refused_or_read_as_the_library_reads_it(fuzzer):
    outcomes, faults = fuzzer("vocabularies")(range(1_000))
    assert not faults
    assert outcomes["read"] > 150


@pytest.mark.slow
def test_the_classes_of_all_characters_are_those_of_the_library():
    classes = runpy.run_path(str(ROOT / "tools" / "unicode_classes.py"))
    assert classes["HEADER"].read_text("utf-8") == classes["header"]()
