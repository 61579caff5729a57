"""The JSON reader in C reads what Python's `json` writes, and refuses what it refuses."""

import ctypes
import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clearformer.engines.c import library
from clearformer.engines.c.library import Json

pytestmark = pytest.mark.usefixtures("compiled")

DEPTH = 64
NUMBER_TOLERANCE = 1e-15
"""of digits times a power of ten, two roundings of 1.1e-16 each and the power's"""


FRAGMENTS = (
    b"\\ud800", b"\\udc00\\ude00", b"\\ud83d\\ude00", b"\\ud83d\\ud83d", b"\\u12G4", b"\\x", b"\xed\xa0\x80",
    b"\xc0\x80", b"\xe0\x9f\xbf", b"\xf4\x90\x80\x80", b"\xf0\x9f\x98\x80", b"\xff", b"\x80", b"\xc3",
    b"\x1f", b"\x00", b"\"", b"01", b"1.", b".5", b"+1", b"1e", b"-", b"NaN", b"nul", b",", b":", b"]", b"}", b"//",
)  # fmt: skip
"""JSON, UTF-8 and numbers in forms that are almost right, and some that are"""


class Reader:
    """A text, and the C functions on its values."""

    def __init__(self, text: bytes) -> None:
        self.c, self.memory = library.library()[0], ctypes.create_string_buffer(text, len(text))
        at = ctypes.addressof(self.memory)
        self.all = Json(at, at + len(text))

    def is_valid(self) -> bool:
        return bool(self.c.json_valid(self.all))

    def items(self, container: Json) -> list[Json]:
        found, item = [], self.c.json_first(container)
        while item.at:
            found.append(item)
            item = self.c.json_next(container, item)
        return found

    def string(self, value: Json) -> str:
        length = self.c.json_string(value, None, 0)
        room = ctypes.create_string_buffer(length)
        assert length == 0 or self.c.json_string(value, room, length - 1) == -1
        assert self.c.json_string(value, room, length) == length
        return room.raw.decode("utf-8")

    def value(self, value: Json) -> Any:
        match self.c.json_kind(value):
            case b"{":
                items = [self.value(item) for item in self.items(value)]
                return dict(zip(items[::2], items[1::2], strict=True))
            case b"[":
                return [self.value(item) for item in self.items(value)]
            case b'"':
                return self.string(value)
            case b"0":
                return self.c.json_number(value)
        words = {b"true": True, b"false": False, b"null": None}
        return next(words[word] for word in words if self.c.json_is(value, word))


def is_valid_in_python(text: bytes) -> bool:
    """By `json.loads`, without its three numbers that are not JSON and without halves of surrogate pairs."""
    try:
        values = json.loads(text.decode("utf-8"), parse_constant=lambda name: float(f"no {name}"), parse_int=float)
        json.dumps(values, ensure_ascii=False).encode("utf-8")
    except ValueError:
        return False
    return True


numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(value=values, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
@example(value={"a": [], "b": {}, "": '\x00\x1f"\\/\U0010ffff'}, ascii_only=True, indent=2)
@example(value=[1e-320, 1.7976931348623157e308, -0.0, 12345678901234567890123], ascii_only=True, indent=None)
def test_a_value_that_python_writes_is_read_back(value: Any, ascii_only: bool, indent: int | None):
    reader = Reader(f" {json.dumps(value, ensure_ascii=ascii_only, indent=indent)}\n".encode())
    assert reader.is_valid()
    assert approximately(reader.value(reader.all), value)


def approximately(found: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(approximately, found, expected))
    if isinstance(expected, dict):
        return list(found) == list(expected) and approximately(list(found.values()), list(expected.values()))
    if isinstance(expected, bool | str | None):
        return found is expected or found == expected
    smallest = 2.2e-308  # of normal doubles; those below have fewer digits
    return math.isclose(found, expected, rel_tol=NUMBER_TOLERANCE, abs_tol=smallest * 2**-50)


@pytest.mark.parametrize("number", ["0", "-1", "30.0", "1e22", "0.1", "123456789012345", "1.5e-3", "-2.25E+2"])
def test_a_number_of_up_to_15_digits_is_the_nearest_double(number: str):
    reader = Reader(number.encode())
    assert reader.c.json_number(reader.all) == float(number)


@given(value=values, place=st.integers(0), cut=st.integers(0, 2), noise=st.binary(max_size=3))
@example(value="string", place=2, cut=0, noise=b"")
def test_a_changed_text_is_valid_where_python_reads_it(value: Any, place: int, cut: int, noise: bytes):
    text = json.dumps(value, ensure_ascii=False).encode()
    place %= len(text) + 1
    for put in (*FRAGMENTS, noise):
        changed = text[:place] + put + text[place + cut :]
        assert Reader(changed).is_valid() == is_valid_in_python(changed), changed


@pytest.mark.parametrize(
    "text", ["", " ", "[1 2]", '{"a" 1}', '{"a":1,}', "[1,]", "{1:2}", "1 1", "tru", '"', "\ufeff1"]
)
def test_text_that_is_not_one_value_is_refused(text: str):
    assert not Reader(text.encode()).is_valid()


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_containers_nest_64_deep_and_no_deeper(opening: str, closing: str):
    for depth, valid in ((DEPTH, True), (DEPTH + 1, False), (10**6, False)):
        inner = "1" if opening != "[" else ""
        assert Reader((opening * depth + inner + closing * depth).encode()).is_valid() == valid


def test_a_field_is_found_by_its_decoded_name_and_nothing_in_what_has_none():
    reader = Reader(b'{"x": {"b": 1}, "\\u0062": [2], "c": "b", "twice": 1, "twice": 1}')
    assert reader.value(reader.c.json_field(reader.all, b"b")) == [2.0]
    for missing in (b"", b"bb", b"a" * 64, b"a" * 65, b"twice"):
        assert not reader.c.json_field(reader.all, missing).at
    inner = reader.c.json_field(reader.all, b"b")
    assert not reader.c.json_field(inner, b"b").at
    assert not reader.c.json_first(reader.c.json_field(reader.all, b"c")).at
    assert not reader.items(Json())
    assert reader.c.json_kind(Json()) == b"\0"
    assert math.isnan(reader.c.json_number(inner))
    assert reader.c.json_string(inner, None, 0) == -1


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), (" 7 ", 7), (str(2**53), 2**53), (str(2**53 + 1), -1), ("9" * 40, -1), ("-1", -1), ("1.0", -1),
     ("1e2", -1), ('"1"', -1), ("[1]", -1), ("true", -1)],
)  # fmt: skip
def test_a_count_is_a_number_up_to_2_to_the_53_in_digits_alone(text: str, expected: int):
    reader = Reader(text.encode())
    assert reader.c.json_count(reader.all) == expected


def test_a_string_equals_a_text_whatever_its_escapes():
    reader = Reader(b'"n\\u006frm"')
    assert [bool(reader.c.json_equals(reader.all, text)) for text in (b"norm", b"nor", b"norms")] == [
        True,
        False,
        False,
    ]
