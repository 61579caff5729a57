"""The tokens of a large text: encoded once, into files beside the run, which are mapped into memory and never loaded.

    tokens/  train.bin  validation.bin  tokens.json

Token ids are little-endian integers of 16 bits, or of 32 for a vocabulary of more than 65,536. `tokens.json` is written
last, atomically, with the SHA-256 of the text, the tokenizer and both files: files that do not belong together are made
anew. Until then `begun.json` says the same of what has been encoded, so that after a kill the rest is.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from jaxtyping import Integer
from numpy.typing import NDArray

from clearformer.data import pieces
from clearformer.data.corpora import LargeCorpus, Split
from clearformer.data.downloads import Progress
from clearformer.data.large import Fingerprint
from clearformer.data.tokenizers import Tokenizer
from clearformer.errors import RunError
from clearformer.runs.lock import exclusive_lock

INDEX, BEGUN = "tokens.json", "begun.json"
SPLITS: tuple[Split, ...] = ("train", "validation")
BATCH = 16
"""pieces of text that are encoded at once, in parallel"""
CHUNK = 1 << 20
"""bytes that are hashed at once"""


@dataclass(frozen=True)
class Tokens:
    """A split as token ids, on the disk; `unknown` of them stand for what the vocabulary lacks."""

    ids: Integer[NDArray[np.integer[Any]], " tokens"]
    unknown: int


def open_tokens(
    folder: Path,
    corpus: LargeCorpus,
    tokenizer: Tokenizer,
    sha256: str,
    on_other_data: Callable[[], NoReturn],
    progress: Progress,
) -> dict[Split, Tokens]:
    """The splits' tokens, from `folder`, or encoded into it if they are not there, damaged, or of other text.

    `sha256` is the text's fingerprint; if the files now hold another text, `on_other_data` is called, which must raise.
    Raises DataError if the text cannot be read, RunError if the folder cannot be written to.
    """
    expected = {"text": sha256, "tokenizer": hashlib.sha256(tokenizer.backend.to_str().encode()).hexdigest()}
    try:
        folder.mkdir(exist_ok=True)
        with exclusive_lock(folder, wait=True):  # another process may be encoding the same text
            found = _read(folder, expected)
            if found is None:
                found = _write(folder, corpus, tokenizer, expected, on_other_data, progress)
    except OSError as error:
        raise RunError(
            f"{folder} must be a folder that can be written to, but: {error}; make room, or choose another --out"
        ) from error
    return found


def _read(folder: Path, expected: dict[str, str]) -> dict[Split, Tokens] | None:
    """The tokens of the expected text and tokenizer; None if they are not there, or not as they were written."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if any(index[key] != value for key, value in expected.items()):
            return None
        for split in SPLITS:
            with (folder / f"{split}.bin").open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != index[split]["sha256"]:
                    return None
        return _mapped(folder, index)
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None


def _mapped(folder: Path, index: dict[str, Any]) -> dict[Split, Tokens]:
    dtype = np.dtype(index["dtype"])
    if dtype not in (np.dtype("<u2"), np.dtype("<u4")):
        raise ValueError(f"a dtype of token ids was expected, found {dtype}")
    maps = ((split, np.memmap(folder / f"{split}.bin", dtype, mode="r")) for split in SPLITS)
    return {split: Tokens(np.asarray(ids), index[split]["unknown"]) for split, ids in maps}


def _write(
    folder: Path,
    corpus: LargeCorpus,
    tokenizer: Tokenizer,
    expected: dict[str, str],
    on_other_data: Callable[[], NoReturn],
    progress: Progress,
) -> dict[Split, Tokens]:
    (folder / INDEX).unlink(missing_ok=True)
    index: dict[str, Any] = {**expected, "dtype": "<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4"}
    begun, cut = _json(folder / BEGUN), {"block": pieces.BLOCK, "batch": BATCH}
    if any(begun.get(key) != value for key, value in (index | cut).items()):
        begun = {}
    found, done, size = Fingerprint(), 0, len(corpus.train) + len(corpus.validation)
    states: dict[Split, dict[str, Any]] = {}
    for split, texts in itertools.groupby(corpus.pieces(), key=lambda piece: piece[0]):
        with (folder / f"{split}.bin").open("a+b") as file:
            encoded = _Encoded(file, begun.get(split, {}))
            for number, batch in enumerate(_batches(text for _, text in texts)):
                for text in batch:
                    found.add(split, text)
                    done += len(text)
                if number >= encoded.batches:
                    ids = tokenizer.encode_array(batch).astype(index["dtype"])
                    encoded.add(ids, unknown=int((ids == tokenizer.special.unk).sum()))
                    _replace(folder / BEGUN, index | cut | states | {split: encoded.state()})
                progress(f"encoding {corpus.name}, characters", min(done, size), size)
            states[split] = encoded.state()
    if found.hexdigest() != expected["text"]:
        on_other_data()
    index |= {split: {key: state[key] for key in ("sha256", "unknown")} for split, state in states.items()}
    _replace(folder / INDEX, index)
    (folder / BEGUN).unlink()
    return _mapped(folder, index)


class _Encoded:
    """A file of token ids that grows batch by batch, from where the `state` that was saved last says."""

    def __init__(self, file: IO[bytes], saved: dict[str, Any]) -> None:
        """`file` is open for reading and appending; unless it is as it was saved, it is emptied."""
        self.file, self.hash = file, hashlib.sha256()
        size = saved.get("bytes", 0)
        file.seek(0)
        for start in range(0, size, CHUNK):
            self.hash.update(file.read(min(CHUNK, size - start)))
        if self.hash.hexdigest() != saved.get("sha256"):
            self.hash, saved = hashlib.sha256(), {}
        self.bytes, self.batches, self.unknown = (saved.get(name, 0) for name in ("bytes", "batches", "unknown"))
        file.truncate(self.bytes)

    def add(self, ids: Integer[NDArray[np.integer[Any]], " tokens"], unknown: int) -> None:
        self.file.write(ids.data)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.hash.update(ids.data)
        self.bytes += ids.nbytes
        self.batches += 1
        self.unknown += unknown

    def state(self) -> dict[str, Any]:
        counts = {"bytes": self.bytes, "batches": self.batches, "unknown": self.unknown}
        return {"sha256": self.hash.hexdigest(), **counts}


def _json(path: Path) -> dict[str, Any]:
    """The object in a file; empty if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _replace(path: Path, facts: dict[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def _batches(texts: Iterator[str]) -> Iterator[list[str]]:
    while batch := list(itertools.islice(texts, BATCH)):
        yield batch
