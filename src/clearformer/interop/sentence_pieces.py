"""A file of SentencePiece's, such as source.spm: its pieces, their scores, and what is done to a text before.

    the pieces of a text: of all ways to cut it, the one with the largest Σ score        Kudo 2018, arXiv:1804.10959

It is a protocol buffer, a row of numbered values. Two dozen lines read the few that are needed here, so that no
further package is.
"""

import base64
import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from clearformer.data.sides import MARK
from clearformer.errors import InteropError

PIECE, TRAINER, NORMALIZER, DENORMALIZER = 1, 2, 3, 5
TEXT, SCORE, TYPE = 1, 2, 3
"""of a piece"""
NORMAL, UNKNOWN, CONTROL, UNUSED = 1, 2, 3, 5
"""types of pieces; others are a user's own, which are never cut, and bytes"""
CHARSMAP = 2
NEEDED = {
    (TRAINER, 3): ("model_type", 1),
    (TRAINER, 24): ("treat_whitespace_as_suffix", 0),
    (TRAINER, 35): ("byte_fallback", 0),
    (NORMALIZER, 3): ("add_dummy_prefix", 1),
    (NORMALIZER, 4): ("remove_extra_whitespaces", 1),
    (NORMALIZER, 5): ("escape_whitespaces", 1),
    (DENORMALIZER, CHARSMAP): ("denormalizer_spec", b""),
}
"""fields of the file and of what is in them: their names, and the only values that our tokenizers can mean"""


@dataclass(frozen=True)
class Pieces:
    """What a text is cut into; `charsmap` is the table of what its characters are written as before, or empty."""

    scores: dict[str, float]
    charsmap: bytes


def read_pieces(path: Path) -> Pieces:
    """Read a file of unigrams. Raises InteropError if it is damaged, or does what our tokenizers do not."""
    scores: dict[str, float] = {}
    charsmap = b""
    try:
        for number, value in _fields(path.read_bytes()):
            found = dict(_fields(_bytes(value))) if number in (PIECE, TRAINER, NORMALIZER, DENORMALIZER) else {}
            if number == PIECE:
                text, type_ = _bytes(found[TEXT]).decode(), found.get(TYPE, NORMAL)
                (score,) = struct.unpack("<f", _bytes(found.get(SCORE, bytes(4))))
                if type_ not in (NORMAL, UNKNOWN, CONTROL, UNUSED):
                    raise _lacking(path, f"the type {type_!r} of the piece {text!r}", "normal pieces")
                if type_ == NORMAL:
                    scores[text] = score
            for inner, each in found.items():
                name, needed = NEEDED.get((number, inner), ("", each))
                if each != needed:
                    raise _lacking(path, f"{name} {each!r}", f"{name} {needed!r}")
            if number == NORMALIZER:
                charsmap = _bytes(found.get(CHARSMAP, b""))
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise _damaged(path, str(error)) from error
    if not scores or not all(math.isfinite(score) for score in scores.values()):
        raise _damaged(path, "it has no pieces with finite scores")
    return Pieces(scores, charsmap)


def side_of(pieces: Pieces, numbered: Sequence[str], special: Sequence[str], unknown: int) -> tokenizers.Tokenizer:
    """The tokenizer of one side, whose ids are places in `numbered`, of which `special` are no text.

    Tokens that are no pieces of this side have MARK before them; pieces that are no tokens follow behind MARK alone.
    """
    kept = set(special)
    texts = [text if text in pieces.scores or text in kept else MARK + text for text in numbered]
    if lacking := [text for text in pieces.scores if text not in {*numbered}]:
        texts += [MARK, *lacking]
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
    changes: list[dict[str, Any]] = [
        {"type": "Strip", "strip_left": False, "strip_right": True},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
    ]
    if pieces.charsmap:
        table = base64.b64encode(pieces.charsmap).decode()
        changes.insert(0, {"type": "Precompiled", "precompiled_charsmap": table})
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    file = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": numbered.index(text), "content": text} | plain for text in special],
        "normalizer": {"type": "Sequence", "normalizers": changes},
        "pre_tokenizer": metaspace,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [{"type": "Replace", "pattern": {"String": MARK}, "content": ""}, metaspace],
        },
        "model": {
            "type": "Unigram",
            "unk_id": unknown,
            "vocab": [[text, pieces.scores.get(text, 0.0)] for text in texts],
            "byte_fallback": False,
        },
    }
    return tokenizers.Tokenizer.from_str(json.dumps(file))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The numbers and values of a protocol buffer: whole numbers, or bytes. Raises IndexError or ValueError."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if key & 7 not in (1, 2, 5):
            raise ValueError(f"it has a value of the unknown kind {key & 7}")
        length, at = _varint(data, at) if key & 7 == 2 else ({1: 8, 5: 4}[key & 7], at)
        if at + length > len(data):
            raise ValueError("it ends in the middle")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A whole number of seven bits a byte, the lowest first, and the place behind it."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("it ends in the middle")
        byte = data[at]
        value, at = value | (byte & 127) << shift, at + 1
        if byte < 128:
            return value, at
        shift += 7


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("it has a number where bytes were expected")
    return value


def _damaged(path: Path, reason: str) -> InteropError:
    return InteropError(f"a file of SentencePiece's was expected in {path}, but {reason}; copy it again")


def _lacking(path: Path, found: str, needed: str) -> InteropError:
    return InteropError(f"{needed} was expected in {path}, found {found}; no tokenizer of clearformer does that")
