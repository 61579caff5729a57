"""A table of replacements as SentencePiece compiles it into its models, for tests that need a small one.

It is the size of a trie in bytes, the trie, a double array of Darts in integers of 32 bits (Aoe 1989, in the form of
darts-clone), and the replacements, each with a zero behind it. A unit has the byte that leads to it, at bit 8 whether a
key ends there, and from bit 10 on what its place is exchanged with (xor) to find its children: the end of a key is the
child of byte 0, which holds where the replacement begins.
"""

import itertools
import struct
from collections.abc import Mapping
from typing import Any

BLOCK, LEAF, ENDS, OFFSET = 256, 1 << 31, 1 << 8, 10


def compiled(rules: Mapping[str, str]) -> bytes:
    """The table that replaces each key by its value."""
    replacements, trie = b"", dict[int, Any]()
    for key, value in rules.items():
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[0] = len(replacements)
        replacements += value.encode() + b"\0"
    units, bases = {0: 0}, set[int]()
    _place(trie, 0, units, bases)
    size = (max(units) // BLOCK + 1) * BLOCK
    return struct.pack(f"<{size + 1}I", 4 * size, *(units.get(place, 0) for place in range(size))) + replacements


def _place(node: dict[int, Any], at: int, units: dict[int, int], bases: set[int]) -> None:
    """Put the children of the unit `at` where there is room for all of them."""
    fits = (base for base in itertools.count(1) if base not in bases and not any(base ^ byte in units for byte in node))
    base = next(fits)
    bases.add(base)
    units[at] |= (at ^ base) << OFFSET | ENDS * (0 in node)
    units |= {base ^ byte: child | LEAF if byte == 0 else byte for byte, child in node.items()}
    for byte, child in node.items():
        if byte:
            _place(child, base ^ byte, units, bases)
