"""A tokenizer that somebody else trained, with ids and special tokens of its own.

It is a `tokenizer.json` as it was found, and beside it `special_tokens_map.json`, Hugging Face's file of which token
begins a text, ends it, pads it, stands for the unknown and hides a word.
"""

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tokenizers
from jaxtyping import Int
from numpy.typing import NDArray

from clearformer.data.tokenizers import Special, Tokenizer, read_backend
from clearformer.errors import DataError

NAMES_FILE = "special_tokens_map.json"
ROLES = tuple(f"{role}_token" for role in Special._fields)


class ImportedTokenizer(Tokenizer):
    """Encodes as its library does, with the tokens that it puts around a text.

    `names` has the text of the token of each of ROLES that there is, and `rows` is the size of the model's vocabulary.
    Raises DataError if a special token is not in the vocabulary.
    """

    imported = True

    def __init__(self, backend: tokenizers.Tokenizer, names: Mapping[str, str], rows: int) -> None:
        self.backend = backend
        self.backend.no_padding()
        self.backend.no_truncation()
        self.names = {role: names[role] for role in ROLES if role in names}
        ids: dict[str, int] = {}
        for role, name in self.names.items():
            if (index := backend.token_to_id(name)) is None:
                raise DataError(
                    f"the special token {name!r} was expected in the vocabulary, but is not there; use the "
                    "tokenizer.json that belongs to the model"
                )
            ids[role] = index
        self.special = Special(*(ids.get(role) for role in ROLES))
        marked = {index for index, token in backend.get_added_tokens_decoder().items() if token.special}
        if self.special.mask is not None:
            whole, begin, end = self.backend.encode("").ids, self.special.bos, self.special.eos
            self.around = tuple(each for each in whole if each == begin), tuple(each for each in whole if each == end)
        tokens = set(self.backend.get_vocab().values())
        self.never_written = tuple(sorted(marked | set(ids.values()) | (set(range(rows)) - tokens)))
        self.rows, self.num_ids = rows, 1 + max(tokens, default=-1)

    @property
    def vocab_size(self) -> int:
        """V: the rows of the model's embedding, the last of which may be no token's."""
        return max(self.rows, self.num_ids)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, with the tokens that the library puts before and behind it."""
        return list(self.backend.encode(text).ids)

    def encode_lines(self, text: str) -> list[int]:
        """Without special tokens, and as a whole: a token may go on over the end of a line."""
        return list(next(self.encode_batch([text])))

    def encode_array(self, texts: Iterable[str]) -> Int[NDArray[np.int64], " tokens"]:
        return np.fromiter(itertools.chain.from_iterable(self.encode_batch(texts)), dtype=np.int64)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the token ids. Special tokens are dropped, but those of the unknown and of a hole."""
        dropped = {*self.never_written} - {self.special.unk, self.special.mask}
        return str(self.backend.decode([index for index in ids if index not in dropped], skip_special_tokens=False))

    def token_text(self, index: int) -> str:
        if index in self.never_written:
            return str(self.backend.id_to_token(index) or "\ufffd")
        return str(self.backend.decode([index]))

    def save(self, path: Path) -> None:
        super().save(path)
        path.with_name(NAMES_FILE).write_text(json.dumps(self.names, indent=2) + "\n", encoding="utf-8")


def load_tokenizer(path: Path, rows: int) -> Tokenizer:
    """Read a tokenizer.json of ours, or an imported one, which has NAMES_FILE beside it, for a vocabulary of `rows`.

    Raises DataError if it is missing or damaged, or has other special tokens.
    """
    if not path.with_name(NAMES_FILE).exists():
        return Tokenizer.load(path)
    return ImportedTokenizer(read_backend(path), read_names(path), rows)


def read_names(path: Path) -> dict[str, str]:
    """The NAMES_FILE beside a tokenizer.json. Raises DataError if it is missing or damaged."""
    names = path.with_name(NAMES_FILE)
    try:
        found = json.loads(names.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"special tokens in JSON were expected in {names}, but: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise DataError(f"an object of special tokens was expected in {names}; import the model again")
    return found
