"""Figures of grokking show what they are given, under its name."""

from xml.etree import ElementTree

import pytest
import torch

from clearformer.inspection.grokking import figures
from clearformer.inspection.grokking.history import Measures
from clearformer.inspection.grokking.phases import Phases

CIRCLE = {
    "restricted_loss": 0.5,
    "excluded_loss": 2.0,
    "explained": 0.4,
    "embedding_gini": 0.3,
    "unembedding_gini": 0.4,
}
PHASES = Phases(memorised=4, formed=30, grokked=200)


def rows(**circle: float) -> list[Measures]:
    return [
        Measures(step, 1 / (1 + step), 0.9, 2.0, 0.2, {"embedding.weight": 3.0}, **circle) for step in (0, 1, 9, 900)
    ]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_curves_have_the_phases_names_and_every_measure():
    found = texts(figures.curves(rows(**CIRCLE), PHASES))
    for name in ("memorisation", "circuit formation", "cleanup", "step", "accuracy", "Gini", "squared weights"):
        assert found.count(name) == 1
    assert found.count("loss, nats") == 2
    assert "excluded: without the key frequencies" in found


def test_curves_without_a_circle_have_no_panels_for_its_measures():
    found = texts(figures.curves(rows(), Phases(4, None, None)))
    assert found.count("loss, nats") == 1
    assert not {"Gini", "cleanup"} & set(found)
    assert not any("key frequencies" in text for text in found)


@pytest.mark.parametrize("n", [12, 13])
def test_circles_are_drawn_of_each_frequency_that_has_a_sine(n: int):
    found = texts(figures.circles(torch.randn(n, 8), [1, 4, 6], list(range(100, 100 + n))))
    expected = [1, 4, 6] if n == 13 else [1, 4]
    assert [text for text in found if text.startswith("k = ")] == [f"k = {k}" for k in expected]
    assert found.count("100") == found.count("102") == len(expected)
    assert "103" not in found


def test_spectra_mark_the_key_frequencies_alone():
    svg = figures.spectrum_bars({"embedding": torch.rand(9), "logits": torch.rand(9)}, [2, 7])
    assert svg.count("var(--contrast") == 2 * 2
    assert {"2", "7", "embedding", "logits"} <= set(texts(svg))
    assert "3" not in texts(svg)


def test_every_head_has_a_map_for_each_operand():
    found = texts(figures.attention_maps(torch.rand(3, 5, 5, 3)))
    assert [text for text in found if text.startswith("head")] == [
        f"head {head}, to {operand}" for operand in "ab" for head in range(3)
    ]
