"""A file read in pieces: its bytes, plain, .gz or .zst; its text; or the texts of a JSONL or Parquet file.

No piece grows with the file. A text that is cut between pieces gives the tokens of the whole text, since no token of
ours goes past a line break, or from one word to the next.
"""

import codecs
import gzip
import importlib
import itertools
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from clearformer.errors import DataError, shortened

BLOCK = 1 << 18
"""bytes read at once"""
COMPRESSED = (".gz", ".zst")
DOCUMENTS = (".jsonl", ".ndjson", ".parquet")
"""of files with many texts, each under the name of its column"""
ROWS = 256
"""of a Parquet file, read at once"""
SURROGATES = re.compile("[\ud800-\udfff]")
"""halves of a character, which JSON can write, and UTF-8 cannot"""
BETWEEN_WORDS = re.compile(r"\S(?= \S)")


def plain_name(path: Path) -> str:
    """The file's name without what only says that it is compressed."""
    return path.stem if path.suffix in COMPRESSED else path.name


def read_blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, decompressed, some BLOCK at a time.

    Raises DataError if the file is missing, a folder, not readable, or its compression damaged, or needs a package.
    """
    if path.is_dir():
        raise DataError(f"a file was expected at {path}, found a folder; name a file in it")
    try:
        with path.open("rb") as file:
            if path.suffix == ".zst":
                yield from _zstd_blocks(path, file)
                return
            stream: Any = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
            while block := stream.read(BLOCK):
                yield block
    except FileNotFoundError as error:
        raise DataError(f"a file was expected at {path}, but there is none; check the path") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} must be a whole gzip file, but: {error}; copy or compress it again") from error
    except OSError as error:
        raise DataError(f"{path} must be a file that can be read, but: {error}; check its permissions") from error


def _zstd_blocks(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """A file of one or more frames of zstd. Python has it from 3.14 on, the package zstandard before."""
    try:
        make = importlib.import_module("compression.zstd").ZstdDecompressor
        damage = importlib.import_module("compression.zstd").ZstdError
    except ImportError:
        package = require("zstandard", path)
        make, damage = package.ZstdDecompressor().decompressobj, package.ZstdError
    frame, rest = None, b""
    try:
        while rest or (rest := file.read(BLOCK)):
            frame = frame or make()
            if data := frame.decompress(rest):
                yield data
            rest = frame.unused_data
            frame = None if frame.eof else frame
    except damage as error:
        raise DataError(f"{path} must be a whole zstd file, but: {error}; copy or compress it again") from error
    if frame is not None:
        raise DataError(f"{path} must be a whole zstd file, but it ends too early; copy or compress it again")


def require(package: str, path: Path) -> Any:
    """The optional package that a file needs. Raises DataError if it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise DataError(
            f"the package {package} was expected, to read {path.name}, but is not installed; install it with: "
            "pip install 'clearformer[data]'"
        ) from error


def read_pieces(path: Path) -> Iterator[str]:
    """The text of a UTF-8 file without its byte order mark and with "\\n" for "\\r\\n", cut at line ends.

    In a line of more than two blocks it is cut between two words, and in one of a single word anywhere.
    Raises DataError as `read_blocks` does, if the file is not UTF-8, or if it has nothing but white space.
    """
    text, is_empty = "", True
    for decoded in _decoded(path):
        text += decoded
        end = text.rfind("\n") + 1
        if not end and len(text) > 2 * BLOCK:
            words = [found.end() for found in BETWEEN_WORDS.finditer(text, BLOCK)]
            end = words[-1] if words else len(text.rstrip("\r"))
        if end:
            piece, text = text[:end].replace("\r\n", "\n"), text[end:]
            is_empty = is_empty and piece.isspace()
            yield piece
    if text:
        yield text
    if is_empty and not text.strip():
        raise DataError(f"text was expected in {path}, but the file is empty; choose another file")


def _decoded(path: Path) -> Iterator[str]:
    """The blocks of a file, decoded; the last call of the decoder finds a character that is cut off."""
    decoder, offset, line, begun = codecs.getincrementaldecoder("utf-8")(), 0, 1, False
    for block in itertools.chain(read_blocks(path), [b""]):
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line += error.object.count(b"\n", 0, error.start)
            raise DataError(
                f"{path} must be UTF-8 text, but the byte 0x{error.object[error.start]:02x} in line {line}, at byte "
                f"offset {offset - pending + error.start}, is not; save the file as UTF-8"
            ) from error
        yield text if begun else text.removeprefix("\ufeff")
        begun = begun or bool(text)
        offset += len(block)
        line += block.count(b"\n")


def read_documents(path: Path, column: str) -> Iterator[str]:
    """The texts in the `column` of a JSONL or Parquet file, each with an empty line behind it.

    Raises DataError as `read_blocks` does, for a damaged file, and if there is no such column, or something else in it.
    """
    is_table, is_empty = plain_name(path).endswith(".parquet"), True
    rows = _parquet_rows(path, column) if is_table else _json_rows(path, column)
    for number, value in rows:
        place = f"row {number:,} of {path}" if is_table else f"line {number:,} of {path}"
        if not isinstance(value, str):
            found = "nothing" if value is None else shortened(value)
            raise DataError(f"text was expected under {column!r} in {place}, found {found}; fix or delete it")
        if SURROGATES.search(value):
            raise DataError(f"text was expected under {column!r} in {place}, found half a character; fix or delete it")
        text = value.replace("\r\n", "\n").strip("\n")
        is_empty = is_empty and not text.strip()
        yield f"{text}\n\n"
    if is_empty:
        raise DataError(f"text was expected under {column!r} in {path}, found none; choose another file or column")


def _json_rows(path: Path, column: str) -> Iterator[tuple[int, Any]]:
    """The number of each line and what it has under `column`; empty lines are passed over."""
    for number, line in enumerate(_lines(read_blocks(path)), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"an object in JSON was expected in line {number:,} of {path}, but: {error}; fix or delete it"
            ) from error
        if not isinstance(row, dict) or column not in row:
            found = f"found {', '.join(map(repr, row))}" if isinstance(row, dict) else f"found {shortened(row)}"
            raise DataError(
                f"an object with {column!r} was expected in line {number:,} of {path}, {found}; name the text's column "
                "with --data-column"
            )
        yield number, row[column]


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    parts: list[bytes] = []
    for block in blocks:
        first, *others = block.split(b"\n")
        parts.append(first)
        for line in others:
            yield b"".join(parts)
            parts = [line]
    yield b"".join(parts)


def _parquet_rows(path: Path, column: str) -> Iterator[tuple[int, Any]]:
    arrow, parquet = require("pyarrow", path), require("pyarrow.parquet", path)
    next(read_blocks(path), b"")  # raises for a file that is missing, a folder, or not readable
    try:
        with parquet.ParquetFile(path) as file:
            if column not in (names := file.schema_arrow.names):
                raise DataError(
                    f"a column {column!r} was expected in {path}, found {', '.join(map(repr, names))}; name the text's "
                    "column with --data-column"
                )
            number = 0
            for batch in file.iter_batches(batch_size=ROWS, columns=[column]):
                for value in batch.column(0).to_pylist():
                    number += 1
                    yield number, value
    except (arrow.ArrowException, OSError) as error:
        raise DataError(f"{path} must be a whole Parquet file, but: {error}; copy or write it again") from error
