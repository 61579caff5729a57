"""What the demo trains, and the page it leaves behind."""

import dataclasses
import html
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from clearformer import recipes
from clearformer.config import Config
from clearformer.demo import proofs
from clearformer.demo.proofs import Verdict
from clearformer.inspection.page import Section, page
from clearformer.inspection.report import sections
from clearformer.runs.folder import RunFolder, create_folder, open_folder

Notify = Callable[[str], None]
PYDOCS_STEPS = 400
"""about a quarter of what the recipe has: words and half-sentences, in under a minute"""


def prepare(folder: Path, notify: Notify) -> tuple[RunFolder, RunFolder]:
    """The two runs of the demo: dates and pydocs. One that an earlier demo left unfinished is taken up again."""
    whole = recipes.pydocs()
    shorter = dataclasses.replace(whole, train=dataclasses.replace(whole.train, steps=PYDOCS_STEPS))
    dates, pydocs = (_run(folder / config.dataset, config, notify) for config in (recipes.dates(), shorter))
    return dates, pydocs


def _run(folder: Path, config: Config, notify: Notify) -> RunFolder:
    if (folder / "config.json").exists():
        unfinished = not (folder / "checkpoints" / f"step-{config.train.steps:06d}").exists()
        if unfinished and open_folder(folder, notify).config.train == config.train:
            return open_folder(folder, notify)
        shutil.rmtree(folder)
    return create_folder(folder, config, notify)


def prove(dates: RunFolder, pydocs: RunFolder) -> Iterator[Verdict]:
    """The four proofs, one after the other."""
    yield proofs.learns_a_tiny_set(dates)
    yield proofs.training_helped(dates, pydocs)
    yield proofs.reloaded_is_the_same(dates, pydocs)
    yield proofs.no_token_sees_the_future(dates, pydocs)


def write_report(path: Path, verdicts: Sequence[Verdict], runs: Sequence[RunFolder]) -> None:
    """One HTML file: the verdicts, then each run's curve, samples and attention."""
    items = "".join(
        f"<li><strong>{'holds' if verdict.holds else 'FAILS'}</strong>: {html.escape(verdict.claim)}<br>"
        f"<small>{html.escape(verdict.measured)}</small></li>"
        for verdict in verdicts
    )
    parts = [Section("Four proofs", f"<ol>{items}</ol>"), *(section for run in runs for section in sections(run))]
    path.write_text(page("clearformer: a transformer you can see through", parts), encoding="utf-8")
