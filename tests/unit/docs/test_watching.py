"""The sweep that the page on watching shows is the one that made its picture."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_shows_the_script_of_its_picture():
    _, _, script = (DOCS / "compare.py").read_text(encoding="utf-8").split('"""')
    (shown,) = re.findall(r"```python\n(.*?)```", (DOCS / "watching.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown.strip() == script.strip().replace('Path(__file__).with_suffix(".svg")', '"compare.svg"')


def test_the_picture_has_a_curve_for_each_run_of_the_table():
    page = (DOCS / "watching.md").read_text(encoding="utf-8")
    texts = {"".join(element.itertext()).strip() for element in ET.parse(DOCS / "compare.svg").iter()}
    runs = set(re.findall(r"peak-[\d.]+", page))
    assert len(runs) == 4
    assert runs <= texts
