r"""Write `unicode.h`: what patterns call \w, \s, \p{L} and \p{N}, and what BERT's tokenizer makes of characters.

python tools/unicode_classes.py

They are asked of the `tokenizers` package itself, for every code point, as no standard says all of them: its engine
for regular expressions, Oniguruma, has ² ³ ¹ ¼ ½ ¾ both in \w and in [^\s\w].
"""

from collections.abc import Iterable
from pathlib import Path
from textwrap import fill

from tokenizers import Regex, normalizers, pre_tokenizers

ROOT = Path(__file__).parent.parent
HEADER = ROOT / "src" / "clearformer" / "engines" / "c" / "unicode.h"
CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]

TEXT = """\
/* Classes of characters, as the `tokenizers` package has them; written by tools/unicode_classes.py.

   Each list holds the code points at which a class begins and ends in turn, so that a code point is of the class if an
   odd number of them are not above it. Each mapping has a code point and the ones that it becomes, three at most. */

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
    """What characters become, but for Hangul, whose decomposition is computed."""
    accents = {c: text for c, text in changes(strip_accents=True).items() if text and not "가" <= c <= "힣"}
    return {
        "without_accents": ("a character decomposed, without accents", accents),
        "lower_case": ("a character in lower case", changes(lowercase=True)),
    }


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
    return text + "#endif\n"


if __name__ == "__main__":
    HEADER.write_text(header(), encoding="utf-8")
