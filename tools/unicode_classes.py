r"""Write `unicode.h`: which characters the patterns of our tokenizers call \w and \s.

python tools/unicode_classes.py

They are asked of the `tokenizers` package itself, for every code point, as no standard says all of them: its engine
for regular expressions, Oniguruma, has ² ³ ¹ ¼ ½ ¾ both in \w and in [^\s\w].
"""

from pathlib import Path
from textwrap import fill

from tokenizers import Regex, pre_tokenizers

ROOT = Path(__file__).parent.parent
HEADER = ROOT / "src" / "clearformer" / "engines" / "c" / "unicode.h"
CHARACTERS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]

TEXT = """\
/* Classes of characters, as the `tokenizers` package has them; written by tools/unicode_classes.py.

   Each list holds the code points at which a class begins and ends in turn, so that a code point is of the class if an
   odd number of them are not above it. */

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


def header() -> str:
    """The text of unicode.h."""
    word, space, neither = members(r"\w"), members(r"\s"), members(r"[^\s\w]")
    assert word | neither == members(r"\S") == set(map(ord, CHARACTERS)) - space
    assert members(r"[^\S\n]") == space - {ord("\n")}
    lists = {
        "word_borders": (r"\w", word),
        "space_borders": (r"\s", space),
        "both_borders": (r"both in \w and in [^\s\w]", word & neither),
    }
    text = TEXT
    for name, (meaning, codes) in lists.items():
        numbers = fill(", ".join(map(str, borders(codes))), 116, initial_indent="    ", subsequent_indent="    ")
        text += f"/* {meaning} */\nstatic const int32_t {name}[] = {{\n{numbers}}};\n\n"
    return text + "#endif\n"


if __name__ == "__main__":
    HEADER.write_text(header(), encoding="utf-8")
