"""A corpus: text, or pairs of source and target, cut into splits that share nothing.

`load_corpus` finds one by name (built in, generated or downloaded) or in files of the user's.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import ClassVar, Literal

Split = Literal["train", "validation", "test"]
Pair = tuple[str, str]
"""source and target"""


@dataclass(frozen=True)
class TextCorpus:
    """Running text for a language model. `test` is empty where the text has only two splits."""

    kind: ClassVar[str] = "text"

    name: str
    train: str
    validation: str
    test: str = ""


@dataclass(frozen=True)
class PairCorpus:
    """Pairs of source and target for an encoder-decoder. `test` is empty where there are only two splits."""

    kind: ClassVar[str] = "pairs"

    name: str
    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]


def fingerprint(corpus: TextCorpus | PairCorpus) -> str:
    """SHA-256 of all that a corpus says, in order: a run notes it, so that it is never resumed on other data."""
    # as JSON, in which no text can look like the mark between two texts
    return hashlib.sha256(json.dumps([corpus.train, corpus.validation, corpus.test]).encode()).hexdigest()
