"""What a notebook shows is escaped, complete and self-contained; what a terminal shows is one line."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from clearformer.inspection.views import Contributions, HeadScores, Lens, TokenValues

EVIL = '<img src=x onerror="alert(1)">'
VIEWS = {
    "lens": Lens([EVIL, "b"], [[[(EVIL, 0.75), ("b", 0.25)], [("b", 1.0)]], [[("b", 0.5)], [(EVIL, 0.5)]]]),
    "contributions": Contributions(EVIL, EVIL, {f"part {index}": float(index) for index in range(-3, 17)}),
    "values": TokenValues(EVIL, [([EVIL, "b"], np.array([0.5, -0.25], np.float32))], 0.01),
    "scores": HeadScores(
        {("a.core", 0): {"entropy": 1.5, "previous": 1.0}, ("b.cross_attention.core", 1): {"monotone": np.nan}}
    ),
}


class Shown(HTMLParser):
    """The tags, attributes and texts of a view."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts += [data] if data.strip() else []


@pytest.mark.parametrize("name", VIEWS)
def test_nothing_of_a_text_is_html_and_nothing_is_loaded(name: str):
    shown = Shown(VIEWS[name]._repr_html_())
    assert shown.tags <= {"div", "table", "tr", "th", "td", "p", "span"}
    assert shown.attributes <= {"style", "title"}
    assert "url(" not in VIEWS[name]._repr_html_()
    assert "\n" not in repr(VIEWS[name])
    assert len(repr(VIEWS[name])) < 200


def test_the_largest_parts_are_listed_and_the_others_summed_up():
    view = VIEWS["contributions"]
    assert view.logit == sum(range(-3, 17))
    shown = Shown(view._repr_html_()).texts
    assert shown[1:5] == ["part 16", "+16.000", "part 15", "+15.000"]
    # of 20 parts 16 are shown: all but 2 or -2, 1, -1 and 0, of which the sum is 2 or -2
    assert shown[-4:] in (["4 others", "-2.000", "logit", "130.000"], ["4 others", "+2.000", "logit", "130.000"])


def test_shades_follow_the_values():
    html = VIEWS["values"]._repr_html_()
    shades = re.findall(r"rgba\((\d+), \d+, \d+, ([\d.]+)\)", html)
    assert shades == [("63", "0.55"), ("224", "0.28")]  # blue for the largest; orange, half as strong
    assert "+0.250 in all; the logit's change is +0.240" in Shown(html).texts[0].replace("\n", "")


def test_a_head_without_a_score_has_an_empty_cell():
    texts = Shown(VIEWS["scores"]._repr_html_()).texts
    assert texts == [
        "Scores of heads",
        "entropy",
        "previous",
        "monotone",
        "a 0",
        "1.50",
        "1.00",
        "b.cross_attention 1",
        "–",
    ]
    assert VIEWS["scores"]["a.core", 0]["previous"] == 1.0
