"""Find a corpus: built in, generated, downloaded, or in files of the user's."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from clearformer.data import pydocs, tasks
from clearformer.data.catalogue import DOWNLOADS
from clearformer.data.corpora import Corpus, LabelledCorpus, TextCorpus
from clearformer.data.dates import dates
from clearformer.data.downloads import Progress, fetch
from clearformer.data.files import read_parallel, read_text, read_tsv, split_pairs, split_text
from clearformer.data.published import DOWNLOADED
from clearformer.data.tables import is_labelled, read_labelled, split_labelled
from clearformer.errors import DataError

Kind = Literal["text", "pairs", "labels"]
"""what a corpus is made of, as its `kind` says"""

BUILT_IN: dict[str, tuple[str, Callable[[], Corpus]]] = {
    "dates": ("a date as people write it, in 32 forms, to ISO 8601", dates),
    "reverse": ("a string of letters to the same string backwards", tasks.reverse),
    "copy": ("a string of letters to itself", tasks.copy),
    "pydocs": ("the documentation of the Python that runs this, 2 MB of text", pydocs.pydocs),
}
"""name -> what it holds, and the function that makes it"""


def kind_of(path: Path) -> Kind:
    """What a file of the user's is taken for: a .csv for labelled texts, a .tsv for these or pairs, others for text."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv") or (name.endswith(".tsv") and is_labelled(path)):
        return "labels"
    return "pairs" if name.endswith(".tsv") else "text"


def load_corpus(
    name: str,
    paths: tuple[str, ...] = (),
    progress: Progress | None = None,
    kind: Kind | None = None,
) -> Corpus:
    """The corpus `name`; or, with `paths`, what they hold: a folder with the files of the download `name`, one text
    file, one .tsv of pairs, one .csv or .tsv of labelled texts (or .gz of these), or a source and a target file.

    `kind` is what a model wants to learn from: "pairs" and "labels" say what a .tsv is, which `kind_of` would guess
    else, and "text" makes one text of labelled texts. Otherwise a corpus stays what it is. Raises DataError where there
    is no such corpus or file, or it cannot be read.
    """
    corpus = _find(name, paths, progress, kind)
    return without_labels(corpus) if kind == "text" and isinstance(corpus, LabelledCorpus) else corpus


def without_labels(corpus: LabelledCorpus) -> TextCorpus:
    """The texts, a line each, in the splits they had: a model that learns from them has not seen those of the test."""
    splits = (corpus.train, corpus.validation, corpus.test)
    lines = ("".join(f"{text}\n" for texts, _ in examples for text in texts) for examples in splits)
    return TextCorpus(corpus.name, *lines, note=f"{corpus.note or corpus.name}; only the texts are used, a line each")


def _find(name: str, paths: tuple[str, ...], progress: Progress | None, kind: Kind | None) -> Corpus:
    if not paths:
        if name in BUILT_IN:
            return BUILT_IN[name][1]()
        if name in DOWNLOADED:
            return DOWNLOADED[name](fetch(DOWNLOADS[name], progress=progress))
        raise DataError(f"a corpus named {', '.join([*BUILT_IN, *DOWNLOADED])} was expected, found {name!r}")
    first, *others = (Path(path) for path in paths)
    if first.is_dir() and not others:
        if name not in DOWNLOADED:
            raise DataError(f"a file was expected for {name}, found the folder {first}; give --data a file in it")
        return DOWNLOADED[name](first)
    if len(others) > 1:
        raise DataError(f"--data takes one file, or a source and a target, found {len(paths)} paths; join them first")
    if others:
        return split_pairs(f"{first.name} and {others[0].name}", read_parallel(first, others[0]))
    either = first.name.removesuffix(".gz").endswith(".tsv") and kind != "text"
    found = kind if either and kind else kind_of(first)
    if found == "labels":
        return split_labelled(first.name, *read_labelled(first))
    if found == "pairs":
        return split_pairs(first.name, read_tsv(first))
    return split_text(first.name, read_text(first))
