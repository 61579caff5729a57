"""Any text is encoded and decoded; vocabularies have the requested size, special tokens and file format."""

import json
from pathlib import Path
from typing import Literal

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from clearformer.data.tokenizers import BOS, EOS, MASK, PAD, UNK, Tokenizer, train_tokenizer
from clearformer.errors import DataError

Kind = Literal["character", "bpe", "word"]

TEXT = "the cat sat on the mat, the cat!\n  twice\t(or so)\r\n\nGrüße <pad> <bos>\u2028end of it\x85\n"
KINDS: list[Kind] = ["character", "bpe", "word"]
TOKENIZERS = {kind: train_tokenizer(kind, [TEXT], 300) for kind in KINDS}

any_text = st.text(st.characters(codec="utf-8"))
"""all of Unicode but the surrogates"""
spaces = st.text(" \t\n\r\x0b\x0c\x85\u2028\xa0\u3000aé!_1😀")
"""difficult to split into pieces and lines"""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def tokenizer(kind: Kind) -> Tokenizer:
    return TOKENIZERS[kind]


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.token_text(index) for index in tokenizer.encode(text)]


@given(any_text | spaces)
@example("<pad><bos><eos><unk>")
@example("\x00 \ufffd\U0010ffff")
def test_bpe_decodes_any_text(text: str):
    ids = TOKENIZERS["bpe"].encode(text)
    assert TOKENIZERS["bpe"].decode(ids) == text
    assert UNK not in ids


@given(st.text(sorted(set(TEXT))))
def test_characters_decode_any_text_of_known_characters(text: str):
    ids = TOKENIZERS["character"].encode(text)
    assert len(ids) == len(text)
    assert TOKENIZERS["character"].decode(ids) == text


@given(st.lists(st.sampled_from([" cat", " the", "\n", " twice", " sat"])).map("".join))
def test_words_decode_any_text_of_known_pieces(text: str):
    assert TOKENIZERS["word"].decode(TOKENIZERS["word"].encode(text)) == text


def test_the_training_text_is_decoded(tokenizer: Tokenizer):
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


@pytest.mark.parametrize("kind", KINDS)
@given(text=any_text | spaces)
def test_encoding_line_by_line_gives_the_same_tokens(kind: Kind, text: str):
    assert TOKENIZERS[kind].encode_lines(text) == TOKENIZERS[kind].encode(text)


def test_words_include_the_preceding_space():
    # by hand: a space belongs to the next word; of several spaces the last does; a tab is a piece
    text = "a cat,  a\tcat\n"
    expected = ["a", " cat", ",", " ", " a", "\t", "cat", "\n"]
    assert pieces(train_tokenizer("word", [text], 50), text) == expected


def test_special_tokens_have_the_same_ids_in_every_vocabulary(tokenizer: Tokenizer):
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert [tokenizer.token_text(index) for index in range(4)] == ["<pad>", "<bos>", "<eos>", "<unk>"]


@pytest.mark.parametrize(
    ("kind", "expected"), [("character", [*"<pad>"]), ("bpe", [*"<pad>"]), ("word", ["<", "pad", ">"])]
)
def test_pad_in_a_text_is_not_padding(kind: Kind, expected: list[str]):
    tokenizer = train_tokenizer(kind, ["<pad> <bos>"], 260)  # no room for merges of BPE
    ids = tokenizer.encode("<pad>")
    assert not {PAD, BOS, EOS, UNK} & set(ids)
    assert pieces(tokenizer, "<pad>") == expected
    assert tokenizer.decode(ids) == "<pad>"


def test_pad_bos_and_eos_are_not_decoded():
    tokenizer = TOKENIZERS["character"]
    assert tokenizer.decode([BOS, *tokenizer.encode("cat"), EOS, PAD, PAD]) == "cat"


@pytest.mark.parametrize(
    ("kind", "text", "unknown", "decoded"),
    [
        ("character", "cäz☃", ["ä", "z", "☃"], "c<unk><unk><unk>"),
        ("word", "the dog, the hat", [" dog", " hat"], "the<unk>, the<unk>"),
        ("bpe", "cäz☃", [], "cäz☃"),
    ],
)
def test_pieces_outside_the_vocabulary_become_unk_and_are_listed(
    kind: Kind, text: str, unknown: list[str], decoded: str
):
    tokenizer = TOKENIZERS[kind]
    assert tokenizer.encode(text).count(UNK) == len(unknown)
    assert tokenizer.unknown(text) == unknown
    assert tokenizer.decode(tokenizer.encode(text)) == decoded


def test_part_of_a_character_is_the_replacement_character():
    first_byte, *_ = TOKENIZERS["bpe"].encode("😀")
    assert TOKENIZERS["bpe"].token_text(first_byte) == "\ufffd"


