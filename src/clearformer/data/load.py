"""Load a corpus: built in, generated, downloaded, or from the user's files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from clearformer.data import pydocs, tasks
from clearformer.data.catalogue import DOWNLOADS
from clearformer.data.corpora import Corpus, LabelledCorpus, TextCorpus
from clearformer.data.dates import dates
from clearformer.data.downloads import Progress, fetch
from clearformer.data.files import read_parallel, read_text, read_tsv, split_pairs, split_text
from clearformer.data.large import LARGE, split_large
from clearformer.data.pieces import DOCUMENTS, plain_name
from clearformer.data.readers import READERS
from clearformer.data.tables import is_labelled, read_labelled, split_labelled
from clearformer.data.text_files import TextFiles, expand
from clearformer.errors import DataError

TABLES = (".csv", ".tsv")

Kind = Literal["text", "pairs", "labels"]
"""the `kind` of a corpus"""

BUILT_IN: dict[str, tuple[str, Callable[[], Corpus]]] = {
    "dates": ("a date as people write it, in 32 forms, to ISO 8601", dates),
    "reverse": ("a string of letters to the same string backwards", tasks.reverse),
    "copy": ("a string of letters to itself", tasks.copy),
    "pydocs": ("the documentation of the Python that runs this, 2 MB of text", pydocs.pydocs),
}
"""name -> what it holds, and the function that makes it"""


def guess_kind(path: Path) -> Kind:
    """A .csv has labels, a .tsv has labels or pairs (by `is_labelled`), any other file is text; compressed or not."""
    name = plain_name(path)
    if name.endswith(".csv") or (name.endswith(".tsv") and is_labelled(path)):
        return "labels"
    return "pairs" if name.endswith(".tsv") else "text"


def load_corpus(
    name: str,
    paths: tuple[str, ...] = (),
    progress: Progress | None = None,
    kind: Kind | None = None,
    column: str = "text",
    whole: bool = False,
) -> Corpus:
    """The corpus `name`, or one from `paths`.

    `paths` are a folder with the files of the download `name`, files of text, one .tsv of pairs, one .csv or .tsv of
    labelled texts, or a source and a target file; each file may be compressed (.gz, .zst). The text of a JSONL or
    Parquet file is in its `column`. Text of more than LARGE bytes becomes a LargeCorpus, unless it is to be held
    `whole`.

    `kind` is what the model reads: "pairs" and "labels" decide how a .tsv is read, instead of `guess_kind`, and "text"
    drops labels, and joins two files. It does not convert anything else.

    Raises DataError if there is no such corpus or file, or it cannot be read.
    """
    corpus = _load_files(name, expand(paths), kind, column, whole, progress) if paths else _load_named(name, progress)
    return without_labels(corpus) if kind == "text" and isinstance(corpus, LabelledCorpus) else corpus


def without_labels(corpus: LabelledCorpus) -> TextCorpus:
    """The texts, one a line, in the same splits, so that the test split stays unseen."""
    splits = (corpus.train, corpus.validation, corpus.test)
    lines = ("".join(f"{text}\n" for texts, _ in examples for text in texts) for examples in splits)
    return TextCorpus(corpus.name, *lines, note=f"{corpus.note or corpus.name}; only the texts are used, one a line")


def _load_named(name: str, progress: Progress | None) -> Corpus:
    if name in BUILT_IN:
        return BUILT_IN[name][1]()
    if name in READERS:
        return READERS[name](fetch(DOWNLOADS[name], progress=progress))
    raise DataError(f"a corpus named {', '.join([*BUILT_IN, *READERS])} was expected, found {name!r}")


def _load_files(
    name: str, paths: tuple[str, ...], kind: Kind | None, column: str, whole: bool, progress: Progress | None
) -> Corpus:
    first, *others = (Path(path) for path in paths)
    if first.is_dir() and not others:
        if name not in READERS:
            raise DataError(f"a file was expected for {name}, found the folder {first}; give --data a file in it")
        return READERS[name](first)
    if len(others) == 1 and kind != "text":
        return split_pairs(f"{first.name} and {others[0].name}", read_parallel(first, others[0]))
    if others and (kind not in ("text", None) or any(plain_name(Path(path)).endswith(TABLES) for path in paths)):
        raise DataError(f"--data takes one file, or a source and a target, found {len(paths)} paths; join them first")
    is_tsv = plain_name(first).endswith(".tsv")
    file_kind = kind if is_tsv and kind in ("pairs", "labels") else guess_kind(first)
    if file_kind == "labels":
        return split_labelled(first.name, *read_labelled(first))
    if file_kind == "pairs":
        return split_pairs(first.name, read_tsv(first))
    files = TextFiles((first, *others), column)
    if whole or files.size <= LARGE:
        return split_text(files.name, "".join(files.pieces()))
    return split_large(files, progress)


def data_size(paths: Sequence[Path], kind: Kind) -> int:
    """About how many characters the files have, without reading large ones. Raises DataError as `read_text` does."""
    files = TextFiles(tuple(paths))
    if kind == "text" and (files.size > LARGE or any(plain_name(path).endswith(DOCUMENTS) for path in paths)):
        return files.size
    return sum(len(read_text(path)) for path in paths)
