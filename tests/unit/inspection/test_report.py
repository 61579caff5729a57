"""A report is one file that needs nothing else, and shows what it says it shows."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from clearformer.cli.main import main
from clearformer.inspection.figures import attention_svg, loss_curve
from clearformer.inspection.page import Section, page, table, text

TINY = [
    *("--model.d-model", "16", "--model.num-heads", "2", "--model.num-layers", "1", "--model.d-ff", "32"),
    *("--train.steps", "3", "--train.batch-tokens", "256", "--train.device", "cpu"),
]


class Tags(HTMLParser):
    """Collects every tag with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_a_report_asks_the_network_for_nothing(tmp_path: Path):
    assert main(["train", "reverse", "--out", str(tmp_path / "run"), *TINY]) == 0
    content = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(content)
    assert not {tag for tag, _ in tags.found} & {"script", "link", "img", "iframe", "object", "embed"}
    addresses = [value for _, attributes in tags.found for key, value in attributes.items() if key in ("src", "href")]
    assert not re.search(r"@import|url\((?!#)", content)
    assert all(value == "" or str(value).startswith("#") for value in addresses if value is not None) or all(
        key == "xlink:href" for _, attributes in tags.found for key in attributes if key.endswith("href")
    )
    assert [tag for tag, _ in tags.found].count("svg") == 2  # the curve and the attention


def test_text_of_the_user_is_escaped():
    content = page("<t>", [Section("<h>", table(("<a>",), [("<script>",)]) + text("</pre><b>"))])
    assert "<script>" not in content
    assert "&lt;script&gt;" in content
    assert "&lt;/pre&gt;&lt;b&gt;" in content


def test_a_curve_is_the_same_file_twice_and_names_its_axes():
    lines = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0, "validation_loss": 2.5}]
    svg = loss_curve(lines)
    assert svg == loss_curve(json.loads(json.dumps(lines)))
    for words in ("step", "loss, nats a token", "training", "validation"):
        assert f">{words}</text>" in svg


def test_an_attention_map_labels_every_token_and_makes_spaces_visible():
    svg = attention_svg(np.eye(2, 3), ["x", "<eos>"], ["a", " ", "\n"], ("written", "read"))
    for label in ("written", "read", "x", "■", "a", "␣", "⏎"):
        assert f">{label}</text>" in svg
