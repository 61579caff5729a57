"""The documentation inside every Python as a corpus: real English text without a download.

It consists of the help topics in `pydoc_data` and the docstrings of the standard library, whose sources are parsed and
never executed. The text differs between versions of Python.
"""

import ast
import functools
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

MIN_CHARACTERS = 40
"""shorter documents ("Return the name.") teach little and are left out"""

EXCLUDED = {"ensurepip", "idlelib", "lib2to3", "turtledemo", "encodings", "pydoc_data"}
"""programs, bundled packages and tables rather than libraries; the topics of `pydoc_data` are read separately"""

DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
CHILDREN = ("body", "orelse", "handlers", "finalbody", "cases")
"""fields that hold nested statements; expressions, most of a tree, contain no docstrings and are skipped"""


def pydocs() -> TextCorpus:
    """All documents in a fixed order, separated by blank lines; about 90, 5 and 5 % for train, validation and test.

    A hash of its text decides a document's split. Duplicates and documents under MIN_CHARACTERS are left out, and so
    are paragraphs of validation and test that occur in an earlier split. What this Python lacks is logged.

    Raises DataError if a split would be empty.
    """
    library = Path(sysconfig.get_path("stdlib"))
    documents = dict.fromkeys(_clean(text) for text in (*_topics(), *_docstrings(library)))
    splits: dict[Split, list[str]] = {"train": [], "validation": [], "test": []}
    for document in documents:
        if len(document) >= MIN_CHARACTERS:
            splits[_split_of(document)].append(document)
    if not all(splits.values()):
        raise DataError(
            f"this Python was expected to include its documentation, found {sum(map(len, splits.values()))} documents "
            f"in pydoc_data.topics and the sources in {library}; use a complete Python, or a text file of your own"
        )
    earlier: set[str] = set()
    return TextCorpus("pydocs", *(_join(part, earlier) for part in splits.values()))


def _topics() -> list[str]:
    """The texts behind `help("LOOPING")` and the like, in the order of their names."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        logger.warning("pydocs: this Python has no pydoc_data.topics; going on without the help topics")
        return []
    return [topics[name] for name in sorted(topics)]


@functools.lru_cache(maxsize=1)
def _docstrings(library: Path) -> tuple[str, ...]:
    """Every docstring in the standard library's sources under `library`, in the order of the files' paths.

    Parsing takes seconds, so a process does it once.
    """
    texts: list[str] = []
    failed: list[str] = []
    sources = _sources(library)
    for path in sources:
        try:
            with warnings.catch_warnings(action="ignore"):  # such as invalid escapes: not the user's problem
                tree = ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError):
            failed.append(path.name)
            continue
        texts.extend(_docstrings_in(tree))
    if not sources:
        logger.warning("pydocs: this Python has no sources in %s; going on without docstrings", library)
    if failed:
        logger.warning("pydocs: %d of %d sources do not parse: %s", len(failed), len(sources), ", ".join(failed))
    return tuple(texts)


def _sources(library: Path) -> list[Path]:
    """The source files of the standard library without its tests, sorted by relative path."""
    names = sys.stdlib_module_names - EXCLUDED
    files = [library / f"{name}.py" for name in names if (library / f"{name}.py").is_file()]
    files += [path for name in names for path in (library / name).rglob("*.py")]
    relative = {path.relative_to(library).as_posix(): path for path in files}
    return [relative[name] for name in sorted(relative) if not {"test", "tests"} & set(name.split("/"))]


def _docstrings_in(node: ast.AST) -> Iterator[str]:
    if isinstance(node, DEFINITIONS) and (text := ast.get_docstring(node, clean=False)):
        yield text
    for field in CHILDREN:
        for statement in getattr(node, field, ()):
            yield from _docstrings_in(statement)


def _clean(text: str) -> str:
    """`text` without its indentation, with exactly one blank line between paragraphs."""
    return re.sub(r"\n\s*\n", "\n\n", inspect.cleandoc(text).strip())


def _split_of(document: str) -> Split:
    """By SHA-256, since `hash` differs between processes."""
    twentieth = hashlib.sha256(document.encode()).digest()[0] * 20 // 256
    return "validation" if twentieth == 0 else "test" if twentieth == 1 else "train"


def _join(documents: list[str], earlier: set[str]) -> str:
    """The documents as one text, without the paragraphs in `earlier`, to which theirs are added."""
    paragraphs = [paragraph for document in documents for paragraph in document.split("\n\n")]
    text = "\n\n".join(paragraph for paragraph in paragraphs if paragraph not in earlier)
    # shorter paragraphs are headings such as "Arguments:", which may recur
    earlier |= {paragraph for paragraph in paragraphs if len(paragraph) >= MIN_CHARACTERS}
    return text
