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

MODELS = {"dates": (450, 4), "pydocs": (90, 2)}
"""recipe -> steps, enough for clear attention in the one and for words in the other; and how many checkpoints the page
has of it, with the untrained one, so that it shows how a model learned"""
PAGE = "explore.html"
MARKER = re.compile(r"<!-- explorer: (?P<state>\S+), (?P<title>[^\n]+?) -->\n(?P<picture>[^\n]+)\n")
"""the line before a picture that the running page replaces: `<!-- explorer: STATE, TITLE -->`"""


def write(folder: Path, site: Path) -> None:
    """Train both models into `folder`/runs, and write the page into `site`."""
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)
    for name in MODELS:
        clearformer.train(_config(name), out=runs / name)
    shown = [contents(open_folder(runs / name, print), kept, "half") for name, (_, kept) in MODELS.items()]
    write_page(site / PAGE, shown)


def _config(name: str) -> Config:
    """The recipe with fewer steps, keeping all checkpoints."""
    config, (steps, kept) = RECIPES[name](), MODELS[name]
    train = dataclasses.replace(config.train, steps=steps, checkpoint_every=steps // (kept - 1), keep_checkpoints=kept)
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
