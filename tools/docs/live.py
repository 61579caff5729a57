"""The explorer in the site: two small models, trained while the site is built, in a page that a browser runs."""

import dataclasses
import html
import re
import shutil
from functools import partial
from pathlib import Path

import clearformer
from clearformer.config import Config
from clearformer.explorer.contents import contents
from clearformer.explorer.page import write as write_page
from clearformer.recipes import RECIPES
from clearformer.runs.folder import open_folder
from tools.docs import Pages

STEPS = {"dates": 450, "pydocs": 90}
"""recipe -> steps: enough for clear attention in the one and for words in the other, in a minute"""
CHECKPOINTS = 4
"""of each model, with the untrained one, so that the page shows how it learned"""
PAGE = "explore.html"
MARKER = re.compile(r"<!-- explorer: (?P<state>\S+), (?P<title>[^\n]+?) -->\n(?P<picture>[^\n]+)\n")
"""the line before a picture that the running page replaces: `<!-- explorer: STATE, TITLE -->`"""


def write(folder: Path, site: Path) -> None:
    """Train both models into `folder`/runs, and write the page into `site`."""
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    for name, steps in STEPS.items():
        clearformer.train(_config(name, steps), out=runs / name)
    opened = [open_folder(runs / name, print) for name in STEPS]
    write_page(site / PAGE, [contents(run, CHECKPOINTS, "half") for run in opened])


def _config(name: str, steps: int) -> Config:
    """The recipe with fewer steps, keeping all checkpoints."""
    config = RECIPES[name]()
    train = dataclasses.replace(
        config.train, steps=steps, checkpoint_every=steps // (CHECKPOINTS - 1), keep_checkpoints=CHECKPOINTS
    )
    return dataclasses.replace(config, train=train)


def framed(pages: Pages) -> Pages:
    """The pages with the running explorer in place of each picture of it."""
    return {page: MARKER.sub(partial(_frame, page), text) for page, text in pages.items()}


def _frame(page: str, found: re.Match[str]) -> str:
    address = html.escape(f"{'../' * page.count('/')}{PAGE}#{found['state']}")
    return (
        f'<iframe class="explorer" src="{address}" title="{html.escape(found["title"])}" loading="lazy"></iframe>\n\n'
        f'<p><a href="{address}">Open the page by itself</a></p>\n'
    )
