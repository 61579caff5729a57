"""Imported tokenizers in C give the ids and texts of the `tokenizers` package, and refuse other parts by name."""

import ctypes
import functools
import json
import operator
from typing import Any

import pytest
import tokenizers
from foreign import imported
from hypothesis import example, given, settings
from hypothesis import strategies as st
from imported_run import sides
from vocabulary import AWKWARD, BYTES, CTokenizer, broken

from clearformer.data.imported import ImportedTokenizer

pytestmark = pytest.mark.usefixtures("compiled")

KINDS = [
    "GPT-2", "GPT-2, a space before", "RoBERTa", "Llama 3", "Qwen2", "BERT", "BERT, cased", "Llama", "Llama, Metaspace",
    "Llama, without bytes", "Marian", "Marian, NFD", "T5", "mT5", "XLM-R",
]  # fmt: skip
FEW = 40
"""draws of each kind; 1,500 a kind were drawn once"""
PARTS = [
    *AWKWARD, "dog's", "DON'T", "'ſ", "we'Re", "12345", "  \n \n x", "\t\ty", "\r\n\r\n", "İstanbul", "가나다", "ΑΣ",
    "Å", "ǖ", "café", "日本語", "▁", "a▁b", "  ", "<|endoftext|>", "<s>", " <mask> ", "[MASK]", "[SEP]x", "</s>",
    "<0x41>", "##og", "x" * 101, "A\u030a", "e\u0323\u0301", "e\u0301\u0323", "\u1112\u1161\u11ab", "가\u11a8",
    "<e\u0301>", "ﬁ", "ﬁ\u0301", "Ａ\u0300\u0301", "ﷺ", "ｶﾞ", "\u0301",
    "👩‍™\u0301", "क्\u0958\u0301", "\u0600a", "a \u3000 b", "   ",
]  # fmt: skip
texts = st.lists(st.text(max_size=5) | st.sampled_from(PARTS), max_size=12).map("".join)


@functools.cache
def tokenizer(kind: str) -> tuple[ImportedTokenizer, CTokenizer]:
    python = imported(kind)
    return python, in_c(python)


def in_c(python: ImportedTokenizer) -> CTokenizer:
    return CTokenizer(python.backend.to_str(pretty=True).encode(), json.dumps(python.names).encode())


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=FEW)
@given(text=texts)
@example(text="")
@example(text="".join(PARTS))
@example(text=" ".join(PARTS))
def test_a_text_has_the_ids_and_the_ids_have_the_text_of_the_library(kind: str, text: str):
    python, c = tokenizer(kind)
    ids = python.encode_lines(text)
    assert c.encode(text) == ids
    assert c.decode(ids) == python.decode(ids)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=FEW)
@given(ids=st.lists(st.integers(0, 400), max_size=20))
def test_any_ids_have_the_text_of_the_library(kind: str, ids: list[int]):
    python, c = tokenizer(kind)
    assert c.decode(ids) == python.decode(ids)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=FEW)
@given(text=texts)
def test_a_stream_of_the_tokens_of_a_text_has_its_text(kind: str, text: str):
    _, c = tokenizer(kind)
    ids, rest = c.encode(text), ctypes.create_string_buffer(8)
    assert "".join(c.decode([index], rest) for index in ids) + c.decode([], rest) == c.decode(ids)


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_and_those_around_a_text_and_those_never_written_are_python_s(kind: str):
    python, c = tokenizer(kind)
    assert c.special == python.special
    whole, inside = python.encode("the fox"), python.encode_lines("the fox")
    assert [*c.around[0], *inside, *c.around[1]] == whole
    assert python.special.mask is None or c.around == python.around
    assert [i for i in range(python.vocab_size) if c.is_never_written(i)] == list(python.never_written)
    assert c.vocab_size == python.num_ids < python.vocab_size  # the embedding has more rows


SIDED = [
    "the",
    "fox",
    "ox",
    " ",
    "  ",
    "ä",
    "日",
    "日本",
    "日本語",
    "der",
    "x",
    "lost",
    " lost",
    ">>deu<<",
    ">>fra<<",
    "</s>",
    "<<",
    ">>",
]


@pytest.mark.parametrize("side", ["source", "target"])
@settings(max_examples=FEW)
@given(text=st.lists(st.text(max_size=3) | st.sampled_from(SIDED), max_size=9).map("".join))
@example(text=" ".join(SIDED))
@example(text=">>deu<<" + "".join(SIDED))
@example(text=">>fra<< the fox lost")
@example(text=">><<")
@example(text=">><")
def test_each_side_of_a_translator_s_tokenizer_has_the_ids_and_texts_of_python(side: str, text: str):
    python = sides() if side == "source" else sides().target
    c = sides_in_c(side)
    ids = python.encode(text)
    assert c.encode(text) == ids
    assert c.decode(ids) == python.decode(ids)
    assert c.vocab_size == python.vocab_size
    assert max(ids, default=0) < c.vocab_size


@functools.cache
def sides_in_c(side: str) -> CTokenizer:
    return in_c(sides() if side == "source" else sides().target)


@settings(max_examples=FEW)
@given(data=broken)
def test_broken_utf_8_is_decoded_as_python_replaces_it_and_not_encoded(data: bytes):
    _, c = tokenizer("GPT-2")
    assert c.decode([BYTES.index(byte) for byte in data]) == data.decode("utf-8", "replace")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="no UTF-8"):
            c.encode(data)


