"""Tokens as text that a picture, a page or a terminal can show."""

from clearformer.data.tokenizers import BOS, EOS, SPECIAL

WHITE_SPACE = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})
SYMBOLS = {SPECIAL[BOS]: "□", SPECIAL[EOS]: "■"}


def visible(token: str) -> str:
    """White space as symbols, and what cannot be printed, such as a terminal's escape character, as \ufffd."""
    return "".join(char if char.isprintable() else "\ufffd" for char in token.translate(WHITE_SPACE))


def symbol(token: str) -> str:
    """The same, with one letter for the begin (□) and end (■) of a text."""
    return SYMBOLS.get(token) or visible(token)
