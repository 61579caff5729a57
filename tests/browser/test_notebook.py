"""A notebook shows the page in a frame that holds all of it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from clearformer.api.run import open_run

PAUSE = 500
"""milliseconds; more than the page waits before it would change its address, which it does not have"""


def test_a_page_in_a_notebook_works_as_one_from_a_disk(
    run_folder: Callable[[str], Path], explorer: Any, tmp_path: Path
):
    found = open_run(run_folder("gpt"), notify=lambda _: None).explore(tmp_path / "explore.html")
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><meta charset='utf-8'>{found._repr_html_()}", encoding="utf-8")
    found.path.unlink()
    explorer.page.goto(notebook.as_uri())
    frame = explorer.page.frame_locator("iframe")
    frame.get_by_label("Text", exact=True).fill("the quick brown fox")
    frame.get_by_role("button", name="Flow", exact=True).click()
    frame.get_by_role("button", name="Next").click()
    heading = frame.get_by_role("heading", name=re.compile(r"^Token embedding T \d+ × D 16"))
    expect(heading).to_be_visible()
    explorer.page.wait_for_timeout(PAUSE)
    expect(heading).to_be_visible()
