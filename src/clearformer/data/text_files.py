"""The text of one or more files, in any of the formats that are read in pieces."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clearformer.data.pieces import COMPRESSED, DOCUMENTS, plain_name, read_documents, read_pieces
from clearformer.errors import DataError

RATIO = 4
"""bytes of text that a byte of a compressed file is taken for"""
GLOB = "*?["
"""what makes a path a pattern"""


@dataclass(frozen=True)
class TextFiles:
    """The text of one or more files, one behind the other; `column` names it in files with many texts."""

    paths: tuple[Path, ...]
    column: str = "text"

    @property
    def name(self) -> str:
        first, *others = self.paths
        return f"{first.name} and {len(others):,} more" if others else first.name

    @property
    def size(self) -> int:
        """Bytes of text, of compressed files about. A file that is missing has none: reading it will say so."""
        return sum(
            path.stat().st_size * (RATIO if path.suffix in (*COMPRESSED, ".parquet") else 1)
            for path in self.paths
            if path.is_file()
        )

    def pieces(self) -> Iterator[str]:
        """The text, in pieces of bounded length. Each of several files ends with a line break.

        Raises DataError for a file that cannot be read.
        """
        for path in self.paths:
            is_list, piece = plain_name(path).endswith(DOCUMENTS), ""
            for piece in read_documents(path, self.column) if is_list else read_pieces(path):
                yield piece
            if len(self.paths) > 1 and not piece.endswith("\n"):
                yield "\n"


def expand(paths: Iterable[str | Path]) -> tuple[str, ...]:
    """The paths, and for a pattern such as corpus/*.txt the files of that name, sorted.

    Raises DataError if a pattern matches no file.
    """
    found: list[str] = []
    for path in map(Path, paths):
        if path.exists() or not any(letter in str(path) for letter in GLOB):
            found.append(str(path))
            continue
        matches = Path(path.anchor or ".").glob(str(path.relative_to(path.anchor)))
        files = sorted(str(file) for file in matches if file.is_file())
        if not files:
            raise DataError(f"files were expected under the name {path}, but there are none; check the pattern")
        found += files
    return tuple(found)
