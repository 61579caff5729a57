"""What the view Predict writes, fills in and decides is what the run does in Python."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clearformer.api.run import Run, open_run
from clearformer.generation.beam import Beam

pytestmark = pytest.mark.slow

NEAR = 0.002
"""of a score that is shown with three digits"""


def opened(folder: Path) -> Run:
    return open_run(folder, notify=lambda _: None)


def printable(text: str) -> str:
    """As the page shows it: what has no shape is its code point."""
    return "".join(char if char.isprintable() or char in "\n\t" else f"⟨{ord(char):04X}⟩" for char in text)


def texts_of(explorer: Any, selector: str) -> list[str]:
    return [str(text) for text in explorer.page.locator(selector).all_text_contents()]


def test_a_gpt_writes_greedily_beyond_its_context_and_back(
    run_folder: Callable[[str], Path], page_of: Callable[..., Path], explorer: Any
):
    run, text = opened(run_folder("gpt")), "the quick brown fox"
    written = run.generate(text, max_new_tokens=40, temperature=0.0)
    explorer.open(page_of("gpt"), text=text, view="predict", temperature=0, steps=40)
    assert run.model.config.context < 40
    assert texts_of(explorer, ".prose bdi") == [text, printable(written)]
    explorer.page.get_by_role("button", name="One step back").click()
    explorer.settle()
    assert texts_of(explorer, ".prose bdi")[1] == printable(run.generate(text, max_new_tokens=39, temperature=0.0))


def test_a_seed_draws_the_same_and_top_k_leaves_the_likeliest(page_of: Callable[..., Path], explorer: Any):
    state = {"text": "the quick", "view": "predict", "steps": 12}
    explorer.open(page_of("gpt"), **state, temperature=2, seed=5)
    drawn = texts_of(explorer, ".prose bdi")
    explorer.open(page_of("gpt"), **state, temperature=2, seed=5)
    assert texts_of(explorer, ".prose bdi") == drawn
    explorer.open(page_of("gpt"), **state, temperature=2, seed=6)
    assert texts_of(explorer, ".prose bdi") != drawn
    explorer.open(page_of("gpt"), **state, temperature=2, topK=1)
    likeliest = texts_of(explorer, ".prose bdi")
    explorer.open(page_of("gpt"), **state, temperature=0)
    assert texts_of(explorer, ".prose bdi") == likeliest


def test_beam_search(run_folder: Callable[[str], Path], page_of: Callable[..., Path], explorer: Any):
    run, text = opened(run_folder("transformer")), "March 24"
    expected = run.translations([text], Beam(3, 0.6, 3))[0]
    explorer.open(page_of("transformer"), text=text, view="predict", beam=3)
    assert texts_of(explorer, ".found bdi") == [each.text for each in expected]
    scores = [[float(x) for x in re.findall(r"-?\d+\.\d+", words)] for words in texts_of(explorer, ".found small")]
    assert np.abs(np.array(scores) - [[each.score, each.log_probability] for each in expected]).max() < NEAR
    nodes = explorer.rows()[1:]
    steps = int(nodes[-1][0])
    assert all(sum(node[0] == str(step) for node in nodes) <= 3 for step in range(1, steps + 1))
    explorer.page.get_by_role("button", name="To the start").click()
    explorer.page.get_by_role("button", name="One step forward").click()
    explorer.settle()
    assert [node[0] for node in explorer.rows()[1:]] == ["1"] * 3


def test_masks_are_filled_as_the_command_fills_them(
    run_folder: Callable[[str], Path], page_of: Callable[..., Path], explorer: Any
):
    text = "the quick <mask> fox <mask>"
    expected = opened(run_folder("bert")).fillings([text], top=10)[0].masks
    explorer.open(page_of("bert"), text=text, view="predict")
    for figure, candidates in enumerate(expected):
        rows = explorer.rows(figure)[1:]
        assert [row[0] for row in rows] == [printable(each.token).replace(" ", "␣") for each in candidates]
        assert (
            np.abs([float(row[2]) - each.probability for row, each in zip(rows, candidates, strict=True)]).max() < 1e-5
        )
    explorer.page.get_by_role("button", name="One step forward").click()
    explorer.settle()
    surest = max((candidates[0] for candidates in expected), key=lambda each: each.probability)
    filled = explorer.page.locator(".token:has(.meter) .token-text").text_content()
    assert filled == printable(surest.token).replace(" ", "␣")


def test_a_class_is_decided_from_the_tokens_that_were_read(
    run_folder: Callable[[str], Path], page_of: Callable[..., Path], explorer: Any
):
    run, words = opened(run_folder("classifier")), ["the", "quick", "brown", "fox"]
    explorer.open(page_of("classifier"), text=" ".join(words), view="predict")
    for count in (4, 2):
        p = run.classifications([" ".join(words[:count])]).probabilities[0]
        rows = explorer.rows()[1:]
        assert [row[0] for row in rows] == [run.classes[i] for i in np.argsort(-p)]
        assert np.abs(np.array([float(row[2]) for row in rows]) - np.sort(p)[::-1]).max() < 1e-5
        for _ in range(2):
            explorer.page.get_by_role("button", name="One step back").click()
            explorer.settle()