def test_a_saved_tokenizer_is_loaded_unchanged_here_and_by_the_tokenizers_package(tokenizer: Tokenizer, tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    loaded, theirs = Tokenizer.load(path), tokenizers.Tokenizer.from_file(str(path))
    assert loaded.vocab_size == theirs.get_vocab_size() == tokenizer.vocab_size
    assert loaded.encode(TEXT + "<pad>") == tokenizer.encode(TEXT + "<pad>")
    assert theirs.encode("the cat sat\n on it!").ids == tokenizer.encode("the cat sat\n on it!")
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_the_file_contains_no_text_but_the_vocabulary(tmp_path: Path):
    TOKENIZERS["character"].save(tmp_path / "tokenizer.json")
    saved = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert set(saved["model"]["vocab"]) == {"<pad>", "<bos>", "<eos>", "<unk>", *TEXT}


def test_training_twice_gives_the_same_file(kind: Kind):
    one, two = (train_tokenizer(kind, [TEXT, "another text"], 290) for _ in range(2))
    assert one.backend.to_str() == two.backend.to_str()


@pytest.mark.parametrize(("kind", "size"), [("character", 9), ("bpe", 262), ("word", 9)])
def test_a_vocabulary_has_the_requested_size(kind: Kind, size: int):
    tokenizer = train_tokenizer(kind, [TEXT], size)
    assert tokenizer.vocab_size == size
    assert max(tokenizer.encode(TEXT)) < size


def test_a_small_vocabulary_keeps_the_most_frequent_pieces():
    assert train_tokenizer("character", ["aaaabbbccd"], 4 + 2).encode("abcd") == [4, 5, UNK, UNK]


def test_bpe_merges_the_most_frequent_pair_first():
    # by hand: "ab" occurs three times, every other pair at most twice; 4 special tokens, 256 bytes, one merge
    assert pieces(train_tokenizer("bpe", ["ab\nab\nab\ncd\ncd\n"], 261), "abcd") == ["ab", "c", "d"]


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(("kind", "smallest"), [("character", 5), ("word", 5), ("bpe", 260)])
def test_a_vocabulary_that_is_too_small_for_its_kind_is_refused(kind: Kind, smallest: int, mask: bool):
    smallest += mask
    assert train_tokenizer(kind, [TEXT], smallest, mask).vocab_size == smallest
    words = rf"a {kind} vocabulary of at least {smallest} .* found {smallest - 1}; raise --model\.vocab-size"
    with pytest.raises(DataError, match=words):
        train_tokenizer(kind, [TEXT], smallest - 1, mask)


def test_training_without_text_is_refused(kind: Kind):
    with pytest.raises(DataError, match=r"text to train the tokenizer on was expected, found none"):
        train_tokenizer(kind, ["", ""], 300)


def test_mask_is_the_fifth_special_token_and_shifts_the_others_by_one(kind: Kind, tokenizer: Tokenizer, tmp_path: Path):
    masked = train_tokenizer(kind, [TEXT], 301, mask=True)
    masked.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (masked.has_mask, loaded.has_mask, tokenizer.has_mask) == (True, True, False)
    assert [loaded.token_text(index) for index in range(5)] == ["<pad>", "<bos>", "<eos>", "<unk>", "<mask>"]
    assert loaded.vocab_size == tokenizer.vocab_size + 1
    assert loaded.encode(TEXT) == [index + 1 if index > UNK else index for index in tokenizer.encode(TEXT)]


def test_mask_is_decoded_but_never_encoded(kind: Kind):
    tokenizer = train_tokenizer(kind, ["a cat <mask>"], 300, mask=True)
    assert tokenizer.decode([*tokenizer.encode("a"), MASK, *tokenizer.encode(" cat")]) == "a<mask> cat"
    assert MASK not in tokenizer.encode("a <mask>")
    assert tokenizer.decode(tokenizer.encode("a <mask>")) == "a <mask>"


FORMAT = r"a tokenizer in Hugging Face's format was expected in .*tokenizer\.json, but: "
OTHER_TOKENS = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2}, unk_token="[UNK]"))
OTHER_UNKNOWN = TOKENIZERS["word"].backend.to_str(pretty=True).replace('"unk_token": "<unk>"', '"unk_token": "the"')


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, FORMAT + ".*No such file"),
        (b"", FORMAT),
        (b"{}", FORMAT),
        (b"\xff", FORMAT),
        (b'{"version": "1.0", "model"', FORMAT),
        (OTHER_TOKENS.to_str().encode(), r"begins with <pad>, <bos>, <eos>, <unk> was expected, found \['\[PAD\]', "),
        (OTHER_UNKNOWN.encode(), r"whose unknown token is <unk> was expected, found 'the'; use the tokenizer\.json"),
    ],
    ids=["missing", "empty", "no model", "not UTF-8", "cut off", "other special tokens", "other unknown token"],
)
def test_an_invalid_tokenizer_file_is_refused(tmp_path: Path, content: bytes | None, words: str):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        Tokenizer.load(path)


@pytest.mark.parametrize(
    ("kind", "line"), [("bpe", "ab" * 500_000), ("word", "ab" * 500_000), ("bpe", "lorem ipsum " * 84_000)]
)
def test_a_line_of_a_million_characters_is_decoded(kind: Kind, line: str):
    # trained on uncut, the first would take BPE half an hour
    tokenizer = train_tokenizer(kind, [line], 300)
    assert tokenizer.decode(tokenizer.encode_lines(line)) == line


def test_bpe_is_trained_on_uncut_lines_of_thousands_of_characters():
    # a word cut in two would count as two others
    line = " the cat sat"
    one, many = train_tokenizer("bpe", [line * 800], 270), train_tokenizer("bpe", [line] * 800, 270)
    assert one.backend.to_str() == many.backend.to_str()
