"""The documentation's site, built without the page that runs a model: offline, and every link leads somewhere."""

import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

import clearformer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]

ROOT = Path(__file__).parents[2]
BUILD_LIMIT = 300
"""seconds after which a build has failed; one takes 20 on an idle machine"""
RESOURCES = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "embed": "src",
    "object": "data",
}
"""elements that make a browser load something, and the attribute that says what"""
GUIDELINES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
"""axe's names of what WCAG demands; its advice on landmarks beyond that is for the theme"""
MAIN_PAGES = (
    "index",
    "head",
    "architecture",
    "guide/index",
    "questions/index",
    "checks",
    "results",
    "commands/index",
    "api/index",
    "api/clearformer.blocks",
    "guide/16_norm",
)


class Contents(HTMLParser):
    """Ids of a page, links to other places, and what a browser loads with it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.ids, self.links, self.loaded = set[str](), list[str](), list[str]()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.ids.update(given[name] for name in ("id", "name") if name in given)
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") not in ("prev", "next", "canonical"):
            self.loaded.append(given["href"])
        if tag in RESOURCES and RESOURCES[tag] in given:
            self.loaded.append(given[RESOURCES[tag]])
        self.loaded += re.findall(r"url\(([^)]+)\)", given.get("style", ""))


@functools.cache
def contents(file: Path) -> Contents:
    return Contents(file)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site. The build is strict: a link within the site that leads nowhere ends it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "tools.docs", "--quick", "--out", folder],
        cwd=ROOT, capture_output=True, text=True, timeout=BUILD_LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "docs"


def pages(site: Path) -> list[Path]:
    found = sorted(site.rglob("*.html"))
    assert len(found) > 50
    return found


def test_no_page_loads_anything_from_another_host(site: Path):
    for page in pages(site):
        for target in contents(page).loaded:
            assert not re.match(r"(?i)\s*['\"]?([a-z]+:)?//", target), f"{page.name} loads {target}"


def test_no_style_loads_anything_from_another_host(site: Path):
    styles = list(site.rglob("*.css"))
    assert styles
    for style in styles:
        loaded = re.findall(r"(?:url\(|@import)\s*['\"]?([^'\")\s]+)", style.read_text(encoding="utf-8"))
        assert not [target for target in loaded if target.startswith(("http", "//"))], style.name


def test_every_link_and_resource_of_a_page_is_in_the_site(site: Path):
    for page in pages(site):
        if page.name == "404.html":  # it is shown at any address, so its links begin at the root
            continue
        for target in {*contents(page).links, *contents(page).loaded}:
            if re.match("[a-z]+:", target):
                continue
            path, anchor = urldefrag(target)
            there = (page.parent / unquote(path)).resolve() if path else page
            assert there.exists(), f"{page.relative_to(site)} links to {target}"
            if anchor and there.suffix == ".html":
                assert unquote(anchor) in contents(there).ids, f"{page.relative_to(site)} links to {target}"


def test_the_api_has_every_public_name_and_no_name_of_a_demonstration(site: Path):
    for name, module in clearformer._MODULE.items():
        package = f"clearformer.{module}".rpartition(".")[0]
        assert f"clearformer.{module}.{name}" in contents(site / "api" / f"{package}.html").ids
    ids = contents(site / "api" / "clearformer.blocks.html").ids
    assert "clearformer.blocks.attention.attention_weights" in ids
    assert "clearformer.blocks.attention.weights" not in ids  # assigned where the file runs as a program


def test_a_signature_shows_shapes(site: Path):
    text = re.sub("<[^>]+>", "", (site / "api" / "clearformer.blocks.html").read_text(encoding="utf-8"))
    assert re.search(r"attention_weights\(\s*q: Float\[Tensor, ['\"]B H T E['\"]\]", text.replace("&#39;", "'"))


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose requests to other hosts fail the test."""
    context = browser.new_context(viewport={"width": 400, "height": 900})
    page, foreign = context.new_page(), list[str]()
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:", "blob:")) else foreign.append(request.url),
    )
    yield page
    context.close()
    assert foreign == []


def test_the_search_finds_a_page_when_the_site_lies_on_a_disk(site: Path, page: Page):
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").or_(page.get_by_role("searchbox")).or_(page.get_by_role("textbox")).first.fill(
        "planted"
    )
    expect(page.get_by_role("option", name="Planted bugs").first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_the_main_pages_and_none_is_wider_than_a_telephone(site: Path, page: Page, scheme: str):
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for name in MAIN_PAGES:
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        found = Axe().run(page, options={"runOnly": GUIDELINES}).response["violations"]
        assert [(name, each["id"], each["nodes"][0]["html"]) for each in found] == []
