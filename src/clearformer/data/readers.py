"""Readers of the downloads in the catalogue: from the folder of their files to a corpus, in the usual splits."""

import html
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clearformer.data.corpora import Corpus, Example, LabelledCorpus, PairCorpus, Split, TextCorpus
from clearformer.data.files import read_parallel, read_text, split_text
from clearformer.data.tables import read_rows
from clearformer.data.tasks import partition
from clearformer.errors import DataError

AG_NEWS_SIZES = (6000, 800, 800)
"""number of examples in train, validation and test"""
MISSING_AMPERSAND = r"(?:^| )(?=(?:#\d+|amp|quot|lt|gt|hellip);)"
"""where AG News has a space or nothing instead of an entity's ampersand: `it #39;s` for `it&#39;s`"""


def tinyshakespeare(folder: Path) -> TextCorpus:
    return split_text("tinyshakespeare", read_text(folder / "tinyshakespeare.txt"))


def multi30k(folder: Path) -> PairCorpus:
    """German to English, in the splits of its authors."""
    files = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
    return PairCorpus(
        "multi30k",
        **{split: read_parallel(folder / f"{name}.de.gz", folder / f"{name}.en.gz") for split, name in files.items()},
    )


def polarity(folder: Path) -> LabelledCorpus:
    """The first 80 % of each class for train, the next 10 % for validation, the rest for test.

    These are the splits of `rotten_tomatoes` on Hugging Face: 8,530, 1,066 and 1,066 sentences.
    """
    splits: dict[Split, list[Example]] = {"train": [], "validation": [], "test": []}
    for label, name in {"positive": "rt-polarity.pos", "negative": "rt-polarity.neg"}.items():
        lines = read_text(folder / name).removesuffix("\n").split("\n")
        examples: list[Example] = [((line.strip(),), label) for line in lines]
        train_end, validation_end = (int(share * len(examples) + 0.5) for share in (0.8, 0.9))
        splits["train"] += examples[:train_end]
        splits["validation"] += examples[train_end:validation_end]
        splits["test"] += examples[validation_end:]
    return LabelledCorpus("polarity", *splits.values())


def ag_news(folder: Path) -> LabelledCorpus:
    """Headlines and first lines in four classes: the 7,600 rows of the original test split, split at random."""
    names = {str(number): name for number, name in enumerate(read_text(folder / "classes.txt").split(), start=1)}
    examples: list[Example] = []
    for line, cells in read_rows(folder / "test.csv"):
        if len(cells) != 3 or cells[0] not in names:
            raise DataError(
                f"line {line} of {folder / 'test.csv'} must be a class of 1 to {len(names)}, a headline and a text, "
                f"found {len(cells)} cells that begin with {cells[0]!r}; download it again"
            )
        examples.append((tuple(map(_clean_news, cells[1:])), names[cells[0]]))
    if len(examples) != sum(AG_NEWS_SIZES):
        raise DataError(
            f"{sum(AG_NEWS_SIZES):,} rows were expected in {folder / 'test.csv'}, found {len(examples):,}; download it "
            "again, or split the file as your own with --data"
        )
    shuffled = [examples[index] for index in np.random.default_rng(0).permutation(len(examples))]
    return LabelledCorpus("ag_news", *partition(shuffled, AG_NEWS_SIZES))


def _clean_news(text: str) -> str:
    """`text` on one line and unescaped: `\\$` is a dollar, any other backslash a line break."""
    text = text.replace(r"\$", "$").replace("\\", " ")
    return " ".join(html.unescape(re.sub(MISSING_AMPERSAND, "&", text)).split())


READERS: dict[str, Callable[[Path], Corpus]] = {
    "tinyshakespeare": tinyshakespeare,
    "multi30k": multi30k,
    "polarity": polarity,
    "ag_news": ag_news,
}
"""name of a download -> its reader"""
