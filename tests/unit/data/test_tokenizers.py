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


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    return [tokenizer.token_text(index) for index in tokenizer.encode(text)]


@given(any_text | spaces)
@example("<pad><bos><eos><unk>")
@example("\x00 \ufffd\U0010ffff")
def test_bpe_decodes_any_text(text: str):
    tokenizer = TOKENIZERS["bpe"]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert UNK not in ids


@given(st.text(sorted(set(TEXT))))
def test_characters_decode_any_text_of_known_characters(text: str):
    tokenizer = TOKENIZERS["character"]
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text


@given(st.lists(st.sampled_from([" cat", " the", "\n", " twice", " sat"])).map("".join))
def test_words_decode_any_text_of_known_pieces(text: str):
    tokenizer = TOKENIZERS["word"]
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_training_text_is_decoded(kind: Kind):
    assert TOKENIZERS[kind].decode(TOKENIZERS[kind].encode(TEXT)) == TEXT


@pytest.mark.parametrize("kind", KINDS)
@given(text=any_text | spaces)
def test_encoding_line_by_line_gives_the_same_tokens(kind: Kind, text: str):
    assert TOKENIZERS[kind].encode_lines(text) == TOKENIZERS[kind].encode(text)


def test_words_include_the_preceding_space():
    # by hand: a space belongs to the next word; of several spaces the last does; a tab is a piece
    tokenizer = train_tokenizer("word", ["a cat,  a\tcat\n"], 50)
    assert pieces(tokenizer, "a cat,  a\tcat\n") == [
        "a", " cat", ",", " ", " a", "\t", "cat", "\n",
    ]  # fmt: skip


def test_special_tokens_have_the_same_ids_in_every_vocabulary(kind: Kind):
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)
    assert [TOKENIZERS[kind].token_text(index) for index in range(4)] == ["<pad>", "<bos>", "<eos>", "<unk>"]


@pytest.mark.parametrize("kind", ["character", "bpe"])
def test_pad_in_a_text_is_five_characters_and_not_padding(kind: Kind):
    tokenizer = train_tokenizer(kind, ["dap <> sob"], 300)
    ids = tokenizer.encode("<pad>")
    assert len(ids) == 5
    assert not {PAD, BOS, EOS, UNK} & set(ids)
    assert tokenizer.decode(ids) == "<pad>"


def test_pad_in_a_text_is_words_and_not_padding():
    assert pieces(TOKENIZERS["word"], "a <pad>")[1:] == [
        " <",
        "pad",
        ">",
    ]


def test_pad_bos_and_eos_are_not_decoded():
    tokenizer = TOKENIZERS["character"]
    assert tokenizer.decode([BOS, *tokenizer.encode("cat"), EOS, PAD, PAD]) == "cat"


@pytest.mark.parametrize(
    ("kind", "text", "decoded"), [("character", "cäz", "c<unk><unk>"), ("word", "the dog", "the<unk>")]
)
def test_pieces_outside_the_vocabulary_become_unk(kind: Kind, text: str, decoded: str):
    tokenizer = TOKENIZERS[kind]
    assert UNK in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == decoded


def test_part_of_a_character_is_the_replacement_character():
    first_byte, *_ = TOKENIZERS["bpe"].encode("😀")
    assert TOKENIZERS["bpe"].token_text(first_byte) == "\ufffd"


def test_a_loaded_tokenizer_equals_the_saved_one(kind: Kind, tmp_path: Path):
    TOKENIZERS[kind].save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.vocab_size == TOKENIZERS[kind].vocab_size
    assert loaded.encode(TEXT + "<pad>") == TOKENIZERS[kind].encode(TEXT + "<pad>")
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "tokenizer.json").read_bytes()


