"""Grok: what the page computes of a run that learned arithmetic is what NumPy and PyTorch do; the slider moves it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from samples import TOLERANCE

from clearformer.cli.main import main
from clearformer.config import Config, GPTConfig, ModularConfig, Operation
from clearformer.inspection.grokking.activations import attention
from clearformer.inspection.grokking.cycles import cycle
from clearformer.models.build import build, load_weights
from clearformer.models.gpt import GPT
from clearformer.models.initial import initial_weights
from clearformer.runs.checkpoint import Checkpoint, save_checkpoint
from clearformer.runs.folder import create_folder

P, STEPS = 7, (1, 4, 16, 64)
"""64 is the trained model"""
MODEL = GPTConfig(
    vocab_size=P + 5, context=3, d_model=16, num_heads=2, num_layers=1, d_ff=24,
    norm="none", activation="relu", tie_embeddings=False,
)  # fmt: skip
OPERATIONS: tuple[Operation, ...] = ("add", "multiply", "quadratic")
AT, STEP = 2, 4
"""the number of a checkpoint, and its step"""
HISTORY, SPECTRUM, FIRST_CIRCLE = range(3)
"""figures"""
VIEWS = ["grok", "type", "attend", "predict", "cut", "lens", "learn", "flow"]


def weights_at(step: int) -> dict[str, Any]:
    rng = np.random.default_rng(step)
    return {name: (x + rng.normal(0, 0.5, x.shape)).astype(np.float32) for name, x in initial_weights(MODEL, 1).items()}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of each operation, with five checkpoints."""
    home = tmp_path_factory.mktemp("grok")
    for operation in OPERATIONS:
        config = Config("modular", MODEL, tokenizer="number", modular=ModularConfig(P, operation, 0.5))
        run = create_folder(home / operation, config, lambda _: None)
        for step in STEPS:
            kept = run.checkpoints if step == STEPS[-1] else run.milestones
            save_checkpoint(kept, Checkpoint(step, {"model": weights_at(step), "optimizer": {}}), keep=step)
        run.metrics.write_text('{"step": 1, "loss": 2.5}\n{"step": 50, "loss": 2.0, "validation_loss": 3.0}\n')
    folders = [str(home / operation) for operation in OPERATIONS]
    assert main(["explore", *folders, "--no-open", "--checkpoints", "5", "--out", str(home / "page.html")]) == 0
    return home / "page.html"


