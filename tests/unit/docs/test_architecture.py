"""The page on the architecture is up to date."""

import runpy
import xml.etree.ElementTree as ET
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
SOURCE = DOCS.parent / "src" / "clearformer"


def test_the_picture_is_what_its_script_draws():
    drawn = runpy.run_path(str(DOCS / "architecture.py"))["draw"]()
    assert (DOCS / "architecture.svg").read_text(encoding="utf-8") == drawn


def test_the_picture_has_a_role_and_says_what_it_shows():
    picture = ET.parse(DOCS / "architecture.svg").getroot()
    named = {element.get("id"): element.text for element in picture.iter()}
    assert picture.get("role") == "img"
    assert all(named[name] for name in picture.attrib["aria-labelledby"].split())


def test_the_page_names_every_folder_of_the_package():
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert len(folders) > 10
    assert {folder for folder in folders if f"[`{folder}`](../src/clearformer/{folder})" not in text} == set()
