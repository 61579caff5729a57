"""What a planted bug is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`old` stands once in the style's file, and `new` in its place is a bug that people write."""

    id: str
    style: str
    old: str
    new: str
    check: str
    """the check that names the bug"""
    cause: str = ""
    """the `Outcome.cause` with which it does; empty where the check tells no causes apart"""
