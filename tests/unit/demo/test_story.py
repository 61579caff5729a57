"""The demo continues unfinished runs, replaces finished ones, and reports failures."""

import dataclasses
import re
from pathlib import Path

import pytest

from clearformer import recipes
from clearformer.demo import story
from clearformer.demo.proofs import Verdict
from clearformer.runs.folder import RunFolder
from clearformer.runs.session import train_run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]  # two runs are trained first, once


def test_an_unfinished_run_is_continued_and_a_finished_one_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = recipes.dates()
    short = dataclasses.replace(whole, train=dataclasses.replace(whole.train, steps=3, batch_tokens=256, device="cpu"))
    monkeypatch.setattr(recipes, "dates", lambda: short)
    dates, _ = story.prepare(tmp_path, lambda _: None)
    session = train_run(dates)
    next(session)
    session.close()
    assert [path.name for path in dates.checkpoints.iterdir()] == ["step-000001"]
    again, _ = story.prepare(tmp_path, lambda _: None)
    assert [update.record.step for update in train_run(again)] == [2, 3]
    fresh, _ = story.prepare(tmp_path, lambda _: None)
    assert not fresh.checkpoints.exists()


def test_the_page_holds_both_models_at_every_stage_of_their_training(
    dates: RunFolder, pydocs: RunFolder, tmp_path: Path
):
    story.write_page(tmp_path / "explore.html", dates, pydocs)
    content = (tmp_path / "explore.html").read_text(encoding="utf-8")
    held = re.findall(r'id="(weights-[^"]+)"', content)
    assert held == ["weights-0-untrained", "weights-0-trained", "weights-1-untrained", "weights-1-trained"]
    assert "<title>dates and pydocs · clearformer</title>" in content


def test_the_report_shows_verdicts_curves_samples_and_attention(dates: RunFolder, pydocs: RunFolder, tmp_path: Path):
    verdicts = [Verdict("water is wet", True, "wetness 1 < 2"), Verdict("the moon is cheese", False, "0 % cheese")]
    story.write_report(tmp_path / "report.html", verdicts, (dates, pydocs))
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "holds: water is wet</div><small>wetness 1 &lt; 2</small>" in content
    assert "FAILS: the moon is cheese" in content
    assert 'href="explore.html"' in content
    assert [content.count(f"<h2>{name}</h2>") for name in ("Four proofs", "dates", "pydocs")] == [1, 1, 1]
    for name in ("Plan", "Learning", "Samples", "Attention", "Next commands"):
        assert content.count(f"<h3>{name}</h3>") == 2
    ids = re.findall(r' id="([^"]+)"', content)
    assert len(ids) == len(set(ids))
    assert content.count("<svg") == 4
