"""What a person does in Cut and Lens, with a pointer or with keys."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.slow
TEXT = "the quick brown fox"
SHARP, BLURRED, LITTLE, MUCH = 0.7, 0.4, 0.1, 0.5
"""of cut/explanation.mjs: largest weights, and shares of the largest change"""


@pytest.fixture
def opened(page_of: Callable[..., Path], explorer: Any) -> Callable[..., Any]:
    """Open a view of a family's page, and wait for its long work."""

    def open_view(family: str, view: str, text: str = TEXT, **state: object) -> Any:
        explorer.open(page_of(family), text=text, view=view, **state)
        explorer.page.wait_for_selector(".view [aria-busy=true]", state="detached")
        return explorer

    return open_view


def test_a_pressed_part_is_off_until_it_is_pressed_again(opened: Callable[..., Any]):
    explorer = opened("gpt", "cut")
    page, part = explorer.page, explorer.page.get_by_role("button", name=re.compile("^layer 1, head 2"))
    part.click()
    explorer.settle()
    expect(part).to_have_text("×0")
    assert any(float(row[4]) != 0 for row in explorer.rows(0)[1:])
    page.wait_for_url(re.compile("cuts=d1h2x0"))
    page.reload()
    explorer.settle()
    expect(part).to_have_attribute("aria-pressed", "true")
    part.click()
    explorer.settle()
    expect(part).to_have_attribute("aria-pressed", "false")
    assert all(float(row[4]) == 0 for row in explorer.rows(0)[1:])


def test_parts_are_scaled_and_patched_by_keys(opened: Callable[..., Any]):
    explorer = opened("transformer", "cut", "March 1, 2027", second="March 1, 2021", sweep="false")
    page = explorer.page
    page.get_by_label("by a factor").fill("0.5")
    page.get_by_role("button", name="encoder, layer 0, head 0", exact=True).focus()
    for key in ("ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    changed = page.get_by_role("button", name="encoder, layer 1, head 1, × 0.5")
    expect(changed).to_be_focused()
    page.get_by_label("A press").select_option(label="patches it from the second")
    changed.press("Enter")
    expect(page.get_by_role("button", name="Undo encoder, layer 1, head 1 patched")).to_be_visible()


def test_a_neuron_is_cut_by_its_number(opened: Callable[..., Any]):
    page = opened("bert", "cut", sweep="false").page
    form = page.get_by_role("form", name="A neuron")
    form.get_by_label("Neuron").fill("23")
    form.get_by_label("of layer").select_option("1")
    form.get_by_role("button").click()
    undo = page.get_by_role("button", name="Undo layer 1, neuron 23 × 0")
    undo.click()
    expect(undo).to_have_count(0)


def test_patches_without_a_second_text_say_what_they_need(opened: Callable[..., Any]):
    explorer = opened("gpt", "cut", cuts="d0ap", sweep="false")
    words = explorer.page.get_by_text("Patches need a second text; type one.")
    expect(words).to_be_visible()
    explorer.type("Second text", "the lazy dog")
    expect(words).to_be_hidden()


def test_cutting_every_head_stops_without_its_tick(opened: Callable[..., Any]):
    explorer = opened("gpt", "cut")
    expect(explorer.page.locator("figure")).to_have_count(3)
    explorer.page.get_by_label("Cut every head in turn").uncheck()
    expect(explorer.page.locator("figure")).to_have_count(1)


@pytest.mark.parametrize("text", [TEXT, "quick lazy dog", "the"])
def test_the_example_that_attention_is_not_explanation_is_true_of_the_text(text: str, opened: Callable[..., Any]):
    explorer = opened("gpt", "cut", text)
    rows = explorer.rows(explorer.page.locator("figure").count() - 1)[1:]
    words = " ".join(explorer.page.locator(".cut").last.locator(".example").all_text_contents())
    most = max(abs(float(change)) for *_, change in rows)
    heads = [(name, float(weight), abs(float(change)) / most) for name, weight, change in rows if weight != "NaN"]
    idle = [name for name, weight, share in heads if weight >= SHARP and share <= LITTLE]
    busy = [name for name, weight, share in heads if weight <= BLURRED and share >= MUCH]
    assert ("looks sharp" in words) == bool(idle)
    assert ("looks blurred" in words) == bool(busy)
    assert ("there is no example" in words) == (not idle and not busy)
    assert set(re.findall(r"layer \d head \d", words.lower())) <= {*idle, *busy}


def test_keys_choose_a_cell_of_the_lens(opened: Callable[..., Any]):
    explorer = opened("gpt", "lens", attribute="false")
    page = explorer.page
    page.locator(".cell[aria-pressed=true]").focus()
    for key in ("ArrowUp", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    page.wait_for_url(re.compile("point=1"))
    explorer.settle()
    cell = page.locator(".cell[aria-pressed=true]")
    expect(cell).to_be_focused()
    expect(cell).to_have_attribute("aria-label", re.compile("^after layer 0"))


@pytest.mark.parametrize("family", ["gpt", "bert", "classifier", "transformer"])
def test_an_address_of_nonsense_opens_as_if_it_said_nothing(family: str, opened: Callable[..., Any]):
    nonsense = {"at": 99.5, "output": -7.5, "point": 1e6, "only": "x,99,-1", "onlyFirst": "<b>", "act": "<i>"}
    cuts = "e9h0x0,d0h99x0,e0c0x0,d0hx0,d0a1x0,<b>hacked</b>,q0ax0,d0ax"
    for view in ("cut", "lens"):
        explorer = opened(family, view, cuts=cuts, second="<b>hacked</b>", **nonsense)
        expect(explorer.page.locator(".error:not(:empty)")).to_have_count(0)
        expect(explorer.page.locator("main b")).to_have_count(0)
        expect(explorer.page.locator(".changes li")).to_have_count(0)
