"""Pictures of attention: complete, self-contained, and valid whatever the tokens are."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from clearformer.errors import InspectionError, PromptError
from clearformer.inspection.attention import AttentionHeads, AttentionMap

HOSTILE = ["<script>", "$x$ $\\frac$", "\x1b[31m", "中", "&amp;", "\x00"]
LABELS = ("query (T)", "key (S)")


def heads(tokens: list[str], layers: int = 2, count: int = 3) -> AttentionHeads:
    weights = np.random.default_rng(0).random((layers, count, len(tokens), len(tokens)), np.float32)
    return AttentionHeads(weights, list(range(layers)), list(range(count)), tokens, tokens, LABELS)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_all_heads_are_named_and_the_outer_maps_have_tokens():
    found = texts(heads(["a", " b"]).svg())
    for name in (*LABELS, "head 0", "head 2", "layer 0", "layer 1"):
        assert found.count(name) == 1
    assert found.count("␣b") == 3 + 2  # below three heads and beside two layers
    assert texts(heads([f"t{index}" for index in range(60)]).svg()).count("t59") == 0  # letters would be too small


def test_each_frame_has_the_weights_of_its_layer_and_head():
    every = heads(["a", " b"])
    axes = every.figure().axes[0]
    drawn, frames = axes.images[0].get_array(), iter(axes.patches)
    for layer in range(2):
        for head in range(3):
            column, row = (int(place + 0.5) for place in next(frames).get_xy())
            np.testing.assert_array_equal(drawn[row : row + 2, column : column + 2], every.weights[layer, head])


def test_a_selection_keeps_its_numbers_and_weights():
    every = heads(["a", "b"])
    one = every.select(-1, 2)
    assert (one.layers, one.heads) == ([1], [2])
    np.testing.assert_array_equal(one.map().weights, every.weights[1, 2])
    np.testing.assert_array_equal(every.map(1).weights, every.weights[1].mean(0))
    np.testing.assert_array_equal(every.select(None, 1).weights, every.weights[:, [1]])
    for numbers in ((2, None), (None, -4)):
        with pytest.raises(InspectionError, match=r"(layer|head) must be from -\d to \d, found"):
            every.select(*numbers)


def test_hostile_tokens_are_shown_as_they_are_and_run_nothing(tmp_path: Path):
    for picture in (heads(HOSTILE), heads(HOSTILE).map(0, 0), heads(["<script>"], 1, 1).map()):
        svg = picture.svg()
        assert "<script>" not in svg
        found = texts(svg)
        assert "<script>" in found
        assert not re.search(r"https?://(?!www\.w3\.org/)", svg)
        picture.save(tmp_path / "x.png")
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert {"$x$␣$\\frac$", "\ufffd[31m", "中", "&amp;", "\ufffd"} <= set(texts(heads(HOSTILE).svg()))


def test_a_map_of_zeros_is_drawn_too():
    assert "0.00" in texts(AttentionMap(np.zeros((2, 2), np.float32), ["a", "b"], ["a", "b"], LABELS).svg())


def test_other_endings_and_folders_that_are_missing_are_refused(tmp_path: Path):
    picture = heads(["a", "b"])
    for name in ("x.jpg", "x", ".svg"):
        with pytest.raises(PromptError, match=r"ends in \.svg or \.png was expected, found .*"):
            picture.save(tmp_path / name)
    with pytest.raises(PromptError, match=r"a file that can be written to was expected at .*, but: "):
        picture.save(tmp_path / "nowhere" / "x.svg")
