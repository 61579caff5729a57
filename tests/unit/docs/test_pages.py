"""Pages that are made from commands, scripts and formulas."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from clearformer.cli.main import COMMANDS
from clearformer.guide import recording
from clearformer.guide.stages import read_stages
from tools.docs import commands, guide, live
from tools.docs.formulas import with_formulas

FIRST = """# %% [markdown]
# # 1. One
#
# A number is doubled.

# %% tags=["code"]
FACTOR = 2

# %%
print(FACTOR * 21)
"""
SECOND = """# %% [markdown]
# # 2. Two
#
# A function does it.

# %% tags=["code"]
FACTOR = 2

# %% tags=["code"]
def double(x):
    return FACTOR * x

# %% [markdown]
# **Predict.** How much is it?

# %%
print(double(4))
"""


@pytest.fixture
def second_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page of the second of two stages, of which the last cell was recorded."""
    (tmp_path / "1_numbers").mkdir()
    (tmp_path / "1_numbers" / "01_one.py").write_text(FIRST)
    (tmp_path / "1_numbers" / "02_two.py").write_text(SECOND)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "02_two.txt").write_text("# cell 5\n8\n")
    (tmp_path / "figures" / "02_two-5.svg").touch()
    monkeypatch.setattr(recording, "folder", lambda: tmp_path)
    return guide.page(read_stages(tmp_path)[1])


def test_a_stage_shows_what_it_changes_before_its_code(second_page: str):
    diff = second_page.index("```diff")
    assert "\n+def double(x):\n" in second_page[diff:]
    assert second_page.index("A function does it.") < diff < second_page.index("```python")


def test_the_unchanged_program_is_folded_and_the_changed_is_not(second_page: str):
    (folded,) = re.findall(r"<details.*?</details>", second_page, re.DOTALL)
    assert "FACTOR = 2" in folded
    assert "double" not in folded


def test_what_a_cell_printed_and_drew_stands_below_its_code(second_page: str):
    code, printed, drawn = (second_page.index(part) for part in ("print(double(4))", "```text\n8\n", "02_two-5.svg"))
    assert second_page.index("**Predict.**") < code < printed < drawn


def test_every_command_has_a_page_with_its_help():
    pages, _ = commands.pages()
    for name in COMMANDS:
        assert f"usage: clearformer {name}" in pages[f"commands/{name}.md"]


def test_a_formula_becomes_a_picture_that_says_its_tex():
    (picture,) = re.findall(r"<svg.*?</svg>", with_formulas(r"the root $\sqrt{E}$ of `$HOME`"))
    assert ET.fromstring(picture).get("aria-label") == r"\sqrt{E}"
    assert with_formulas("`$HOME` and `$PATH`") == "`$HOME` and `$PATH`"


def test_a_wider_formula_takes_more_room():
    widths = [float(re.findall(r"width:([\d.]+)em", with_formulas(tex))[0]) for tex in ("$x$", "$x + x + x$")]
    assert widths[1] > 3 * widths[0]


def test_the_explorer_takes_the_place_of_its_picture():
    page = "before\n\n<!-- explorer: view=flow&head=2, A head -->\n[![a](flow.png)](flow.png)\n\nbehind\n"
    framed = live.framed({"a/head.md": page})["a/head.md"]
    frame = ET.fromstring(re.findall(r"<iframe.*?</iframe>", framed)[0])
    assert (frame.get("src"), frame.get("title")) == ("../explore.html#view=flow&head=2", "A head")
    assert "flow.png" not in framed
    assert framed.startswith("before\n")
    assert framed.endswith("\nbehind\n")
