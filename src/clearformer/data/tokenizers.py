"""Tokens: text cut into pieces of a fixed vocabulary, each with a number.

Three kinds, all trained here and kept in Hugging Face's `tokenizer.json`:

    character   every character that occurs
    word        words and punctuation, with the space before them; rare ones become <unk>
    bpe         byte-pair encoding over UTF-8 bytes, which knows every text      Sennrich et al. 2016, arXiv:1508.07909

The library counts and merges; what a piece is, and which special tokens there are, is said here.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers

from clearformer.errors import DataError

PAD, BOS, EOS, UNK, MASK = range(5)
"""numbers of the special tokens, the same in every vocabulary: padding, begin, end, unknown; MASK, to be guessed, is
one only in the vocabulary of a masked language model"""
SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>", "<mask>"]

# a word or punctuation with the space before it; a line's end; other white space but for the space before a word.
# No piece goes on past a line's end, so lines can be encoded one by one.
PIECE = r" ?\w+| ?[^\s\w]+|\n|[^\S\n]+(?!\S)|[^\S\n]"
CHARACTER = r"[\s\S]"
LONGEST_LINE = 10_000
"""characters that byte pairs are learned from at once: merging within a word takes the square of its length"""

MOST_TOKENS = 1 << 32
"""the library counts tokens in 32 bits"""


class Tokenizer:
    """Text to numbers and back, by a trained `tokenizers.Tokenizer`."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.backend = backend
        self.backend.encode_special_tokens = True  # "<pad>" typed by a user is five characters, not padding
        found = [backend.id_to_token(index) for index in range(MASK)]
        if found != SPECIAL[:MASK]:
            raise DataError(
                f"a vocabulary that begins with {', '.join(SPECIAL[:MASK])} was expected, found {found}; "
                "use the tokenizer.json that the run was made with"
            )
        if (unknown := getattr(backend.model, "unk_token", None)) not in (None, SPECIAL[UNK]):
            raise DataError(
                f"a vocabulary whose unknown token is {SPECIAL[UNK]} was expected, found {unknown!r}; "
                "use the tokenizer.json that the run was made with"
            )

    @property
    def vocab_size(self) -> int:
        """V: how many different tokens there are, the special ones included."""
        return int(self.backend.get_vocab_size())

    @property
    def has_mask(self) -> bool:
        """Whether MASK is the mask, and not a token like any other."""
        return bool(self.backend.id_to_token(MASK) == SPECIAL[MASK])

    def encode(self, text: str) -> list[int]:
        """Numbers of the tokens of `text`, without begin and end. What the vocabulary lacks becomes UNK."""
        return list(next(self.encode_many([text])))

    def encode_many(self, texts: Iterable[str]) -> Iterator[list[int]]:
        """The same for many texts at once."""
        for encoding in self.backend.encode_batch_fast(list(texts), add_special_tokens=False):
            yield encoding.ids

    def encode_lines(self, text: str) -> list[int]:
        """The same as `encode`, line by line: for texts of megabytes, of which the library would keep every offset."""
        return [index for ids in self.encode_many(_lines(text)) for index in ids]

    def unknown(self, text: str) -> list[str]:
        """The pieces of `text` that the vocabulary lacks, in order."""
        encoding = self.backend.encode(text, add_special_tokens=False)
        return [text[a:b] for index, (a, b) in zip(encoding.ids, encoding.offsets, strict=True) if index == UNK]

    def decode(self, ids: Iterable[int]) -> str:
        """The text that the numbers stand for. Padding, begin and end leave no trace; <unk> and <mask> show."""
        visible = [index for index in ids if index not in (PAD, BOS, EOS)]
        return str(self.backend.decode(visible, skip_special_tokens=False))

    def label(self, index: int) -> str:
        """One token as text, to stand on a plot. Part of a character shows as \ufffd."""
        return SPECIAL[index] if index < MASK else self.decode([index])

    def save(self, path: Path) -> None:
        path.write_text(self.backend.to_str(pretty=True), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a tokenizer.json. Raises DataError if it is missing, damaged or not one of ours."""
        try:
            backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library has no narrower class than this
            raise DataError(f"a tokenizer in Hugging Face's format was expected in {path}, but: {error}") from error
        return cls(backend)


def train_tokenizer(
    kind: Literal["character", "bpe", "word"], texts: Iterable[str], vocab_size: int, mask: bool = False
) -> Tokenizer:
    """Learn a vocabulary of at most `vocab_size` tokens from `texts`; the commonest come first.

    With `mask` it has <mask> as its fifth special token.

    Raises DataError if `vocab_size` leaves no room, or there is nothing to learn from.
    """
    vocab_size = min(vocab_size, MOST_TOKENS)
    special = SPECIAL if mask else SPECIAL[:MASK]
    least = len(special) + (256 if kind == "bpe" else 1)
    if vocab_size < least:
        raise DataError(
            f"a {kind} vocabulary of at least {least} tokens was expected, found {vocab_size}; raise --model.vocab-size"
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
        lines = [line[first : first + LONGEST_LINE] for line in lines for first in range(0, len(line), LONGEST_LINE)]
    if not lines:
        raise DataError("text to learn a vocabulary from was expected, found none; give a file that is not empty")
    backend.train_from_iterator(lines, trainer)
    return Tokenizer(backend)


def _lines(text: str) -> list[str]:
    """`text` cut behind each newline, and nowhere else (`str.splitlines` knows ten more line ends)."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
