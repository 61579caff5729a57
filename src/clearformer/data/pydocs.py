"""The documentation every Python carries, as a corpus: real English text, offline, with nothing to download.

It is the help topics of `pydoc_data` and the docstrings of the standard library, whose sources are read and never run.
Every version of Python has a text of its own.
"""

import ast
import hashlib
import inspect
import logging
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from clearformer.data.corpora import Split, TextCorpus
from clearformer.errors import DataError

logger = logging.getLogger(__name__)

SHORTEST = 40
"""characters; a shorter document ("Return the name.") teaches little, and is left out"""

LEFT_OUT = {"ensurepip", "idlelib", "lib2to3", "turtledemo", "encodings", "pydoc_data"}
"""programs, bundles and tables rather than libraries; `pydoc_data` comes by its topics"""

DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
"""where a statement holds other statements; expressions, which hold no docstring, are most of a tree"""


def pydocs() -> TextCorpus:
    """The documents in a fixed order with a blank line between them, about 90, 5 and 5 % for train, validation, test.

    A document's split is decided by a hash of its text. Exact duplicates and documents under SHORTEST characters are
    left out, and so are paragraphs of validation and test that an earlier split has. What is missing or unreadable in
    this Python is logged. Raises DataError where there is too little to fill three splits.
    """
    library = Path(sysconfig.get_path("stdlib"))
    documents = dict.fromkeys(_clean(text) for text in (*_topics(), *_docstrings(library)))
    splits: dict[Split, list[str]] = {"train": [], "validation": [], "test": []}
    for document in documents:
        if len(document) >= SHORTEST:
            splits[_split_of(document)].append(document)
    if not all(splits.values()):
        raise DataError(
            f"this Python was expected to carry its documentation, found {sum(map(len, splits.values()))} documents in "
            f"pydoc_data.topics and the sources in {library}; use a complete Python, or a text file of your own"
        )
    seen: set[str] = set()
    return TextCorpus("pydocs", *(_join(part, seen) for part in splits.values()))


def _topics() -> list[str]:
    """The texts behind `help("LOOPING")` and the like, sorted by name."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        logger.warning("pydocs: this Python has no pydoc_data.topics; going on without the help topics")
        return []
    return [topics[name] for name in sorted(topics)]


def _docstrings(library: Path) -> list[str]:
    """Every docstring in the standard library's sources under `library`, sorted by module."""
    texts: list[str] = []
    failed: list[str] = []
    sources = _sources(library)
    for path in sources:
        try:
            with warnings.catch_warnings(action="ignore"):  # an odd escape in an old source is not the user's affair
                tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            failed.append(path.name)
            continue
        texts.extend(_docstrings_in(tree))
    if not sources:
        logger.warning("pydocs: this Python has no sources in %s; going on without docstrings", library)
    if failed:
        logger.warning("pydocs: %d of %d sources do not parse: %s", len(failed), len(sources), ", ".join(failed))
    return texts


def _sources(library: Path) -> list[Path]:
    """The files of the standard library's public and private modules, without its tests, in one order everywhere."""
    names = sys.stdlib_module_names - LEFT_OUT
    files = [library / f"{name}.py" for name in names if (library / f"{name}.py").is_file()]
    files += [path for name in names for path in (library / name).rglob("*.py")]
    relative = {path.relative_to(library).as_posix(): path for path in files}
    return [relative[name] for name in sorted(relative) if not {"test", "tests"} & set(name.split("/"))]


def _docstrings_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, DEFINITIONS) and (text := ast.get_docstring(node, clean=False)):
        yield text
    for block in BLOCKS:
        for statement in getattr(node, block, ()):
            yield from _docstrings_in(statement)


def _clean(text: str) -> str:
    """`text` without its indentation, with paragraphs set off by exactly one blank line."""
    return re.sub(r"\n\s*\n", "\n\n", inspect.cleandoc(text).strip())


def _split_of(document: str) -> Split:
    """Python's own hash differs from run to run; this one never does."""
    twentieth = hashlib.sha256(document.encode()).digest()[0] * 20 // 256
    return "validation" if twentieth == 0 else "test" if twentieth == 1 else "train"


def _join(documents: list[str], seen: set[str]) -> str:
    """The documents as one text, without the paragraphs in `seen`, to which theirs are added."""
    paragraphs = [paragraph for document in documents for paragraph in document.split("\n\n")]
    text = "\n\n".join(paragraph for paragraph in paragraphs if paragraph not in seen)
    # Short paragraphs are headings such as "Arguments:", and may come again.
    seen |= {paragraph for paragraph in paragraphs if len(paragraph) >= SHORTEST}
    return text
