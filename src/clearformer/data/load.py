"""Find a corpus: built in, generated, downloaded, or in files of the user's."""

from collections.abc import Callable
from pathlib import Path

from clearformer.data import pydocs, tasks
from clearformer.data.catalogue import DOWNLOADS
from clearformer.data.corpora import PairCorpus, TextCorpus
from clearformer.data.dates import dates
from clearformer.data.downloads import Progress, fetch
from clearformer.data.files import read_parallel, read_text, read_tsv, split_pairs, split_text
from clearformer.errors import DataError

BUILT_IN: dict[str, tuple[str, Callable[[], TextCorpus | PairCorpus]]] = {
    "dates": ("a date as people write it, in 32 forms, to ISO 8601", dates),
    "reverse": ("a string of letters to the same string backwards", tasks.reverse),
    "copy": ("a string of letters to itself", tasks.copy),
    "pydocs": ("the documentation of the Python that runs this, 2 MB of text", pydocs.pydocs),
}
"""name -> what it holds, and the function that makes it"""


def _tinyshakespeare(folder: Path) -> TextCorpus:
    return split_text("tinyshakespeare", read_text(folder / "tinyshakespeare.txt"))


def _multi30k(folder: Path) -> PairCorpus:
    """German to English, in the splits of its authors."""
    files = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
    return PairCorpus(
        "multi30k",
        **{split: read_parallel(folder / f"{name}.de.gz", folder / f"{name}.en.gz") for split, name in files.items()},
    )


DOWNLOADED: dict[str, Callable[[Path], TextCorpus | PairCorpus]] = {
    "tinyshakespeare": _tinyshakespeare,
    "multi30k": _multi30k,
}
"""readers of downloads, from the folder that holds their files"""


def load_corpus(name: str, paths: tuple[str, ...] = (), progress: Progress | None = None) -> TextCorpus | PairCorpus:
    """The corpus `name`; or, with `paths`, what they hold: a folder with the files of the download `name`, one text
    file, one .tsv (or .tsv.gz) of pairs, or a source and a target file.

    Raises DataError where there is no such corpus or file, or it cannot be read.
    """
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
    if first.name.removesuffix(".gz").endswith(".tsv"):
        return split_pairs(first.name, read_tsv(first))
    return split_text(first.name, read_text(first))
