"""What a planted bug is, for a model that is given to the checks bare: a function that returns it, and no word more."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """`old` stands once in the style's file, and `new` in its place is a bug that people wrote or write."""

    id: str
    topic: str
    """the class it is counted under in tables"""
    old: str
    new: str
    truth: str
    """what is wrong, in words"""
    first: tuple[str, ...]
    """patterns of the answers that are true as the first line: `check` or `check:cause`, * for anything"""
    source: str = ""
    """where it was found; empty for a bug that is written everywhere"""
    style: str = ""
    """the model's file in `styles`: the module that lists the bug, set by `bank.py`; or a right model's name"""


def is_held_out(name: str) -> bool:
    """Whether the bug of this id is set aside while checks are written: a third of all, by a hash of the id."""
    return hashlib.sha256(name.encode()).digest()[0] % 3 == 0