def test_the_tokenizers_package_loads_the_file_and_agrees(kind: Kind, tmp_path: Path):
    TOKENIZERS[kind].save(tmp_path / "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "the cat sat\n on it!"
    assert theirs.encode(text).ids == TOKENIZERS[kind].encode(text)


def test_training_twice_gives_the_same_file(kind: Kind, tmp_path: Path):
    for name in ("one.json", "two.json"):
        train_tokenizer(kind, [TEXT, "another text"], 290).save(tmp_path / name)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


@pytest.mark.parametrize(("kind", "size"), [("character", 9), ("bpe", 262), ("word", 9)])
def test_a_vocabulary_has_the_requested_size(kind: Kind, size: int):
    tokenizer = train_tokenizer(kind, [TEXT], size)
    assert tokenizer.vocab_size == size
    assert max(tokenizer.encode(TEXT)) < size


def test_a_small_vocabulary_keeps_the_most_frequent_pieces():
    tokenizer = train_tokenizer("character", ["aaaabbbccd"], 4 + 2)
    assert tokenizer.encode("abcd") == [4, 5, UNK, UNK]


def test_bpe_merges_the_most_frequent_pair_first():
    # by hand: "ab" occurs three times, every other pair at most twice; 4 special tokens, 256 bytes, one merge
    tokenizer = train_tokenizer("bpe", ["ab\nab\nab\ncd\ncd\n"], 261)
    assert pieces(tokenizer, "abcd") == ["ab", "c", "d"]


@pytest.mark.parametrize(("kind", "size", "least"), [("character", 4, 5), ("word", 4, 5), ("bpe", 259, 260)])
def test_a_vocabulary_without_room_is_refused(kind: Kind, size: int, least: int):
    with pytest.raises(DataError, match=rf"a {kind} vocabulary of at least {least} .* found {size}; raise --model\.vo"):
        train_tokenizer(kind, [TEXT], size)


def test_training_without_text_is_refused(kind: Kind):
    with pytest.raises(DataError, match=r"text to train the tokenizer on was expected, found none"):
        train_tokenizer(kind, ["", ""], 300)


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"version": "1.0", "model"'])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a tokenizer in Hugging Face's format was expected in .*tokenizer\.json, but"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"expected in .*tokenizer\.json, but: .*No such file"):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_a_tokenizer_with_other_special_tokens_is_refused(tmp_path: Path):
    theirs = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2}, unk_token="[UNK]"))
    theirs.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match=r"begins with <pad>, <bos>, <eos>, <unk> was expected, found \['\[PAD\]', "):
        Tokenizer.load(tmp_path / "tokenizer.json")


def test_another_unknown_token_is_refused(tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    train_tokenizer("word", ["a b"], 10).save(path)
    path.write_text(
        path.read_text(encoding="utf-8").replace('"unk_token": "<unk>"', '"unk_token": "a"'), encoding="utf-8"
    )
    with pytest.raises(
        DataError, match=r"a vocabulary whose unknown token is <unk> was expected, found 'a'; use the tok"
    ):
        Tokenizer.load(path)


def test_the_file_contains_no_text_but_the_vocabulary(tmp_path: Path):
    TOKENIZERS["character"].save(tmp_path / "tokenizer.json")
    saved = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert set(saved["model"]["vocab"]) == {"<pad>", "<bos>", "<eos>", "<unk>", *TEXT}


def test_unknown_pieces_are_listed():
    words = train_tokenizer("word", ["a rose is a rose"], 20)
    assert words.unknown("a rose is a daisy, is it") == [" daisy", ",", " it"]
    assert train_tokenizer("character", ["a rose"], 20).unknown("a röse☃") == ["ö", "☃"]
    assert train_tokenizer("bpe", ["a rose"], 300).unknown("a röse☃") == []


def test_mask_is_the_fifth_special_token_and_shifts_the_others_by_one(kind: Kind, tmp_path: Path):
    masked = train_tokenizer(kind, [TEXT], 301, mask=True)
    masked.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (masked.has_mask, loaded.has_mask, TOKENIZERS[kind].has_mask) == (True, True, False)
    assert [loaded.token_text(index) for index in range(5)] == ["<pad>", "<bos>", "<eos>", "<unk>", "<mask>"]
    assert loaded.vocab_size == TOKENIZERS[kind].vocab_size + 1
    assert loaded.encode(TEXT) == [index + 1 if index > UNK else index for index in TOKENIZERS[kind].encode(TEXT)]


def test_mask_is_decoded_but_never_encoded(kind: Kind):
    tokenizer = train_tokenizer(kind, ["a cat <mask>"], 300, mask=True)
    assert tokenizer.decode([*tokenizer.encode("a"), MASK, *tokenizer.encode(" cat")]) == "a<mask> cat"
    assert MASK not in tokenizer.encode("a <mask>")
    assert tokenizer.decode(tokenizer.encode("a <mask>")) == "a <mask>"


@pytest.mark.parametrize(("kind", "least"), [("character", 6), ("word", 6), ("bpe", 261)])
def test_a_vocabulary_with_mask_is_one_larger(kind: Kind, least: int):
    assert train_tokenizer(kind, [TEXT], least, mask=True).vocab_size == least
    with pytest.raises(
        DataError, match=rf"a {kind} vocabulary of at least {least} tokens was expected, found {least - 1}"
    ):
        train_tokenizer(kind, [TEXT], least - 1, mask=True)


@pytest.mark.parametrize(
    ("kind", "line"), [("bpe", "ab" * 500_000), ("word", "ab" * 500_000), ("bpe", "lorem ipsum " * 84_000)]
)
def test_a_line_of_a_million_characters_is_decoded(kind: Kind, line: str):
    # trained on uncut, the first would take BPE half an hour
    tokenizer = train_tokenizer(kind, [line], 300)
    assert tokenizer.decode(tokenizer.encode_lines(line)) == line


def test_cutting_long_lines_cuts_no_word_of_a_line_below_the_limit():
    # a word cut in two would count as two others
    line = " the cat sat"
    one, many = train_tokenizer("bpe", [line * 800], 270), train_tokenizer("bpe", [line] * 800, 270)
    assert one.backend.to_str() == many.backend.to_str()
