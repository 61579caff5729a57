"""The user's files: UTF-8 text, a TSV of pairs or two parallel files, plain, .gz or .zst; and their splits.

Only "\\n" and "\\r\\n" end a line.
"""

import hashlib
from pathlib import Path

from clearformer.data.corpora import Pair, PairCorpus, Split, TextCorpus
from clearformer.data.pieces import read_pieces
from clearformer.errors import DataError

MIN_CHARACTERS = 100
"""a shorter text leaves next to nothing for validation"""


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, plain, .gz or .zst, without its byte order mark and with "\\n" for "\\r\\n".

    Raises DataError if the file is missing, a folder, badly compressed, not UTF-8, or only white space.
    """
    return "".join(read_pieces(path))


def read_tsv(path: Path) -> list[Pair]:
    """The pairs in a file of lines `source TAB target`; the file may end with empty lines.

    Raises DataError as `read_text` does, and for a line without exactly one tab or with an empty side.
    """
    pairs = []
    for number, line in enumerate(read_text(path).rstrip("\n").split("\n"), start=1):
        sides = line.split("\t")
        if len(sides) != 2 or not all(side.strip() for side in sides):
            raise DataError(
                f"line {number} of {path} must be a source, one tab and a target, but {_fault(sides)}; "
                "fix or delete that line"
            )
        pairs.append((sides[0], sides[1]))
    return pairs


def read_parallel(source: Path, target: Path) -> list[Pair]:
    """The pairs of line n of one file with line n of the other.

    Raises DataError as `read_text` does, if the files differ in their number of lines, and for an empty line.
    """
    sources, targets = (read_text(path).removesuffix("\n").split("\n") for path in (source, target))
    if len(sources) != len(targets):
        raise DataError(
            f"two files with the same number of lines were expected, found {len(sources):,} in {source} and "
            f"{len(targets):,} in {target}; align them line by line"
        )
    for path, lines in ((source, sources), (target, targets)):
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                raise DataError(
                    f"text was expected in line {number} of {path}, but the line is empty; "
                    f"fill it, or delete line {number} in both {source} and {target}"
                )
    return list(zip(sources, targets, strict=True))


def split_text(name: str, text: str) -> TextCorpus:
    """The first 90 % of the characters for train, the rest for validation. Raises DataError for too few."""
    if len(text) < MIN_CHARACTERS:
        raise DataError(
            f"{name} must have at least {MIN_CHARACTERS} characters to be split, found {len(text)}; give more text"
        )
    end = int(0.9 * len(text))
    return TextCorpus(name, train=text[:end], validation=text[end:])


def split_pairs(name: str, pairs: list[Pair]) -> PairCorpus:
    """About 90, 5 and 5 % of the pairs for train, validation and test, in their original order.

    A hash of the source decides, so pairs with the same source stay together, and a new pair moves no other. If that
    leaves a split empty, validation and test get one source each.

    Raises DataError for fewer than three distinct sources.
    """
    hashes = {source: int.from_bytes(hashlib.sha256(source.encode()).digest()) for source, _ in pairs}
    if len(hashes) < 3:
        raise DataError(
            f"{name} must have at least 3 distinct sources, one for each split, found {len(hashes)} in "
            f"{len(pairs):,} pairs; give more pairs"
        )
    held_out: dict[int, Split] = {0: "validation", 1: "test"}
    split_of: dict[str, Split] = {source: held_out.get(value % 20, "train") for source, value in hashes.items()}
    if len(set(split_of.values())) < 3:
        first, second, *_ = sorted(hashes, key=hashes.__getitem__)
        split_of.update(dict.fromkeys(hashes, "train"))
        split_of |= {first: "validation", second: "test"}
    splits: dict[Split, list[Pair]] = {"train": [], "validation": [], "test": []}
    for pair in pairs:
        splits[split_of[pair[0]]].append(pair)
    return PairCorpus(name, **splits)


def _fault(sides: list[str]) -> str:
    """What is wrong with a line of a TSV, given its cells."""
    if sides == [""]:
        return "the line is empty"
    if len(sides) != 2:
        return f"it has {'no tab' if len(sides) == 1 else f'{len(sides) - 1} tabs'}"
    return f"its {'target' if sides[0].strip() else 'source'} is empty"
