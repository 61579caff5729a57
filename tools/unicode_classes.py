r"""Write `unicode.h`: what patterns call \w, \s, \p{L} and \p{N}, and what normalizers make of characters.

python tools/unicode_classes.py

They are asked of the `tokenizers` package itself, for every code point, as no standard says all of them: its engine
for regular expressions, Oniguruma, has ² ³ ¹ ¼ ½ ¾ both in \w and in [^\s\w]. Which two characters one is composed
of, and the numbers of combining classes, are Python's; which of them the package knows is asked again, as its Unicode
is another than Python's.
"""

import itertools
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import fill

from tokenizers import Regex, normalizers, pre_tokenizers

ROOT = Path(__file__).parent.parent
HEADER = ROOT / "src" / "clearformer" / "engines" / "c" / "unicode.h"
sys.path.append(str(ROOT / "benchmarks" / "robustness"))
from charsmap import compiled  # noqa: E402

CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]

TEXT = """\
/* Classes of characters, as the `tokenizers` package has them; written by tools/unicode_classes.py.

   Each list holds the code points at which a class begins and ends in turn, so that a code point is of the class if an
   odd number of them are not above it. Each mapping has a code point and the ones that it becomes, three at most. Lists
   of numbers hold `code point << 8 | number` where another number begins; before the first it is 0. */

#ifndef UNICODE_H
#define UNICODE_H

#include <stdint.h>

"""


def members(pattern: str) -> set[int]:
    """The code points that match a pattern of one character."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return {ord(character) for piece, _ in split.pre_tokenize_str("".join(CHARACTERS)) for character in piece}


def borders(codes: set[int]) -> list[int]:
    """Where runs of consecutive code points begin and end, in order."""
    return sorted(codes ^ {code + 1 for code in codes})


def changes(**options: bool) -> dict[str, str]:
    """What BERT's normalizer makes of each character that it changes, with one option alone."""
    none = dict.fromkeys(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False)
    characters = [character for character in CHARACTERS if character != "|"]
    found = normalizers.BertNormalizer(**none | options).normalize_str("|".join(characters)).split("|")
    return {character: text for character, text in zip(characters, found, strict=True) if text != character}


def codes(characters: Iterable[str]) -> set[int]:
    return set(map(ord, characters))


def punctuation() -> set[int]:
    """What BERT's pre-tokenizer makes a piece of its own of, among letters."""
    pieces = pre_tokenizers.BertPreTokenizer().pre_tokenize_str("a" + "a".join(CHARACTERS) + "a")
    return codes(piece for piece, _ in pieces if len(piece) == 1 and piece != "a")


def lists() -> dict[str, tuple[str, set[int]]]:
    """The classes by their names in C, with what is said of them."""
    word, space, neither = members(r"\w"), members(r"\s"), members(r"[^\s\w]")
    assert word | neither == members(r"\S") == codes(CHARACTERS) - space
    assert members(r"[^\S\n]") == space - {ord("\n")}
    cleaned, accents = changes(clean_text=True), changes(strip_accents=True)
    removed = codes(character for character, text in cleaned.items() if not text)
    assert codes(cleaned) - removed | {ord(" ")} == space - removed
    chinese = changes(handle_chinese_chars=True)
    assert all(text == f" {character} " for character, text in chinese.items())
    return {
        "word_borders": (r"\w", word),
        "space_borders": (r"\s", space),
        "both_borders": (r"both in \w and in [^\s\w]", word & neither),
        "letter_borders": (r"\p{L}", members(r"\p{L}")),
        "number_borders": (r"\p{N}", members(r"\p{N}")),
        "punctuation_borders": ("what BERT's pre-tokenizer separates", punctuation()),
        "removed_borders": ("what BERT's normalizer removes from a clean text", removed),
        "chinese_borders": ("what it puts spaces around", codes(chinese)),
        "accent_borders": ("what it removes with accents", codes(c for c, text in accents.items() if not text)),
    }


def mappings() -> dict[str, tuple[str, dict[str, str]]]:
    """What characters become."""
    return {"lower_case": ("a character in lower case", changes(lowercase=True))}


def each(normalizer: normalizers.Normalizer, texts: Iterable[str]) -> list[str]:
    """What becomes of each text, at once, with a newline between two: nothing goes on over it."""
    return str(normalizer.normalize_str("\n".join(texts))).split("\n")


def changed(normalizer: normalizers.Normalizer) -> dict[str, str]:
    """What becomes of each of LETTERS."""
    return dict(zip(LETTERS, each(normalizer, LETTERS), strict=True))


LETTERS = [c for c in CHARACTERS if c != "\n" and (ord(c) < 0x40000 or 0xE0000 <= ord(c) < 0xE1000)]
"""without the newline, and without the planes that nothing is in"""
HANGUL = {chr(code) for code in range(0xAC00, 0xD7A4)}
"""syllables, whose decomposition is computed"""


def decompositions() -> dict[str, str]:
    """The one or two characters that each is composed of, the first of which may be composed again."""
    nfd = changed(normalizers.NFD())
    known = [c for c in LETTERS if c not in HANGUL and nfd[c] != c]
    parts = {c: "".join(chr(int(code, 16)) for code in unicodedata.decomposition(c).split()) for c in known}

    def whole(character: str) -> str:
        pair = parts.get(character, "")
        return whole(pair[0]) + pair[1:] if pair else character

    assert all(whole(c) == nfd[c] and len(whole(c)) <= 4 for c in known)
    assert all(len(whole(c).encode()) <= 3 * len(c.encode()) for c in known)
    bare = changes(strip_accents=True)
    accents = {c for c, text in bare.items() if not text}
    assert all("".join(part for part in nfd[c] if part not in accents) == bare.get(c, c) for c in LETTERS)
    return parts


