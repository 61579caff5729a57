"""Maps as characters, worked by hand; whatever the tokens, lines are as wide as they should be and safe to print."""

import numpy as np
import pytest
from rich.cells import cell_len

from clearformer.inspection.attention import AttentionHeads
from clearformer.inspection.characters import lines

HOSTILE = ["a", "\x1b[2J", "中", " long word of a text", "\u202e"]


def heads(count: int, rows: list[str], columns: list[str]) -> AttentionHeads:
    weights = np.zeros((1, count, len(rows), len(columns)), np.float32)
    weights[0, :, 0], weights[0, -1, 1, -1] = 0.2, 0.8
    return AttentionHeads(weights, [3], list(range(count)), rows, columns, ("query", "key"))


def test_one_map_by_hand():
    drawn = list(lines(heads(1, ["x", "<eos>"], ["a", " b"])))
    assert drawn == [
        "rows: query; columns: key; █ is 0.80, the largest weight",
        "",
        "  layer 3 head 0",
        "    ␣",
        "  a b",
        "x ░░░░",
        "■   ██",
    ]


def test_maps_stand_side_by_side_as_many_as_fit():
    maps = heads(3, ["x", "y"], ["a", "b"])
    assert list(lines(maps))[2:] == [
        "  layer 3 head 0  layer 3 head 1  layer 3 head 2",
        "  ab              ab              ab",
        "x ░░              ░░              ░░",
        "y                                  █",
    ]
    narrow = list(lines(maps, 33))
    assert [line.count("layer") for line in narrow if "layer" in line] == [2, 1]
    assert narrow[2:6] == [line[:32].rstrip() for line in list(lines(maps))[2:6]]


@pytest.mark.parametrize("width", [None, 200, 40, 20, 5])
def test_hostile_tokens_move_no_column_and_print_no_control_character(width: int | None):
    drawn = list(lines(heads(2, HOSTILE, HOSTILE), width))[1:]
    assert all(char.isprintable() for line in drawn for char in line)
    if width:
        assert max(map(cell_len, drawn)) <= width
    else:  # the darkest cell is the last of the second map's second row
        (row,) = (line for line in drawn if "█" in line)
        assert cell_len(row[: row.index("█")]) == 12 + 1 + 16 + 4