@pytest.mark.parametrize("number", [0, 1])
def test_spectrum_circles_and_attention_are_those_of_numpy_and_pytorch(number: int, file: Path, explorer: Any):
    explorer.open(file, run=number, checkpoint=AT)
    numbers = cycle(OPERATIONS[number], P).first.numpy()
    embedding = weights_at(STEP)["embedding.weight"][4:-1].astype(float)[numbers]
    waves = np.fft.fft(embedding, axis=0)
    power = (np.abs(waves[1:]) ** 2).sum(1)
    n, names = len(numbers), explorer.page.locator("figure").all_inner_texts()
    shares = [float(row[1]) for row in explorer.rows(SPECTRUM)[1:]]
    twice = [power[k - 1] * (1 if 2 * k == n else 2) for k in range(1, n // 2 + 1)]
    np.testing.assert_allclose(shares, np.array(twice) / power.sum(), atol=TOLERANCE)
    keys = [int(row[0]) for row in explorer.rows(SPECTRUM)[1:] if row[2] == "yes"]
    assert keys
    for i, k in enumerate(keys):
        assert names[FIRST_CIRCLE + i].startswith(f"Frequency {k} ")
        rows = np.array(explorer.rows(FIRST_CIRCLE + i)[1:], dtype=float)
        cosine, sine = waves[k].real, -waves[k].imag
        assert rows[:, 0].tolist() == numbers.tolist()
        np.testing.assert_allclose(rows[:, 1], embedding @ cosine / np.linalg.norm(cosine), atol=TOLERANCE)
        if 2 * k != n:
            np.testing.assert_allclose(rows[:, 2], embedding @ sine / np.linalg.norm(sine), atol=TOLERANCE)
    model = build(MODEL, 1).eval()
    assert isinstance(model, GPT)
    load_weights(model, weights_at(STEP))
    expected = attention(model)[:, numbers][:, :, numbers].numpy()
    for head in range(MODEL.num_heads):
        columns, *rows = explorer.rows(FIRST_CIRCLE + len(keys) + head)
        assert columns[1:] == [f"b = {b}" for b in numbers]
        assert [row[0] for row in rows] == [f"on {operand}, a = {a}" for operand in "ab" for a in numbers]
        found = np.array([row[1:] for row in rows], dtype=float).reshape(2, n, n)
        np.testing.assert_allclose(found, expected[head, :, :, :2].transpose(2, 0, 1), atol=TOLERANCE)


def test_the_slider_moves_the_mark_and_a_click_into_the_curves_moves_the_slider(file: Path, explorer: Any):
    explorer.open(file)
    mark, slider = explorer.page.locator(".history .now"), explorer.page.get_by_role("slider")
    places = []
    for key in ("Home", *["ArrowRight"] * 4):
        slider.press(key)
        explorer.settle()
        places.append(float(mark.get_attribute("x1") or "nan"))
    first, *others = np.diff(places)
    # log2 of steps 1, 4, 16 and 64 rises by 2, and step 0 stands at 1/2
    np.testing.assert_allclose(others, 2 * first)
    assert slider.get_attribute("aria-valuetext") == "step 64 (5 of 5)"
    explorer.page.locator(".history .checkpoint").nth(2).click()
    explorer.settle()
    assert slider.get_attribute("aria-valuetext") == "step 4 (3 of 5)"
    names, *rows = explorer.rows(HISTORY)
    assert [row[names.index("step")] for row in rows] == ["0", *map(str, STEPS)]


def test_a_pair_is_read_by_arrow_keys_and_typed_by_enter(file: Path, explorer: Any):
    explorer.open(file, checkpoint=AT, text="3 5 =")
    said = explorer.page.locator(".heads-said")
    assert (said.text_content() or "").startswith("a = 3, b = 5")
    explorer.page.locator(".operands .picture").first.focus()
    for key in ("ArrowDown", "ArrowLeft"):
        explorer.page.keyboard.press(key)
    assert (said.text_content() or "").startswith("a = 4, b = 4")
    explorer.page.keyboard.press("Enter")
    explorer.settle()
    assert explorer.page.get_by_label("Text", exact=True).input_value() == "4 4 ="
    explorer.page.locator(".operands .pair image").first.hover(position={"x": 2, "y": 2})
    assert (said.text_content() or "").startswith("a = 0, b = 0")


def test_an_operation_without_a_circle_has_curves_and_attention_alone(file: Path, explorer: Any):
    explorer.open(file, run=2)
    assert explorer.page.locator("figure").count() == 1 + MODEL.num_heads
    assert "there are no frequencies to show" in (explorer.page.locator("main").text_content() or "")


def test_another_run_has_no_such_view(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("gpt"), view="grok", text="the fox")
    tabs = explorer.page.get_by_role("navigation").get_by_role("button").all_text_contents()
    assert tabs == [view.capitalize() for view in VIEWS[1:]]
    assert explorer.page.locator("[aria-current]").text_content() == "Type"


def test_every_view_shows_the_run_on_a_phone(file: Path, explorer: Any):
    explorer.page.set_viewport_size({"width": 400, "height": 800})
    for view in VIEWS:
        explorer.open(file, view=view)
        assert explorer.page.evaluate("document.documentElement.scrollWidth") == 400
        assert explorer.page.locator(".error:not(:empty)").count() == 0
        assert explorer.page.locator("figure").count() >= 1
        assert "undefined" not in explorer.page.locator("main").inner_html()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(scheme: str, file: Path, explorer: Any):
    explorer.page.emulate_media(color_scheme=scheme)
    explorer.open(file, checkpoint=AT)
    expect(explorer.page.locator("[aria-busy=true]")).to_have_count(0)
    found = Axe().run(explorer.page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
