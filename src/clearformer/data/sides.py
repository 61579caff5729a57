"""A translator's tokenizer as Marian has it: two sides, each with pieces of its own, whose numbers both share.

    text -> (>>xxx<<, the language to write, if it begins with one) -> pieces of the side -> their numbers

Each side is an imported tokenizer with all tokens of both. What is no piece of a side stands in it with MARK before
it, so that no text is cut into it: `target_tokenizer.json` is that of targets. What one side takes for unknown may be
a token all the same, of the other; and pieces that are no tokens are unknown.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import tokenizers

from clearformer.data.imported import ImportedTokenizer, load_tokenizer, read_names
from clearformer.data.tokenizers import Tokenizer, read_backend
from clearformer.errors import DataError

TARGET_FILE = "target_tokenizer.json"
SPM_FILES = ("source.spm", "target.spm")
"""of SentencePiece's, from which they were made; they are kept, to be exported"""
MARK = " "
"""no piece of a text has a space, since U+2581 stands for it"""


class SidedTokenizer(ImportedTokenizer):
    """One side of a translator's tokenizer. `target` is that of what is written, which is its own."""

    def __init__(
        self, backend: tokenizers.Tokenizer, names: Mapping[str, str], rows: int, files: Mapping[str, bytes]
    ) -> None:
        super().__init__(backend, names, rows)
        self.files = files
        self._target: SidedTokenizer | None = None

    @classmethod
    def of_both(
        cls,
        source: tokenizers.Tokenizer,
        target: tokenizers.Tokenizer,
        names: Mapping[str, str],
        rows: int,
        files: Mapping[str, bytes],
    ) -> "SidedTokenizer":
        """The side of sources, whose `target` is the other. `files` are those of SPM_FILES, by their names."""
        found = cls(source, names, rows, files)
        found._target = cls(target, names, rows, files)
        return found

    @property
    def target(self) -> "SidedTokenizer":
        return self._target or self

    @property
    def vocab_size(self) -> int:
        """V: the rows of the model's embedding."""
        return self.rows

    def encode(self, text: str) -> list[int]:
        return list(next(self.encode_batch([text])))

    def encode_batch(self, texts: Iterable[str]) -> Iterator[list[int]]:
        parts = [_cut(text) for text in texts]
        encodings = self.backend.encode_batch_fast([rest for _, rest in parts], add_special_tokens=False)
        for (language, rest), encoding in zip(parts, encodings, strict=True):
            ids = list(encoding.ids)
            if self.special.unk in ids or max(ids, default=0) >= self.rows:  # the fast encodings have no pieces
                ids = self._numbers(self.backend.encode(rest, add_special_tokens=False))
            yield ([self._number(language)] if language else []) + ids

    def unknown(self, text: str) -> list[str]:
        language, rest = _cut(text)
        encoding = self.backend.encode(rest, add_special_tokens=False)
        pieces = zip(self._numbers(encoding), encoding.offsets, strict=True)
        found = [rest[start:end] for index, (start, end) in pieces if index == self.special.unk]
        return ([language] if language and self._number(language) == self.special.unk else []) + found

    def text_of(self, index: int) -> str:
        """The token with this id."""
        return str(self.backend.id_to_token(index)).removeprefix(MARK)

    def save(self, path: Path) -> None:
        super().save(path)
        path.with_name(TARGET_FILE).write_text(self.target.backend.to_str(pretty=True), encoding="utf-8")
        for name, content in self.files.items():
            path.with_name(name).write_bytes(content)

    def _numbers(self, encoding: tokenizers.Encoding) -> list[int]:
        """The ids of pieces; what is unknown to the side alone, or to both, is looked up."""
        unk, pieces = self.special.unk, zip(encoding.ids, encoding.tokens, strict=True)
        return [self._number(text) if index == unk or index >= self.rows else index for index, text in pieces]

    def _number(self, text: str) -> int:
        """The id of a text that is a token of any side; else that of the unknown."""
        found = (self.backend.token_to_id(text), self.backend.token_to_id(MARK + text), self.special.unk)
        return next(index for index in found if index is not None and index < self.rows)


def load_any(path: Path, rows: int) -> Tokenizer:
    """Read a tokenizer.json of any kind, and the files beside it, for a vocabulary of `rows`.

    Raises DataError if one is missing or damaged, or has other special tokens.
    """
    if not path.with_name(TARGET_FILE).exists():
        return load_tokenizer(path, rows)
    try:
        files = {name: path.with_name(name).read_bytes() for name in SPM_FILES}
    except OSError as error:
        raise DataError(f"a file of SentencePiece's was expected in the run, but: {error}; import it again") from error
    sides = read_backend(path), read_backend(path.with_name(TARGET_FILE))
    return SidedTokenizer.of_both(*sides, read_names(path), rows, files)


def _cut(text: str) -> tuple[str, str]:
    """The language that a text begins with, such as >>fra<<, and the rest."""
    end = text.find("<<") + 2 if text.startswith(">>") else 1
    return (text[:end], text[end:]) if end > 1 else ("", text)