def test_merges_are_read_as_pairs_and_as_texts():
    python, _ = tokenizer("GPT-2")
    file = json.loads(python.backend.to_str())
    file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]
    c = CTokenizer(json.dumps(file).encode(), json.dumps(python.names).encode())
    assert c.encode("the quick dog's") == python.encode_lines("the quick dog's")


def test_a_piece_that_is_a_token_is_one_at_once_where_merges_are_ignored():
    file = json.loads(tokenizer("Llama 3")[0].backend.to_str())
    file["model"] |= {"ignore_merges": True, "merges": []}
    backend = tokenizers.Tokenizer.from_str(json.dumps(file))
    ids = in_c(ImportedTokenizer(backend, {}, 331)).encode("the quick fox")
    assert ids == backend.encode("the quick fox").ids
    assert backend.token_to_id("the") in ids


def test_added_tokens_that_are_no_special_ones_are_found_as_they_are_configured():
    python, _ = tokenizer("BERT")
    backend = tokenizers.Tokenizer.from_str(python.backend.to_str())
    each = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    for content, name in {"Fox": "normalized", "dog": "single_word", "++": "lstrip", "--": "rstrip", "---": ""}.items():
        backend.add_tokens([tokenizers.AddedToken(content, **each | ({name: True} if name else {}))])
    both = ImportedTokenizer(backend, python.names, 200), in_c(ImportedTokenizer(backend, python.names, 200))
    for text in ("FOX fox foxes", "dog dogs hot-dog", "a  ++ b ++c", "a --  b ----x", "Fox---dog++ ++"):
        assert both[1].encode(text) == both[0].encode_lines(text), text
        assert both[1].decode(both[1].encode(text)) == both[0].decode(both[0].encode_lines(text))


STEPS = "NFC, NFD, Precompiled, Strip, Prepend or Replace of spaces"
REFUSED = [
    ("GPT-2", "normalizer", {"type": "NFKC"},
     f'{STEPS} was expected as the normalizer of tokenizer.json, found {{"type": "NFKC"}}'),
    ("GPT-2", "normalizer", {"type": "Prepend", "prepend": "▁"}, f"{STEPS} was expected as the normalizer"),
    ("BERT", "normalizer", {"type": "Lowercase"}, "BertNormalizer was expected as the normalizer"),
    ("mT5", "normalizer.normalizers.1", {"type": "NFC"}, f"{STEPS} was expected as the normalizer"),
    ("mT5", "normalizer.normalizers.2.content", "_", f"{STEPS} was expected as the normalizer"),
    ("Llama", "pre_tokenizer", {"type": "Whitespace"}, "Metaspace or null was expected as the pre_tokenizer"),
    ("Llama 3", "pre_tokenizer.pretokenizers.0.pattern.Regex", "x",
     "that of GPT-2, Llama 3 or Qwen2 was expected as the pre_tokenizer"),
    ("BERT", "model.type", "WordLevel", "BPE without affixes, WordPiece or Unigram was expected as the model"),
    ("GPT-2", "model.dropout", 0.1, "BPE without affixes, WordPiece or Unigram was expected as the model"),
    ("GPT-2", "decoder", None, "ByteLevel was expected as the decoder of tokenizer.json, found null"),
    ("Llama", "decoder.decoders", [], "Metaspace, or Replace, ByteFallback, Fuse and Strip, was expected"),
    ("BERT", "post_processor", {"type": "Other"}, "null, ByteLevel, or a template was expected as the post_processor"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "place", "value", "words"), REFUSED)
def test_a_part_that_c_does_not_read_is_refused_by_name(kind: str, place: str, value: Any, words: str):
    with pytest.raises(ValueError, match="expected") as refused:
        changed(kind, place, value)
    assert str(refused.value).startswith(words)
    assert ", which the C engine does not read; use the run with clearformer's other commands" in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "place", "value", "words"),
    [
        ("GPT-2", "added_tokens.0.id", 400, "different added_tokens were expected"),
        ("GPT-2", "added_tokens.0.content", "", "different added_tokens were expected"),
        ("GPT-2", "added_tokens.0.content", "a", "ids in the order of added_tokens were expected"),
        ("GPT-2", "added_tokens.0.content", "<end>", "the pad_token of special_tokens_map.json was expected"),
        ("GPT-2", "model.vocab.a", 4000, "an id for each token was expected"),
        ("GPT-2", "model.unk_token", [], "a token for what the vocabulary lacks was expected"),
        ("BERT", "model.unk_token", "[?]", "a token for what the vocabulary lacks was expected"),
        ("BERT", "model.continuing_subword_prefix", "#" * 17, "a prefix of at most 16 bytes was expected"),
        ("BERT", "post_processor.special_tokens.[CLS].ids", [9999], "ids of at most 4 tokens around a text"),
        ("Marian", "model.vocab.3", ["x"], "a token and its score were expected"),
        ("Marian", "model.unk_id", 9999, "a token for what the vocabulary lacks was expected"),
    ],
)
def test_a_damaged_vocabulary_is_refused_in_one_sentence(kind: str, place: str, value: Any, words: str):
    with pytest.raises(ValueError, match=f"^{words}.*; use the tokenizer.json that the run was made with$"):
        changed(kind, place, value)


def changed(kind: str, place: str, value: Any) -> CTokenizer:
    """The tokenizer with another value at a place."""
    python, _ = tokenizer(kind)
    file = json.loads(python.backend.to_str())
    *outer, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    container = functools.reduce(operator.getitem, outer, file)
    container[last] = value
    return CTokenizer(json.dumps(file, ensure_ascii=False).encode(), json.dumps(python.names).encode())