def compositions(parts: Mapping[str, str]) -> list[int]:
    """The places in the list of decompositions of those that are composed again, in the order of their parts."""
    places = {c: place for place, c in enumerate(sorted(parts))}
    pairs = {pair: c for c, pair in parts.items() if len(pair) == 2 and normalizers.NFC().normalize_str(pair) == c}
    assert all(len(c.encode()) <= len(pair.encode()) for pair, c in pairs.items())
    return [places[pairs[pair]] for pair in sorted(pairs)]


def combining() -> dict[int, int]:
    """The combining class of each character that has one: in the package it lets one of class 1 pass, or passes it."""
    nfd = normalizers.NFD()
    alone = [c for c, text in changed(nfd).items() if text == c]
    passed = zip(alone, each(nfd, (f"\u0345{c}\u0334" for c in alone)), strict=True)
    return {ord(c): unicodedata.combining(c) for c, text in passed if text != f"\u0345{c}\u0334"}


GRAPHEMES = (
    "other", "control", "prepend", "extend", "non_joiner", "joiner", "linker", "spacing", "picture", "consonant",
    "leading", "vowel", "trailing",
)  # fmt: skip
"""in the order of the enum in graphemes.c"""


def graphemes() -> dict[int, int]:
    """What decides which characters are seen as one (Unicode Standard Annex 29).

    The package replaces a cluster of up to five bytes as a whole by what stands for its beginning, and a longer one
    character by character. So an accent behind a character that is replaced is lost, unless more stands before it.
    """
    keys = {"a": "", "©": "", "क": "", "\u0300": "", "\u1100": "", "\u1161": "", "\u11a8": ""}
    table = normalizers.Precompiled(compiled(keys))

    def joined(before: str, behind: str) -> set[str]:
        """What is of one cluster with the last character of what stands around it."""
        texts = each(table, (f"{before}{c}{behind}\u0301" for c in LETTERS))
        return {
            c for c, text in zip(LETTERS, texts, strict=True) if text.endswith("\u0301") and (before or c != "\u0301")
        }

    texts = zip(LETTERS, each(table, ("a" + c for c in LETTERS)), strict=True)
    behind = {c for c, text in texts if c not in keys and not text} | {"\u0300"}
    prepend, leading = joined("", "a"), joined("", "\u1100")
    open_, closed = joined("", "\u1161"), joined("", "\u11a8")
    found = {
        "control": {*LETTERS, "\n"} - joined("", "\u0300") - {*keys, "\u0301"},
        "prepend": prepend,
        "spacing": behind - joined("©", "\u200d©"),
        "extend": joined("©", "\u200d©") & joined("क\u094d", "क") & behind,
        "linker": joined("क", "क") & behind,
        "picture": joined("", "\u200d©") - prepend,
        "consonant": joined("", "\u094dक") - prepend,
        "leading": leading - prepend,
        "vowel": open_ & closed - HANGUL - prepend,
        "trailing": closed - open_ - HANGUL,
        "joiner": {"\u200d"},
    }
    found["extend"] -= found["linker"] | found["joiner"]
    found["spacing"] -= found["joiner"]
    found["non_joiner"] = behind - set().union(*found.values())
    assert found["non_joiner"] == {"\u200c"}
    assert not any(one & other for one, other in itertools.combinations(found.values(), 2))
    assert open_ & HANGUL == {c for c in HANGUL if (ord(c) - 0xAC00) % 28 == 0}
    return {ord(c): GRAPHEMES.index(name) for name, members_ in found.items() for c in members_}


def steps(numbers: Mapping[int, int]) -> Iterator[int]:
    """Where another number begins, with it."""
    places = sorted({*numbers, *(code + 1 for code in numbers)})
    for code in places:
        if numbers.get(code, 0) != numbers.get(code - 1, 0):
            yield code << 8 | numbers.get(code, 0)


def filled(numbers: Iterable[int]) -> str:
    return fill(", ".join(map(str, numbers)), 116, initial_indent="    ", subsequent_indent="    ")


def header() -> str:
    """The text of unicode.h."""
    text = TEXT
    for name, (meaning, members_) in lists().items():
        text += f"/* {meaning} */\nstatic const int32_t {name}[] = {{\n{filled(borders(members_))}}};\n\n"
    for name, (meaning, found) in mappings().items():
        rows = ([ord(c), *map(ord, to), *[0] * (3 - len(to))] for c, to in sorted(found.items()))
        text += f"/* {meaning} */\nstatic const int32_t {name}[] = {{\n{filled(n for row in rows for n in row)}}};\n\n"
    parts = decompositions()
    rows = ([ord(c), *map(ord, to), *[0] * (2 - len(to))] for c, to in sorted(parts.items()))
    for meaning, line, numbers in (
        (
            "a character, and the two, or the one, that it is composed of",
            "int32_t decompositions",
            itertools.chain(*rows),
        ),
        ("rows of these that are composed, by their parts", "uint16_t compositions", compositions(parts)),
        ("combining classes", "uint32_t combining_steps", steps(combining())),
        ("which characters are seen as one, as in graphemes.c", "uint32_t grapheme_steps", steps(graphemes())),
    ):
        text += f"/* {meaning} */\nstatic const {line}[] = {{\n{filled(numbers)}}};\n\n"
    return text + "#endif\n"


if __name__ == "__main__":
    HEADER.write_text(header(), encoding="utf-8")
