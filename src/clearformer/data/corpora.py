"""A corpus: running text, pairs of source and target, labelled texts, or equations, in disjoint splits.

`load_corpus` loads one by name or from the user's files.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from clearformer.data.text_files import TextFiles
from clearformer.errors import DataError

Split = Literal["train", "validation", "test"]
Pair = tuple[str, str]
"""source and target"""
Example = tuple[tuple[str, ...], str]
"""one or more texts, and the label they share"""
Equation = tuple[int, int, int]
"""a, b and c of a ∘ b = c"""


@dataclass(frozen=True)
class TextCorpus:
    """Running text for a language model. `test` is empty if there are only two splits.

    `note` tells the user how an ambiguous file was read.
    """

    kind: ClassVar[str] = "text"

    name: str
    train: str
    validation: str
    test: str = ""
    note: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class LargeCorpus:
    """Running text in files: the positions of the characters of each split. `note` as in TextCorpus."""

    kind: ClassVar[str] = "text"

    name: str
    files: TextFiles
    train: range
    validation: range
    test: range = range(0)
    note: str = field(default="", kw_only=True)

    def pieces(self) -> Iterator[tuple[Split, str]]:
        """The whole text in order, in pieces of one split each."""
        position, end = 0, len(self.train)
        for piece in self.files.pieces():
            cut = max(0, end - position)
            position += len(piece)
            if cut:
                yield "train", piece[:cut]
            if len(piece) > cut:
                yield "validation", piece[cut:]


@dataclass(frozen=True)
class PairCorpus:
    """Pairs of source and target for an encoder-decoder. `test` is empty if there are only two splits."""

    kind: ClassVar[str] = "pairs"

    name: str
    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]

    def reversed(self) -> "PairCorpus":
        """The same pairs with source and target exchanged."""
        splits = ([(target, source) for source, target in pairs] for pairs in (self.train, self.validation, self.test))
        return PairCorpus(f"{self.name}, reversed", *splits)


@dataclass(frozen=True)
class LabelledCorpus:
    """Labelled texts for a classifier. `note` as in TextCorpus.

    Raises DataError if validation or test has a label that train lacks: no model could learn it.
    """

    kind: ClassVar[str] = "labels"

    name: str
    train: list[Example]
    validation: list[Example]
    test: list[Example]
    note: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        for split in ("validation", "test"):
            if unseen := sorted({label for _, label in getattr(self, split)} - set(self.classes)):
                raise DataError(
                    f"the training split of {self.name} must have every label, but {', '.join(map(repr, unseen))} "
                    f"occurs in the {split} split alone: a label never seen in training; bring more examples of it"
                )

    @property
    def classes(self) -> list[str]:
        """The labels of the training split, sorted; a class's number is its index here."""
        return sorted({label for _, label in self.train})


@dataclass(frozen=True)
class EquationCorpus:
    """Equations in random order: a share of all for training, the others for validation."""

    kind: ClassVar[str] = "equations"

    name: str
    train: list[Equation]
    validation: list[Equation]
    test: tuple[()] = ()
    """there are only two splits"""


Corpus = TextCorpus | LargeCorpus | PairCorpus | LabelledCorpus | EquationCorpus


def fingerprint(corpus: TextCorpus | PairCorpus | LabelledCorpus | EquationCorpus) -> str:
    """SHA-256 of the content of all splits. A run stores it, so that it is never resumed on other data."""
    # as JSON, where no text can contain the separator between two texts
    return hashlib.sha256(json.dumps([corpus.train, corpus.validation, corpus.test]).encode()).hexdigest()
