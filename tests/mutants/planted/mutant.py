"""What a planted bug is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """`old` stands once in the style's file, and `new` in its place is a bug that people write."""

    id: str
    style: str
    old: str
    new: str
    cause: str = ""
    """the `Outcome.cause` with which its check names it; empty where the check tells no causes apart"""
    first: str = ""
    """`check:cause` of the failure to start with, where it is not those two: another check says it as well or better"""
    check: str = ""
    """the check that names it: its key in `PLANTED`, set by `mutants.py`"""
