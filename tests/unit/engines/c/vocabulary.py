"""What tests of tokenizers in C share."""

import ctypes

from hypothesis import strategies as st

from clearformer.data.tokenizers import Special
from clearformer.engines.c import library

AWKWARD = [
    *(
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "\x0b",
        "\x1c",
        "\x85",
        "\u00a0",
        "\u2028",
        "\u3000",
        "\u200b",
        "\u200d",
        "\ufeff",
    ),
    *(
        "²",
        "¼",
        "ª",
        "·",
        "_",
        "e\u0301",
        "\u0301",
        "क्षि",
        "日本",
        "٣",
        "Ⅷ",
        "👩‍👩‍👧",
        "🇩🇪",
        "\U000e0100",
        "\U0010ffff",
    ),
    *("0", "12", " 7 ", "=", "\x00", "�", "<pad>", "<unk>", "<mask>", "the", " fox", "can't", "!?", " ..."),
]
VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTES = VISIBLE + sorted(set(range(256)) - set(VISIBLE))
"""in the order of their tokens, which follow the special ones: those that are characters of Latin-1 one sees first"""

pieces_of_utf8 = st.sampled_from(
    [b"a", b"\xc3\xa9", b"\xe0\xa0\x80", b"\xed\x9f\xbf", b"\xf0\x90\x80\x80", b"\xf4\x8f\xbf\xbf"]
)
broken = st.lists(st.binary(max_size=3) | pieces_of_utf8 | pieces_of_utf8.map(lambda data: data[:-1])).map(b"".join)
"""UTF-8 and what is none"""


class CTokenizer:
    """A tokenizer.json as C reads it, beside a special_tokens_map.json if it is an imported one.

    Raises ValueError with C's sentence.
    """

    def __init__(self, text: bytes, names: bytes | None = None) -> None:
        self.c, fault = library.library()[0], ctypes.create_string_buffer(library.FAULT_SIZE)
        files = text, len(text), names, len(names or b"")
        size = self.c.read_tokenizer(*files, None, fault)
        self.memory = (ctypes.c_uint64 * (size // 8))()
        if not size or self.c.read_tokenizer(*files, self.memory, fault) != size:
            raise ValueError(fault.value.decode("utf-8"))
        _, self.vocab_size, *integers = (ctypes.c_int32 * 17).from_buffer(self.memory)
        self.special, (before, behind) = Special(*(None if i < 0 else i for i in integers[:5])), integers[5:7]
        self.around = tuple(integers[7 : 7 + before]), tuple(integers[11 : 11 + behind])

    def is_never_written(self, index: int) -> bool:
        return bool(self.c.is_never_written(self.memory, index))

    def encode(self, text: str | bytes) -> list[int]:
        data = text.encode("utf-8") if isinstance(text, str) else text
        scratch = (ctypes.c_uint64 * (self.c.encode_text(self.memory, data, len(data), None, None) // 8 + 1))()
        ids = (ctypes.c_int32 * self.c.most_tokens(self.memory, len(data)))()
        found = self.c.encode_text(self.memory, data, len(data), ids, scratch)
        if found < 0:
            raise ValueError("no UTF-8")
        return ids[:found]

    def decode(self, ids: list[int], rest: ctypes.Array[ctypes.c_char] | None = None) -> str:
        array = (ctypes.c_int32 * len(ids))(*ids)
        text = ctypes.create_string_buffer(self.c.decode_tokens(self.memory, array, len(ids), rest, None))
        assert self.c.decode_tokens(self.memory, array, len(ids), rest, text) == len(text)
        return text.raw.decode("utf-8")
