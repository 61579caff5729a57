"""Tokenizers: text as a sequence of token ids from a fixed vocabulary.

Three kinds, trained here and saved as Hugging Face's `tokenizer.json`:

    character   single characters
    word        words and punctuation with the preceding space; rare ones become <unk>
    bpe         byte-pair encoding over UTF-8 bytes, which can encode any text   Sennrich et al. 2016, arXiv:1508.07909

The `tokenizers` library counts and merges; this module defines the pieces and the special tokens.
"""

import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tokenizers
from jaxtyping import Int
from numpy.typing import NDArray
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from clearformer.errors import DataError

PAD, BOS, EOS, UNK, MASK = range(5)
"""ids of the special tokens; only the vocabulary of a masked language model has MASK"""
SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>", "<mask>"]

# A word or punctuation with the preceding space; a newline; other white space except the space before a word.
# No piece continues past a newline, so lines can be encoded one by one.
PIECE = r" ?\w+| ?[^\s\w]+|\n|[^\S\n]+(?!\S)|[^\S\n]"
CHARACTER = r"[\s\S]"
MAX_BPE_LINE = 10_000
"""characters; longer lines are cut to train BPE, since merging within a word is quadratic in its length"""

MAX_VOCAB_SIZE = 1 << 32
"""the library stores token ids in 32 bits"""


class Special(NamedTuple):
    """The ids of a vocabulary's special tokens; None where there is no such token."""

    pad: int | None = PAD
    bos: int | None = BOS
    eos: int | None = EOS
    unk: int | None = UNK
    mask: int | None = MASK


class Tokenizer:
    """Encodes text as token ids and decodes them, with a trained `tokenizers.Tokenizer`.

    Raises DataError if its special tokens are not SPECIAL.
    """

    imported = False
    """whether it is `clearformer.data.imported`'s"""
    special = Special()
    never_written: tuple[int, ...] = (PAD, BOS, EOS, UNK)
    """ids that a language model does not generate"""
    around: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    """ids that stand before and behind each text that a model with such a vocabulary reads"""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.backend = backend
        self.backend.encode_special_tokens = True  # "<pad>" in a text is five characters, not padding
        special = [backend.id_to_token(index) for index in range(MASK)]
        if special != SPECIAL[:MASK]:
            raise DataError(
                f"a vocabulary that begins with {', '.join(SPECIAL[:MASK])} was expected, found {special}; "
                "use the tokenizer.json that the run was made with"
            )
        if (unknown := getattr(backend.model, "unk_token", None)) not in (None, SPECIAL[UNK]):
            raise DataError(
                f"a vocabulary whose unknown token is {SPECIAL[UNK]} was expected, found {unknown!r}; "
                "use the tokenizer.json that the run was made with"
            )

    @property
    def vocab_size(self) -> int:
        """V: number of tokens, special ones included."""
        return int(self.backend.get_vocab_size())

    @property
    def target(self) -> "Tokenizer":
        """Encodes what a translator writes: the same, but where both sides have pieces of their own."""
        return self

    @property
    def has_mask(self) -> bool:
        """Whether the vocabulary has <mask>; if not, id MASK is an ordinary token."""
        return bool(self.backend.id_to_token(MASK) == SPECIAL[MASK])

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without BOS and EOS. Pieces outside the vocabulary become UNK."""
        return list(next(self.encode_batch([text])))

    def encode_batch(self, texts: Iterable[str]) -> Iterator[list[int]]:
        """Like `encode`, for many texts at once."""
        for encoding in self.backend.encode_batch_fast(list(texts), add_special_tokens=False):
            yield encoding.ids

    def encode_lines(self, text: str) -> list[int]:
        """Like `encode`, but line by line, which saves memory: the library keeps the offsets of a whole text."""
        return [index for ids in self.encode_batch(_lines(text)) for index in ids]

    def encode_array(self, texts: Iterable[str]) -> Int[NDArray[np.int64], " tokens"]:
        """The tokens of `texts`, one behind the other, as `encode_lines` encodes each; encoded in parallel."""
        lines = (line for text in texts for line in _lines(text))
        return np.fromiter(itertools.chain.from_iterable(self.encode_batch(lines)), dtype=np.int64)

    def unknown(self, text: str) -> list[str]:
        """The pieces of `text` outside the vocabulary, in order."""
        encoding = self.backend.encode(text, add_special_tokens=False)
        pieces = zip(encoding.ids, encoding.offsets, strict=True)
        return [text[start:end] for index, (start, end) in pieces if index == self.special.unk]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of the token ids. PAD, BOS and EOS are dropped; UNK and MASK are written as <unk> and <mask>."""
        visible = [index for index in ids if index not in (PAD, BOS, EOS)]
        return str(self.backend.decode(visible, skip_special_tokens=False))

    def token_text(self, index: int) -> str:
        """One token as text, such as for a plot. Part of a character becomes \ufffd."""
        return SPECIAL[index] if index < MASK else self.decode([index])

    def save(self, path: Path) -> None:
        path.write_text(self.backend.to_str(pretty=True), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a tokenizer.json. Raises DataError if it is missing, damaged, or has other special tokens."""
        return cls(read_backend(path))


def read_backend(path: Path) -> tokenizers.Tokenizer:
    """Read a tokenizer.json, whatever its special tokens are. Raises DataError if it is missing or damaged."""
    try:
        return tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # the library raises plain Exceptions
        raise DataError(f"a tokenizer in Hugging Face's format was expected in {path}, but: {error}") from error


def train_tokenizer(
    kind: Literal["character", "bpe", "word"], texts: Iterable[str], vocab_size: int, mask: bool = False
) -> Tokenizer:
    """Train a tokenizer on `texts`; the vocabulary keeps the `vocab_size` most frequent tokens.

    With `mask`, <mask> is the fifth special token.

    Raises DataError if `vocab_size` is too small for the kind, or `texts` is empty.
    """
    vocab_size = min(vocab_size, MAX_VOCAB_SIZE)
    special = SPECIAL if mask else SPECIAL[:MASK]
    smallest = len(special) + (256 if kind == "bpe" else 1)
    if vocab_size < smallest:
        raise DataError(
            f"a {kind} vocabulary of at least {smallest} tokens was expected, found {vocab_size}; "
            "raise --model.vocab-size"
        )
    if kind == "bpe":
        backend = tokenizers.Tokenizer(models.BPE())
        by_byte = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(PIECE), "isolated"), by_byte])
        backend.decoder = decoders.ByteLevel()
        trainer: trainers.Trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
    else:
        backend = tokenizers.Tokenizer(models.WordLevel(unk_token=SPECIAL[UNK]))
        pattern = Regex(CHARACTER if kind == "character" else PIECE)
        backend.pre_tokenizer = pre_tokenizers.Split(pattern, "isolated")
        backend.decoder = decoders.Fuse()
        trainer = trainers.WordLevelTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False)
    lines = [line for text in texts for line in _lines(text)]
    if kind == "bpe":
        lines = [line[first : first + MAX_BPE_LINE] for line in lines for first in range(0, len(line), MAX_BPE_LINE)]
    if not lines:
        raise DataError("text to train the tokenizer on was expected, found none; give a file that is not empty")
    backend.train_from_iterator(lines, trainer)
    return Tokenizer(backend)


def _lines(text: str) -> list[str]:
    """`text` split after each newline and nowhere else (`str.splitlines` knows other line ends)."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
