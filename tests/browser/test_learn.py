"""Learn: at every checkpoint the page computes with that checkpoint's weights; two runs stand side by side."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from samples import TARGET, TEXT, TOLERANCE

from clearformer.api.run import open_run
from clearformer.models.build import load_weights
from clearformer.models.initial import initial_weights

ALL = ("--checkpoints", "5")
"""untrained, of steps 1, 2 and 3, and the trained model, which is the mean of the last two"""
LOSS, HISTORY, OUTPUTS, ATTENTION = range(4)
"""figures"""


def weights_of(folder: Path, run: Any) -> list[dict[str, Any]]:
    """The five."""
    steps = [
        safetensors.numpy.load_file(folder / "checkpoints" / f"step-{step:06d}" / "model.safetensors")
        for step in (1, 2, 3)
    ]
    mean = {name: (steps[1][name] + steps[2][name]) / 2 for name in steps[0]}
    return [initial_weights(run.config.model, run.config.train.seed), *steps, mean]


@pytest.mark.parametrize("family", TEXT)
def test_outputs_and_attention_are_those_of_the_checkpoint(
    family: str, run_folder: Callable[[str], Path], page_of: Callable[..., Path], explorer: Any
):
    run = open_run(run_folder(family), notify=lambda _: None)
    reading = run.inspect(TEXT[family], TARGET if family == "transformer" else None)
    history = []
    for number, weights in enumerate(weights_of(run_folder(family), run)):
        load_weights(reading.model, weights)
        with torch.inference_mode():
            p = torch.atleast_2d(reading.model(*reading.inputs)[0]).softmax(-1).numpy()
        p = p[2 if family == "bert" else -1]
        history.append(p)
        explorer.open(
            page_of(family, options=ALL),
            view="learn",
            text=TEXT[family],
            target=TARGET,
            checkpoint=number,
            layer=1,
            head=3,
        )
        _, *rows = explorer.rows(OUTPUTS)
        best = [int(row[1]) for row in rows]
        np.testing.assert_allclose([float(row[2]) for row in rows], p[best], rtol=0, atol=TOLERANCE * np.ptp(p))
        assert p[best].min() >= np.sort(p)[-len(best)] - TOLERANCE
        found = [[float(value or "nan") for value in row[1:]] for row in explorer.rows(ATTENTION)[1:]]
        expected = reading.attention(1, 3).weights
        np.testing.assert_allclose(np.nan_to_num(found), expected, rtol=0, atol=TOLERANCE)
    likeliest, name = best[0], rows[0][0]  # of the trained model, which was the last
    names, *rows = explorer.rows(HISTORY)
    assert names[1] == name
    assert [row[0] for row in rows] == ["untrained", "step 1", "step 2", "step 3", "step 3"]
    expected = [p[likeliest] for p in history]
    np.testing.assert_allclose([float(row[1]) for row in rows], expected, rtol=0, atol=TOLERANCE)


def test_the_slider_is_moved_by_keys_and_a_reload_keeps_it(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("gpt", options=ALL), view="learn", text=TEXT["gpt"])
    slider = explorer.page.get_by_role("slider")
    assert slider.get_attribute("aria-valuetext") == "step 3 (5 of 5)"
    slider.press("Home")
    explorer.settle()
    assert slider.get_attribute("aria-valuetext") == "untrained (1 of 5)"
    slider.press("ArrowRight")
    explorer.page.wait_for_url("**checkpoint=1*")
    explorer.page.reload()
    explorer.settle()
    assert slider.get_attribute("aria-valuetext") == "step 1 (2 of 5)"


def test_the_loss_is_that_of_the_run(run_folder: Callable[[str], Path], page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("gpt"), view="learn", text=TEXT["gpt"])
    line = json.loads((run_folder("gpt") / "metrics.jsonl").read_text(encoding="utf-8"))
    assert explorer.rows(LOSS)[1:] == [[run_folder("gpt").name, str(line["step"]), str(line["loss"]), ""]]


def test_a_second_run_is_opened_from_its_folder(
    run_folder: Callable[[str], Path], page_of: Callable[..., Path], explorer: Any
):
    explorer.open(page_of("gpt"), view="learn", text=TEXT["gpt"])
    with explorer.page.expect_file_chooser() as chooser:
        explorer.page.locator(".beside").get_by_role("button", name="Open a run").click()
    chooser.value.set_files(run_folder("classifier"))
    explorer.page.wait_for_selector(".side + .side figure .bars")
    explorer.settle()
    headings = explorer.page.locator(".side > h3").all_inner_texts()
    assert headings == [run_folder("gpt").name, run_folder("classifier").name]
    second = explorer.page.locator(".side").nth(1).get_by_role("slider")
    assert second.get_attribute("aria-valuetext") == "step 3 (4 of 4)"
    explorer.page.get_by_role("button", name="Type", exact=True).click()  # and it is still there after another view
    explorer.settle()
    explorer.page.get_by_role("button", name="Learn", exact=True).click()
    explorer.settle()
    assert explorer.page.locator(".side").count() == 2


def test_what_is_hidden_from_the_first_run_is_hidden_from_the_second(page_of: Callable[..., Path], explorer: Any):
    hidden = ".side:nth-child({}) .token[aria-pressed=true] .token-text"
    explorer.open(page_of("bert", "pre-norm bert"), view="learn", text="the quick brown fox", masked="1", beside=1)
    for side in (1, 2):
        assert explorer.page.locator(hidden.format(side)).all_text_contents() == ["␣quick"]
