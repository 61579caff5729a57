"""The demo's two runs, its proofs, its report, and the page in which a browser runs both models."""

import dataclasses
import html
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from clearformer import recipes
from clearformer.config import Config
from clearformer.demo import proofs
from clearformer.demo.proofs import Verdict
from clearformer.explorer import page as explorer
from clearformer.explorer.contents import contents
from clearformer.inspection.page import heading, items, link, page
from clearformer.inspection.report import report
from clearformer.runs.folder import RunFolder, create_folder, open_folder

Notify = Callable[[str], None]
PYDOCS_STEPS = 400
"""about a quarter of the recipe's: enough for words and phrases, in under a minute"""
DATES_EVERY, PYDOCS_EVERY = 200, 100
"""steps between checkpoints, all of which are kept, so that the page shows how the models learned"""


def prepare(folder: Path, notify: Notify) -> tuple[RunFolder, RunFolder]:
    """The two runs of the demo, dates and pydocs; unfinished ones of an earlier demo are continued."""
    pydocs = recipes.pydocs()
    shorter = dataclasses.replace(pydocs, train=dataclasses.replace(pydocs.train, steps=PYDOCS_STEPS))
    configs = _keeping(recipes.dates(), DATES_EVERY), _keeping(shorter, PYDOCS_EVERY)
    dates, text = (_run(folder / config.dataset, config, notify) for config in configs)
    return dates, text


def _keeping(config: Config, every: int) -> Config:
    """With all checkpoints, one every so many steps."""
    keep = -(-config.train.steps // every)
    return dataclasses.replace(
        config, train=dataclasses.replace(config.train, checkpoint_every=every, keep_checkpoints=keep)
    )


def _run(folder: Path, config: Config, notify: Notify) -> RunFolder:
    if (folder / "config.json").exists():
        unfinished = not (folder / "checkpoints" / f"step-{config.train.steps:06d}").exists()
        if unfinished and open_folder(folder, notify).config.train == config.train:
            return open_folder(folder, notify)
        shutil.rmtree(folder)
    return create_folder(folder, config, notify)


def prove(dates: RunFolder, pydocs: RunFolder) -> Iterator[Verdict]:
    """Yield the verdicts of the four proofs."""
    yield proofs.learns_a_tiny_set(dates)
    yield proofs.training_helped(dates, pydocs)
    yield proofs.reloaded_is_the_same(dates, pydocs)
    yield proofs.no_token_sees_the_future(dates, pydocs)


def write_page(path: Path, dates: RunFolder, pydocs: RunFolder) -> None:
    """One HTML file with both models and all their checkpoints; the larger one's weights in half precision."""
    stages = [1 + run.config.train.keep_checkpoints for run in (dates, pydocs)]  # and the untrained one
    explorer.write(path, [contents(dates, stages[0]), contents(pydocs, stages[1], "half")])


def write_report(path: Path, verdicts: Sequence[Verdict], runs: Sequence[RunFolder]) -> None:
    """One HTML file: a link to the page, the verdicts, then the report of each run."""
    title = "clearformer: a transformer you can see through"
    proven = items(
        [
            f'<div class="answer {"right" if verdict.holds else "wrong"}">'
            f"{'holds' if verdict.holds else 'FAILS'}: {html.escape(verdict.claim)}</div>"
            f"<small>{html.escape(verdict.measured)}</small>"
            for verdict in verdicts
        ]
    )
    articles = "".join(f"<article>{heading(2, run.config.dataset)}{report(run, level=3)}</article>\n" for run in runs)
    inside = link("explore.html", "Type into both models, and see every number inside: explore.html")
    proofs = f"<section>{heading(2, 'Four proofs')}{proven}</section>"
    body = f"<main>\n{heading(1, title)}{inside}{proofs}\n{articles}</main>"
    path.write_text(page(title, body), encoding="utf-8")
