"""The page from a disk: typing, hovering, steps, files, addresses, folders, hostile text; nothing is loaded."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from clearformer.api.run import open_run

PNG, SVG = b"\x89PNG\r\n\x1a\n", b"<svg"
VIEWS = ["type", "attend", "predict", "cut", "lens", "learn", "flow"]
ROUNDING = 1e-5
"""of probabilities; float32 sums in another order, as tokens that were there are not computed again"""
HOSTILE = "<img src=x onerror=hacked=1>\u202eevil\u200b\u2066\x07 \u0301"


def test_a_change_is_shown_as_one_types_and_the_address_keeps_it(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("gpt"), text="the quick")
    before = explorer.rows()
    explorer.page.get_by_label("Text", exact=True).press_sequentially(" brown fox")
    explorer.settle()
    after = explorer.rows()
    assert after != before
    explorer.page.wait_for_url(re.compile("text=the\\+quick\\+brown\\+fox"))
    explorer.page.reload()
    explorer.settle()
    for typed, read_anew in zip(after[1:], explorer.rows()[1:], strict=True):
        assert typed[:2] == read_anew[:2]
        assert float(typed[2]) == pytest.approx(float(read_anew[2]), rel=ROUNDING)


def test_a_hidden_token_stays_hidden_when_the_text_before_it_changes(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("bert"), text="the quick brown fox")
    explorer.page.get_by_role("button", name="brown").click()
    explorer.settle()
    explorer.type("Text", "the lazy dog, the quick brown fox")
    pressed = explorer.page.locator(".token[aria-pressed=true] .token-text").all_text_contents()
    assert pressed == ["␣brown"]


@pytest.mark.parametrize("kind", ["GPT-2", "BERT", "Llama", "Marian", "Helsinki"])
def test_every_view_shows_an_imported_run_with_the_tokens_that_its_library_gives(
    kind: str, page_of: Callable[..., Path], run_folder: Callable[[str], Path], explorer: Any
):
    pairs, text = kind in ("Marian", "Helsinki"), "The dog's asleep"
    for view in VIEWS:
        explorer.open(page_of(kind), text=text, target="dog" if pairs else "", view=view)
        assert not "".join(explorer.page.get_by_role("alert").all_text_contents()), view
    explorer.go(text=text, target="dog" if pairs else "", view="type")
    tokenizer = open_run(run_folder(kind)).tokenizer
    ids = [*tokenizer.encode(text), *([tokenizer.special.eos] if pairs else [])]
    targets = [*tokenizer.target.encode("dog"), tokenizer.special.eos]
    for row, expected in zip(explorer.page.locator(".tokens").all(), [ids, targets][: 1 + pairs], strict=False):
        shown = row.locator("small").all_text_contents()
        assert shown == ["unknown" if index == tokenizer.special.unk else str(index) for index in expected]


def test_unknown_tokens_are_shown_as_typed(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("transformer"), text="Märch")
    assert explorer.page.locator(".unknown .token-text").first.text_content() == "ä"
    explorer.open(page_of("bert"), text="the zebra, quick !?")
    assert explorer.page.locator(".unknown .token-text").all_text_contents() == ["␣zebra", "␣!?"]


def test_hovering_a_token_names_what_it_looks_at_and_a_click_holds_it(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("transformer"), text="March", target="3", view="attend")
    said = explorer.page.locator(".readout")
    explorer.page.get_by_role("button", name="query 1: 3").hover()
    assert (said.text_content() or "").startswith("3 looks most at")
    explorer.page.get_by_role("button", name="query 1: 3").click()
    explorer.settle()
    explorer.page.mouse.move(0, 0)
    assert (said.text_content() or "").startswith("3 looks most at")
    explorer.page.wait_for_url(re.compile("query=0"))


def test_the_map_is_read_by_arrow_keys(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("transformer"), text="March", target="3", view="attend")
    explorer.page.locator(".large .picture").first.focus()
    for key in ("ArrowDown", "ArrowRight"):
        explorer.page.keyboard.press(key)
    value = float(explorer.rows()[2][2])
    assert explorer.page.locator(".readout").text_content() == f"<eos> looks at a: {value:.3f}"


@pytest.mark.parametrize("text", ["March", "the lazy fox " * 16], ids=["few tokens", "canvas"])
def test_pictures_are_saved_as_svg_and_png(text: str, page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("long") if len(text) > 20 else page_of("transformer"), text=text, view="attend")
    for ending, start in (("SVG", SVG), ("PNG", PNG)):
        with explorer.page.expect_download() as download:
            explorer.page.get_by_role("button", name=f"Save as {ending}").first.click()
        content = Path(download.value.path()).read_bytes()
        assert content.startswith(start)
        assert len(content) > 1000


def test_a_table_stands_in_for_a_picture(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("transformer"), text="March", target="3", view="attend")
    explorer.page.get_by_role("button", name="Table").first.click()
    assert explorer.page.locator("table tbody tr").count() == 2
    assert explorer.page.get_by_role("columnheader").all_text_contents() == ["query", *"March", "<eos>"]


@pytest.mark.parametrize("family", ["gpt", "bert", "classifier", "transformer"])
def test_hostile_text_classes_and_names_are_shown_as_text(family: str, page_of: Callable[..., Path], explorer: Any):
    for view in VIEWS:
        explorer.open(page_of(family), text=HOSTILE, view=view)
        assert explorer.page.locator("img, h1 i, b:has-text('neither')").count() == 0
        assert explorer.page.evaluate("window.hacked") is None
        shown = explorer.page.locator("main").text_content()
        assert not re.search("[\u202e\u200b\u2066\x07]", shown or "")
    assert explorer.page.locator("h1").text_content() == f"{family} <i>run"


def test_a_hostile_vocabulary_is_shown_as_text(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("bert"), text="the <mask> fox")
    assert explorer.page.locator("img").count() == 0
    assert explorer.page.locator(".bars text.name", has_text="<img␣src=x").count() >= 1
    assert any(row[0].startswith("<img␣src=x␣onerror=hacked=1>⟨202E⟩⟨200B⟩") for row in explorer.rows())


@pytest.mark.parametrize(
    "state",
    [
        {"layer": -3.5, "head": 99, "query": 1000, "key": -7, "view": "attend"},
        {"part": "__proto__", "show": "constructor", "sort": "toString", "view": "attend", "hideFirst": 7},
        {"at": 0.5, "view": "constructor", "run": 99, "masked": "1,x,-5", "target": "x"},
        {"steps": 99999999, "beam": 3, "method": "toString", "view": "predict"},
        {"layer": -3.5, "head": -7.5, "at": 0.5, "from": -0.5, "box": "constructor", "view": "flow"},
        {"layer": -3.5, "head": 0.5, "at": 0.5, "checkpoint": 0.5, "beside": 0.5, "part": "__proto__", "view": "learn"},
    ],
)
def test_an_address_that_nobody_wrote_shows_a_view(state: dict[str, Any], page_of: Callable[..., Path], explorer: Any):
    for family in ("gpt", "transformer"):
        explorer.open(page_of(family), text="the fox", **state)
        assert explorer.page.locator("figure").count() >= 1
        assert explorer.page.locator(".error:not(:empty)").count() == 0


def test_a_worker_that_answers_no_more_is_replaced(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("gpt"), text="the quick")
    lose_one = """() => {
        const post = Worker.prototype.postMessage;
        Worker.prototype.postMessage = () => { Worker.prototype.postMessage = post; };
    }"""
    explorer.page.evaluate(lose_one)
    field = explorer.page.get_by_label("Text", exact=True)
    field.fill("the quick brown")
    field.fill("the quick brown fox")
    explorer.settle()
    assert explorer.page.locator(".token").last.text_content().startswith("x")


def test_a_long_text_is_cut_and_the_page_says_so(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("gpt"), text="the fox")
    explorer.type("Text", "lazy dog " * 2000)
    assert "Only the first 10,000 characters are read." in (explorer.page.locator(".fields").text_content() or "")
    assert "The model reads 24 tokens at most" in (explorer.page.locator(".notes").text_content() or "")
    assert explorer.page.locator(".token").count() == 24


def test_a_page_without_a_run_opens_a_folder_which_gives_the_same_numbers(
    page_of: Callable[..., Path], run_folder: Callable[[str], Path], explorer: Any
):
    explorer.open(page_of("bert"), text="the <mask> fox")
    inside = explorer.rows()
    explorer.open(page_of(), text="the <mask> fox")
    explorer.page.locator("input[type=file]").set_input_files(run_folder("bert"))
    explorer.page.wait_for_selector("figure")
    explorer.settle()
    assert explorer.rows() == inside
    assert explorer.page.locator("h1").text_content() == "bert <i>run"


def test_a_folder_that_is_no_run_is_refused_in_a_sentence(
    page_of: Callable[..., Path], run_folder: Callable[[str], Path], explorer: Any, tmp_path: Path
):
    folder = shutil.copytree(run_folder("gpt"), tmp_path / "run")
    (folder / "config.json").write_text(json.dumps({"model": {"kind": "gpt", "vocab_size": -1}}), encoding="utf-8")
    explorer.open(page_of())
    explorer.page.locator("input[type=file]").set_input_files(folder)
    refusal = explorer.page.get_by_role("alert").first
    expect(refusal).to_contain_text("model.vocab_size must be a number from 1")


def test_several_runs_in_a_page(page_of: Callable[..., Path], explorer: Any):
    explorer.open(page_of("gpt", "bert"), run=1)
    assert explorer.page.locator("h1").text_content() == "bert <i>run"
    explorer.page.get_by_text("Another run").click()
    explorer.page.locator(".other select").select_option("0")
    explorer.page.wait_for_selector("h1:has-text('gpt')")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "scheme"), [("gpt", "light"), ("bert", "dark"), ("classifier", "light"), ("transformer", "dark")]
)
def test_axe_finds_nothing(family: str, scheme: str, page_of: Callable[..., Path], explorer: Any):
    explorer.page.emulate_media(color_scheme=scheme)
    for view in VIEWS:
        explorer.open(page_of(family), text="the fox", view=view, masked="1", cuts="d0h0x0,e0h1x0")
        expect(explorer.page.locator("[aria-busy=true]")).to_have_count(0)  # what is old fades meanwhile
        found = Axe().run(explorer.page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []


def test_the_page_fits_a_phone_and_all_its_words_are_known(page_of: Callable[..., Path], explorer: Any):
    explorer.page.set_viewport_size({"width": 400, "height": 800})
    for view in VIEWS:
        explorer.open(page_of("transformer"), text="March 24, 2027", view=view)
        assert explorer.page.evaluate("document.documentElement.scrollWidth") == 400
        assert "undefined" not in explorer.page.locator("main").inner_html()
