"""A corpus: text, pairs of source and target, or texts with a label, cut into splits that share nothing.

`load_corpus` finds one by name (built in, generated or downloaded) or in files of the user's.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from clearformer.errors import DataError

Split = Literal["train", "validation", "test"]
Pair = tuple[str, str]
"""source and target"""
Example = tuple[tuple[str, ...], str]
"""one or more texts, and their label"""


@dataclass(frozen=True)
class TextCorpus:
    """Running text for a language model. `test` is empty where the text has only two splits.

    `note` says to people how a file of theirs was understood, where that is not plain.
    """

    kind: ClassVar[str] = "text"

    name: str
    train: str
    validation: str
    test: str = ""
    note: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class PairCorpus:
    """Pairs of source and target for an encoder-decoder. `test` is empty where there are only two splits."""

    kind: ClassVar[str] = "pairs"

    name: str
    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]

    def reversed(self) -> "PairCorpus":
        """From target to source: the same pairs the other way round."""
        splits = ([(target, source) for source, target in pairs] for pairs in (self.train, self.validation, self.test))
        return PairCorpus(f"{self.name}, reversed", *splits)


@dataclass(frozen=True)
class LabelledCorpus:
    """Texts with labels for a classifier. `note` as in TextCorpus.

    Raises DataError for a label of validation or test that train lacks, since no model could learn it.
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
        """The labels of the training split, sorted; class number n is the nth of them, from 0 on."""
        return sorted({label for _, label in self.train})


Corpus = TextCorpus | PairCorpus | LabelledCorpus


def fingerprint(corpus: Corpus) -> str:
    """SHA-256 of all that a corpus says, in order: a run notes it, so that it is never resumed on other data."""
    # as JSON, in which no text can look like the mark between two texts
    return hashlib.sha256(json.dumps([corpus.train, corpus.validation, corpus.test]).encode()).hexdigest()
