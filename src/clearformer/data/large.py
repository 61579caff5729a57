"""Text of any size: surveyed and split without ever being held as a whole.

The splits, the fingerprint and, but for the tokenizer's sample, the tokens are those of the same text in memory.
"""

import hashlib
import json

from clearformer.data.corpora import LargeCorpus, Split
from clearformer.data.downloads import Progress
from clearformer.data.text_files import TextFiles

LARGE = 32_000_000
"""bytes; a longer text is not held in memory"""
SAMPLE = 16_000_000
"""characters of a large text that a tokenizer is trained on, about"""


def split_large(files: TextFiles, progress: Progress | None = None) -> LargeCorpus:
    """The first 90 % of the characters for train, the rest for validation, as `split_text` does."""
    count, report = 0, progress or (lambda *_: None)
    for piece in files.pieces():
        count += len(piece)
        report(f"measuring {files.name}, characters of about", count, max(count, files.size))
    end = int(0.9 * count)
    return LargeCorpus(files.name, files, range(end), range(end, count))


class Fingerprint:
    """`fingerprint` of a text that comes in pieces: the SHA-256 of ["train", "validation", ""] as JSON."""

    def __init__(self) -> None:
        self.split: Split = "train"
        self.hash = hashlib.sha256(b'["')

    def add(self, split: Split, text: str) -> None:
        if split != self.split:
            self.hash.update(b'", "')
            self.split = split
        self.hash.update(json.dumps(text)[1:-1].encode())

    def hexdigest(self) -> str:
        whole = self.hash.copy()
        whole.update(b'", ""]')
        return whole.hexdigest()


def survey(corpus: LargeCorpus, sample_size: int = SAMPLE, progress: Progress | None = None) -> tuple[str, list[str]]:
    """The fingerprint, and pieces at even distances, of about `sample_size` characters of the training split in all."""
    found, sample, taken, position = Fingerprint(), list[str](), 0, 0
    size, report = len(corpus.train) + len(corpus.validation), progress or (lambda *_: None)
    for split, piece in corpus.pieces():
        found.add(split, piece)
        position += len(piece)
        report(f"surveying {corpus.name}, characters", position, size)
        if split == "train" and taken * len(corpus.train) < sample_size * position:
            sample.append(piece)
            taken += len(piece)
    return found.hexdigest(), sample
