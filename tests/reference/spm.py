"""Small files of SentencePiece's, written by hand, and a folder as the translators of Helsinki are published in."""

import struct

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4


def field(number: int, value: float | bytes | str) -> bytes:
    """A value of a protocol buffer: a whole number, a float, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    return varint(value & 127 | 128)[:1] + varint(value >> 7) if value > 127 else bytes([value])
